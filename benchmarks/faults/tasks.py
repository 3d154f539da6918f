"""The verbs at a size that takes tenths of a second, each in a folder that holds what it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.adapters.pruned_form import CONFIG_FILE
from vtcd_ops.commands.segment_videos import segment_videos


def clips(seed: int) -> list[vtcd_ops.Sample]:
    """Return two videos of a square that moves over noise."""
    draw = np.random.default_rng(seed)
    samples = []
    for number in range(2):
        frames = draw.integers(0, 80, (4, 32, 32, 3)).astype(np.uint8)
        top = int(draw.integers(0, 20))
        for step in range(4):
            frames[step, top : top + 10, 4 * step : 4 * step + 10] = 200
        samples.append(vtcd_ops.Sample(frames, label=number % 2))
    return samples


def _discover(folder: Path, seed: int = 0) -> None:
    vtcd_ops.discover(
        example_adapter(seed), clips(0), out=folder / f"run{seed}", layers=[2], sanity=True,
        compactness="auto", n_segments=4, progress=False,
    )  # fmt: skip


def _rank(folder: Path, model: int = 0, seed: int = 0, name: str | None = None) -> None:
    vtcd_ops.rank(
        folder / "run0", example_adapter(model), clips(0), "logit", num_masks=64, stop_at=None,
        seed=seed, name=name, dtype="float32", masks_per_forward=32, progress=False,
    )  # fmt: skip


def _curves(folder: Path, model: int = 0) -> None:
    vtcd_ops.curves(
        folder / "run0", example_adapter(model), clips(0), "logit", num_points=4, num_random=2,
        dtype="float32", masks_per_forward=8, progress=False,
    )  # fmt: skip


def _rosetta(folder: Path) -> None:
    vtcd_ops.rosetta(
        [folder / "run0", folder / "run1"], out=folder / "shared", delta=None, top=20,
        importances=None, progress=False,
    )  # fmt: skip


def _report(folder: Path) -> None:
    vtcd_ops.report(folder / "run0", max_clips=1, max_videos=2, progress=False)


def _pruned_model(seed: int = 0) -> Any:
    import torch
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification
    from vtcd_hf_videomae import VideoMAEAdapter

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = VideoMAEConfig(
            image_size=32, patch_size=8, num_frames=4, hidden_size=16, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=16, num_labels=3,
        )  # fmt: skip
        model = VideoMAEForVideoClassification(config).eval()
    return vtcd_ops.prune(VideoMAEAdapter(model), heads=[(0, 1)])


def _prune(folder: Path) -> None:
    if not (folder / "pruned" / CONFIG_FILE).exists():  # which is written last
        vtcd_ops.save_pruned(_pruned_model(), folder / "pruned")


def _write_scenes(folder: Path) -> None:
    for number, sample in enumerate(clips(1)):
        for place, images in (("JPEGImages", sample.video), ("Annotations", None)):
            scene = folder / "scenes" / place / "480p" / f"scene{number}"
            scene.mkdir(parents=True)
            for step, frame in enumerate(sample.video):
                shown = frame if images is not None else (frame[..., 0] == 200).astype(np.uint8)
                Image.fromarray(shown).save(scene / f"{step:05d}.png")


def _segment(folder: Path) -> None:
    segment_videos(
        example_adapter(0), folder / "scenes", out=folder / "masks", num_concepts=4,
    )  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A verb, and what must be in its folder before.

    Attributes:
        name: of the verb.
        do: does it in a folder.
        makes: what it adds there.
        needs: what must be there, as `makes` of other tasks.
    """

    name: str
    do: Callable[[Path], None]
    makes: tuple[str, ...]
    needs: tuple[str, ...] = ()


TASKS = [
    Task("discover", _discover, ("run0",)),
    Task("rank", _rank, ("run0/importance",), ("run0",)),
    Task("curves", _curves, ("run0/curves",), ("run0", "run0/importance")),
    Task("rosetta", _rosetta, ("shared",), ("run0", "run1")),
    Task("report", _report, ("run0/report.html",), ("run0", "run0/importance", "run0/curves")),
    Task("prune", _prune, ("pruned",)),
    Task("segment", _segment, ("masks",), ("scenes",)),
]


class Places:
    """Folders in which tasks begin, made once, and one to work in, always of the same name.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self._folder = folder
        self.work.mkdir()
        _write_scenes(self.work)
        self._keep("scenes")
        _discover(self.work, 1)
        self._keep("run1")
        for task in TASKS:
            task.do(self.work)
            for name in task.makes:
                self._keep(name)

    def _keep(self, name: str) -> None:
        """Keep what is in the folder of work under a name, beside what was kept of it before."""
        source, target = self.work / name, self._folder / "kept" / name.replace("/", "+")
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    def put(self, names: tuple[str, ...]) -> None:
        """Empty the folder of work, and put into it what was kept under some names."""
        shutil.rmtree(self.work)
        self.work.mkdir()
        for name in names:
            source, target = self._folder / "kept" / name.replace("/", "+"), self.work / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    def contents(self) -> dict[str, bytes]:
        """Return what lies in the folder of work, but for time stamps."""
        return {
            str(path.relative_to(self.work)): path.read_bytes()
            for path in sorted(self.work.rglob("*"))
            if path.is_file() and path.name != "log.jsonl"
        }


def rank_again(folder: Path) -> None:
    """Make a second ranking beside the first, of other masks."""
    _rank(folder, seed=1, name="again")


def segment_again(folder: Path) -> None:
    """Go on with the masks of the scenes."""
    _segment(folder)


def other_places(places: Places) -> Path:
    """Return a folder like that of work, of the same verbs with other seeds."""
    folder = places.work.with_name("other")
    folder.mkdir()
    shutil.copytree(places.work / "scenes", folder / "scenes")
    _discover(folder, 1)
    (folder / "run1").rename(folder / "run0")
    _discover(folder, 2)
    _rank(folder, model=1, seed=1)
    _curves(folder, model=1)
    vtcd_ops.rosetta(
        [folder / "run0", folder / "run2"], out=folder / "shared", delta=None, top=20,
        importances=None, progress=False,
    )  # fmt: skip
    vtcd_ops.save_pruned(_pruned_model(1), folder / "pruned")
    segment_videos(example_adapter(1), folder / "scenes", out=folder / "masks", num_concepts=4)
    return folder
