"""Runs of synthetic models that see the same moving objects through different eyes.

Objects are boxes in continuous time and space. A model looks at some frames, through some crop, on
some token grid; its concepts are the objects. Tokens take the object at their own centre; label
volumes are interpolated from them with aligned corners, as those of discovered runs are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vtcd_ops.discovery.concepts import Factorisation
from vtcd_ops.discovery.foreign import store_concepts
from vtcd_ops.discovery.packed_tubelets import PackedTubelets
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.run_writer import RunWriter

NUM_FRAMES, HEIGHT, WIDTH = 48, 96, 128


@dataclass(frozen=True)
class Eye:
    """How a model sees a video."""

    frames: tuple[int, ...] = tuple(range(NUM_FRAMES))
    crop: tuple[float, float, float, float] = (0.0, 0.0, float(HEIGHT), float(WIDTH))
    tokens: tuple[int, int, int] = (24, 12, 16)
    tubelet_size: int = 2
    voxels_per_token: int = 4

    @property
    def size(self) -> tuple[int, int, int]:
        """The label volume."""
        t, h, w = self.tokens
        return t * self.tubelet_size, h * self.voxels_per_token, w * self.voxels_per_token


def objects(time: np.ndarray, row: np.ndarray, column: np.ndarray, video: int) -> np.ndarray:
    """Which object is at places of a video, in frames and pixels: 0, 1, 2, or -1."""
    found = np.full(np.broadcast_shapes(time.shape, row.shape, column.shape), -1)
    shift = 0.6 * time + 8 * video
    found[np.broadcast_to((abs(row - 30) < 20) & (abs(column - 34 - shift) < 20), found.shape)] = 0
    found[np.broadcast_to((row > 56) & (abs(column - 90 + shift) < 24), found.shape)] = 1
    found[np.broadcast_to((row < 52) & (column > 84) & (time > 16), found.shape)] = 2
    return found


def label_volume(eye: Eye, video: int) -> np.ndarray:
    """The object of every voxel: that of its nearest token, corners aligned."""
    places = []
    for tokens, voxels in zip(eye.tokens, eye.size, strict=True):
        position = np.arange(voxels) * (tokens - 1) / max(voxels - 1, 1)
        places.append((np.floor(position + 0.5).astype(int) + 0.5) / tokens)
    frame = places[0] * eye.size[0] - 0.5  # in looked-at frames
    time = np.interp(frame, np.arange(len(eye.frames)), np.array(eye.frames) + 0.5)
    top, left, height, width = eye.crop
    return objects(
        time[:, None, None],
        (top + places[1] * height)[None, :, None],
        (left + places[2] * width)[None, None, :],
        video,
    )[: len(eye.frames)]


def record(eye: Eye, video: int) -> VideoRecord:
    """What a run of the model knows of a video."""
    return VideoRecord(
        index=video,
        name=f"video {video}",
        source=None,
        sha256=f"{video:064x}",
        num_video_frames=NUM_FRAMES,
        fps=24.0,
        frame_size=(HEIGHT, WIDTH),
        crop=eye.crop,
        frame_indices=eye.frames,
        tubelet_size=eye.tubelet_size,
    )


def preview(eye: Eye, video: int) -> np.ndarray:
    """The objects in grey, with what surrounds them darker the further to the right."""
    top, left, height, width = eye.crop
    rows = top + (np.arange(48) + 0.5) / 48 * height
    columns = left + (np.arange(48) + 0.5) / 48 * width
    time = np.array(eye.frames)[:, None, None] + 0.5
    seen = objects(time, rows[None, :, None], columns[None, None, :], video)
    grey = np.where(seen >= 0, 150 + 40 * seen, (columns / WIDTH * 80)[None, None, :])
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def write_seen(path: Path, eye: Eye, *, name: str = "eye", videos: tuple[int, ...] = (0, 1)) -> Run:
    """Write a run of a model of one layer and one head whose concepts are the three objects."""
    document = {
        "kind": "stored",
        "settings": {},
        "model": {"name": name, "sha256": "0" * 64, "num_layers": 1, "num_heads": 1},
        "versions": {},
        "operators": {"instruction_set": "default", "sha256": "0" * 64},
        "parts": ["keys"],
        "layers": [0],
    }
    writer = RunWriter(path, document, resume=False)
    sizes, sources = [], []
    for index, video in enumerate(videos):
        labels = label_volume(eye, video).astype(np.int32)
        entry = VideoRecord(**{**vars(record(eye, video)), "index": index})
        writer.write_clip(entry, preview(eye, video))
        packed = PackedTubelets(eye.tokens, eye.size)
        counts = np.bincount(labels[labels >= 0], minlength=3)
        packed.add(labels, np.eye(3, 4, dtype=np.float32), counts)
        writer.write_tubelets(entry, "keys", 0, packed)
        sources.append(writer.tubelets(entry, "keys", 0)[1])
        sizes.append(counts)
    video_of, concept = np.nonzero(np.stack(sizes))
    table = np.eye(3, dtype=np.float32)[concept]
    members = {
        "video": video_of.astype(np.int32),
        "label": concept.astype(np.int32),
        "size": np.stack(sizes)[video_of, concept],
    }
    found = Factorisation(
        centers=np.eye(3, 4, dtype=np.float32),
        concept=concept.astype(np.int32),
        encoding=table,
        weights=table / np.maximum(table.sum(axis=0), 1),
        silhouettes=np.full(len(concept), np.nan, dtype=np.float32),
        error=0.0,
        num_iter=0,
    )
    writer.write_concepts("keys", 0, [members], [found], sources)
    writer.write_manifest(len(videos))
    writer.finish(len(videos), [0])
    writer.close()
    return load(path)


def write_shared(
    path: Path, supports: np.ndarray, eye: Eye | None = None, name: str = "model"
) -> Run:
    """Store a run with given supports, int [videos, heads, T, H, W], that sees whole videos."""
    eye = eye or Eye(frames=tuple(range(supports.shape[2])), tubelet_size=1)
    videos = SimpleNamespace(
        model={"name": name, "sha256": "0" * 64, "num_layers": 1, "num_heads": 1},
        videos=[record(eye, video) for video in range(len(supports))],
        preview=lambda video: preview(eye, video),
        expect_kept=lambda caller: None,  # all is kept
    )
    site = ("keys", 3)
    k = int(supports.max()) + 1
    centers = {site: [np.eye(k, dtype=np.float32)] * supports.shape[1]}
    return store_concepts(path, videos, {site: list(supports)}, centers, method="given")  # type: ignore[arg-type]
