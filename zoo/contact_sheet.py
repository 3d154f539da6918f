# SPDX-License-Identifier: MIT
"""Contact sheet of the motion classes: ``python -m zoo.contact_sheet OUT.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.motions import CLASS_NAMES
from zoo.scenes import SceneRenderer

COLOURS = np.array(
    [[0, 0, 0], [255, 80, 80], [80, 160, 255], [255, 200, 60], [190, 110, 255], [90, 220, 120],
     [255, 140, 200], [120, 120, 120], [160, 160, 160], [200, 200, 200], [60, 180, 90]], np.uint8,
)  # fmt: skip


def contact_sheet(seed: int, shown: tuple[int, ...], frame_size: int) -> np.ndarray:
    """Two rows per class, frames above their instance ids, uint8 [rows, columns, 3]."""
    renderer = SceneRenderer(frame_size)
    rows = []
    for label in CLASS_NAMES:
        clip = renderer.clip(label, seed)
        print(f"{label:12s} attempts {clip.attempts}  {clip.caption}")
        chosen = list(shown)
        rows.append(np.concatenate(list(clip.frames[chosen]), 1))
        rows.append(np.concatenate(list(COLOURS[clip.instances[chosen]]), 1))
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 3, 5, 7, 9, 11, 13, 15])
    parser.add_argument("--frame-size", type=int, default=64)
    args = parser.parse_args()
    sheet = contact_sheet(args.seed, tuple(args.frames), args.frame_size)
    Image.fromarray(sheet).quantize(256).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
