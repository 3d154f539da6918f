# SPDX-License-Identifier: MIT
"""Render a data set of scenes into shards, and read it: ``python -m zoo.dataset FOLDER``.

A shard is one ``.npz`` of consecutive seeds with the classes in turn. Finished shards are kept,
so a killed run goes on where it stopped; several processes may share a folder by shard ranges.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from vtcd_ops.video.media_files import in_natural_order
from zoo.motions import CLASS_NAMES
from zoo.scenes import Clip, SceneRenderer

SHARD_SIZE = 120  # clips; ten of each class
HELD_OUT_SEED = 1_000_000  # training seeds stay below it


def render_shard(renderer: SceneRenderer, first_seed: int) -> dict[str, np.ndarray]:
    """The clips of ``SHARD_SIZE`` consecutive seeds, each field stacked over clips."""
    clips = [
        renderer.clip(CLASS_NAMES[seed % len(CLASS_NAMES)], seed)
        for seed in range(first_seed, first_seed + SHARD_SIZE)
    ]
    return stack_clips(clips) | {"seed": np.arange(first_seed, first_seed + SHARD_SIZE)}


def stack_clips(clips: list[Clip]) -> dict[str, np.ndarray]:
    """Fields of several clips stacked, ``amodal_target`` packed to bits along the width."""
    return {
        "frames": np.stack([clip.frames for clip in clips]),
        "instances": np.stack([clip.instances for clip in clips]),
        "amodal_target": np.packbits(np.stack([clip.amodal_target for clip in clips]), axis=-1),
        "occluder": np.stack([clip.occluder for clip in clips]),
        "container": np.stack([clip.container for clip in clips]),
        "label": np.array([clip.label for clip in clips]),
        "caption": np.array([clip.caption for clip in clips]),
    }


def shard_paths(folder: Path, split: str) -> list[Path]:
    """Finished shards of ``train`` or ``held_out``, in order of seed."""
    return in_natural_order(folder.glob(f"{split}-*.npz"))


def load(folder: Path, split: str, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Chosen fields of all finished shards of a split.

    Raises:
        FileNotFoundError: when the folder holds no shard of that split.
    """
    paths = shard_paths(folder, split)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no {split} shard; render with zoo.dataset first")
    shards = []
    for path in paths:
        with np.load(path) as shard:
            shards.append({field: shard[field] for field in fields})
    return {field: np.concatenate([shard[field] for shard in shards]) for field in fields}


def render_split(folder: Path, split: str, shards: range) -> None:
    """Render the missing shards of a range."""
    renderer = SceneRenderer()
    base = HELD_OUT_SEED if split == "held_out" else 0
    for index in shards:
        path = folder / f"{split}-{index:04d}.npz"
        if path.exists():
            continue
        start = time.process_time()
        fields = render_shard(renderer, base + index * SHARD_SIZE)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, **fields)
        partial.rename(path)  # a shard is either complete or absent
        seconds = time.process_time() - start
        print(f"{path.name}: {SHARD_SIZE / seconds:.1f} clips/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    parser.add_argument("--first", type=int, default=0, help="first shard")
    parser.add_argument("--count", type=int, default=50, help="number of shards")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    render_split(args.folder, args.split, range(args.first, args.first + args.count))


if __name__ == "__main__":
    main()
