"""Videos for the tests of the pipeline, as arrays and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def moving_square(num_frames: int = 4, seed: int = 0, edge: int = 32) -> np.ndarray:
    """A bright square that moves over noise, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 80, (num_frames, edge, edge, 3)).astype(np.uint8)
    row, column = rng.integers(0, edge // 2, 2)
    for frame in range(num_frames):
        left = (column + 2 * frame) % (edge - 8)
        frames[frame, row : row + 10, left : left + 10] = rng.integers(150, 255, 3)
    return frames


def write_video(path: Path, frames: np.ndarray, codec: str = "ffv1") -> Path:
    """Write frames without loss (a Matroska file with the ffv1 codec in RGB)."""
    import av

    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_image(path: Path, frame: np.ndarray) -> Path:
    """Write one frame as PNG."""
    from PIL import Image

    Image.fromarray(frame).save(path)
    return path


def run_files(path: Path) -> dict[str, bytes]:
    """Everything below a run except its time stamps."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "log.jsonl"
    }
