"""A few frames of a long film: by its list of packets, and by decoding from its beginning."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
from _harness import Column, measure, threads, write

from vtcd_ops.video.clips import frame_indices
from vtcd_ops.video.decoding import decode, scan
from vtcd_ops.video.readers import open_video

SECONDS, RATE, HEIGHT, WIDTH, WANTED = 300, 30, 360, 640, 16
#: x264's and x265's own distance of keyframes, 250, and that of many streaming services, 2 s.
FILMS = {
    "H.264, MP4, a key at least every 250 frames": ("film.mp4", "libx264", "250"),
    "H.264, MKV, every 60": ("short.mkv", "libx264", "60"),
    "H.265, MP4, every 250": ("film265.mp4", "libx265", "250"),
}


def film(path: Path, codec: str, distance: str) -> Path:
    """Write five minutes of a texture that drifts, with a cut every ten seconds."""
    draw = np.random.default_rng(0)
    options = {"g": distance, "preset": "ultrafast", "x265-params": "log-level=none"}
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(SECONDS * RATE):
            if number % (10 * RATE) == 0:
                coarse = draw.integers(0, 255, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
                scene = np.kron(coarse, np.ones((20, 20, 1), np.uint8))
            picture = np.roll(scene, (number % 300, 2 * (number % 300)), (0, 1))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def by_index(path: Path) -> list[np.ndarray]:
    source = open_video(path)
    return list(source.frames(frame_indices(source.num_frames, WANTED)))


def from_the_beginning(path: Path) -> list[np.ndarray]:
    """Count by decoding, then decode up to the last frame that is wanted."""
    found = scan(path)
    return list(decode(path, frame_indices(len(found.times), WANTED), found.threads))


def row(name: str, path: Path) -> dict[str, Any]:
    expected = from_the_beginning(path)
    got = by_index(path)
    same = len(expected) == len(got) and all(map(np.array_equal, expected, got))
    ours = measure(lambda: by_index(path), repeats=7, warmup=1)
    rival = measure(lambda: from_the_beginning(path), repeats=3, warmup=0, budget_s=60)
    return {
        "case": name,
        "same": "yes" if same else "no",
        **ours.columns("ours"),
        **rival.columns("rival"),
        "speed": rival.median / ours.median,
    }


def main() -> None:
    with threads(1), tempfile.TemporaryDirectory() as folder:
        rows = [
            row(name, film(Path(folder) / file, codec, distance))
            for name, (file, codec, distance) in FILMS.items()
        ]
    write(
        "decoding",
        rows,
        [
            Column("case", "film"),
            Column("same", "same pixels"),
            Column("ours_ms", "by packets (ms)", "{:.0f}"),
            Column("rival_ms", "from the beginning (ms)", "{:.0f}"),
            Column("speed", "faster", "{:.1f}x"),
        ],
        note=f"{WANTED} frames spread over a drawn film of {SECONDS // 60} minutes, {RATE} a "
        f"second, of {WIDTH} x {HEIGHT}, opened and decoded; from the beginning: decoded twice, to "
        "count the frames and up to the last one wanted. PyAV's own threads for both.",
    )


if __name__ == "__main__":
    main()
