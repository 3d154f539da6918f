"""Runs for the tests of the report, and a reader of the page that shares no code with it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from pipeline.videos import moving_square

from vtcd_ops.discovery.foreign import store_concepts
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.discovery.run import Run, load

MODEL = {"name": "example", "sha256": "0" * 64, "num_layers": 2, "num_heads": 2}


def write_run(
    path: Path,
    *,
    num_videos: int = 4,
    concepts: tuple[int, ...] = (3, 2),
    shape: tuple[int, int, int] = (4, 32, 32),
    names: list[str] | None = None,
    seed: int = 0,
    model: dict[str, Any] = MODEL,
) -> Run:
    """Store a run of two layers with random blocky supports; `concepts` are those of each head."""
    rng = np.random.default_rng(seed)
    names = names or [f"video {index}" for index in range(num_videos)]
    videos = SimpleNamespace(
        model=model,
        videos=[video_record(index, name, shape[0]) for index, name in enumerate(names)],
        preview=lambda index: moving_square(num_frames=shape[0], seed=index),
        expect_kept=lambda caller: None,
    )
    sites = [("keys", 0), ("keys", 1)]
    supports = {
        site: [np.stack([_blocks(rng, shape, k) for k in concepts]) for _ in names]
        for site in sites
    }
    centers = {site: [np.zeros((k, 4), np.float32) for k in concepts] for site in sites}
    return store_concepts(path, videos, supports, centers, method="random blocks")  # type: ignore[arg-type]


def write_controlled_run(path: Path) -> Run:
    """Store a run and its sanity control, a run of other weights that says whose control it is."""
    write_run(path)
    other_weights = {**MODEL, "sha256": "1" * 64, "control_of": MODEL["sha256"]}
    write_run(path / "sanity", seed=1, concepts=(2, 4), model=other_weights)
    return load(path)


def video_record(index: int, name: str, num_frames: int) -> VideoRecord:
    return VideoRecord(
        index=index,
        name=name,
        source=None,
        sha256="0" * 64,
        num_video_frames=num_frames,
        fps=10.0,
        frame_size=(32, 32),
        crop=(0.0, 0.0, 32.0, 32.0),
        frame_indices=tuple(range(num_frames)),
        tubelet_size=2,
    )


def _blocks(rng: np.random.Generator, shape: tuple[int, int, int], k: int) -> np.ndarray:
    """Blocks of two frames and 4 x 4 voxels, each of a random concept or of none (-1)."""
    t, h, w = (-(-length // step) for length, step in zip(shape, (2, 4, 4), strict=True))
    volume = rng.integers(-1, k, (t, h, w))
    volume[0, 0, :k] = np.arange(k)  # every concept occurs in every video
    for axis, step in enumerate((2, 4, 4)):
        volume = volume.repeat(step, axis=axis)
    return volume[: shape[0], : shape[1], : shape[2]]


class Page(HTMLParser):
    """The elements of a page: scripts by id, attributes of everything, visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.scripts: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []
        self._script = ""
        self.feed(self.html)
        self.document: dict[str, Any] = json.loads(self.scripts["report-data"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "script":
            self._script = dict(attrs).get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self._inside[-1] if self._inside else ""
        if inside == "script":
            self.scripts[self._script] = data
        elif inside != "style":
            self.text += data

    def heads(self, run_id: str = "model") -> list[dict[str, Any]]:
        """The heads of a shown run."""
        [run] = [run for run in self.document["runs"] if run["id"] == run_id]
        return run["heads"]

    def decode(self, head: dict[str, Any], run_id: str = "model") -> dict[int, np.ndarray]:
        """The supports of a head by video of the run: [T, H, W], -1 = none."""
        blob = base64.b64decode(self.scripts[f"support-{run_id}-{head['key']}"])
        raw = np.frombuffer(zlib.decompress(blob), np.uint8)
        volumes, begin = {}, 0
        for position in head["packed"]:
            video = self.document["videos"][position]
            grid = video["support"][run_id]
            shape = (grid["height"], grid["width"], len(video["frames"]))
            end = begin + int(np.prod(shape))
            volume = raw[begin:end].reshape(shape).transpose(2, 0, 1)
            volumes[video["index"]] = volume.astype(int) - 1
            begin = end
        assert begin == len(raw)
        return volumes


def links(page: Page) -> list[str]:
    """Everything in a page that a browser would fetch or follow."""
    found = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster") and value is not None
    ]
    return found + re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", page.html)
