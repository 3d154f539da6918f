# SPDX-License-Identifier: MIT
"""Clips of the miniature's spill-like classes: those that begin alike and differ in the outcome.

The paper prunes for the six classes of Something-Something in which something spills; here those
are the four ways in which something is dropped. They are rendered by the zoo, of the seeds that the
classifier was trained on for ranking and training, and of held-out seeds to measure on.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from vtcd_ops.common.errors import InputError

CLASSES = ("drop_into", "drop_behind", "drop_beside", "drop_onto")
HELD_OUT = {"train": False, "held_out": True}
PER_CLASS = {"train": 60, "held_out": 100}


def spill_clips(folder: Path, split: str, *, per_class: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return frames, uint8 [V, T, H, W, 3], and labels of the classifier [V], classes in turn.

    They are rendered once, and read from the folder afterwards.

    Args:
        folder: where they are kept.
        split: "train" or "held_out".
        per_class: clips of each class; 0: `PER_CLASS`.

    Raises:
        InputError: there are none yet, and the renderer is not installed.
    """
    count = per_class or PER_CLASS[split]
    path = folder / f"spill-{split}-{count}.npz"
    if not path.is_file():
        frames, labels = _rendered(split, count)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, frames=frames, labels=labels)
        partial.replace(path)
    with np.load(path) as file:
        return file["frames"], file["labels"]


def why_not(folder: Path) -> str | None:
    """Return why the clips cannot be had: they are not there, and nothing renders them."""
    if all((folder / f"spill-{split}-{count}.npz").is_file() for split, count in PER_CLASS.items()):
        return None
    if importlib.util.find_spec("mujoco") is not None:
        return None
    return "its clips are rendered by the zoo: pip install -r zoo/requirements.txt"


def _rendered(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        from zoo.dataset import HELD_OUT_SEED
        from zoo.motions import CLASS_NAMES
        from zoo.scenes import SceneRenderer
    except ImportError as error:
        raise InputError(
            f"table 2 renders its clips with the zoo, which needs {error.name}: "
            "pip install -r zoo/requirements.txt, and the system library libosmesa6"
        ) from error
    renderer = SceneRenderer()
    first = HELD_OUT_SEED if HELD_OUT[split] else 0
    first += -first % len(CLASS_NAMES)  # the class of a seed is the rest of it
    places = [CLASS_NAMES.index(name) for name in CLASSES]
    frames, labels = [], []
    for turn in range(count):
        for place in places:  # each is the clip that zoo.dataset makes of the seed
            clip = renderer.clip(CLASS_NAMES[place], first + turn * len(CLASS_NAMES) + place)
            frames.append(clip.frames)
            labels.append(clip.label)
    return np.stack(frames), np.array(labels)
