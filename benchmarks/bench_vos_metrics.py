"""J and F of video objects against trackeval, on the same masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Column, measure, threads, write
from PIL import Image
from pycocotools import mask as coco
from trackeval.metrics import JAndF

from vtcd_ops.video.media_files import image_files
from vtcd_ops.vos_metrics import contour_accuracy, region_similarity

HEIGHT, WIDTH, FRAMES = 480, 854, 20


def ellipses(num_objects: int) -> np.ndarray:
    """Moving ellipses with ragged edges, bool [K, T, H, W]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = np.empty((num_objects, FRAMES, HEIGHT, WIDTH), dtype=bool)
    for k, t in np.ndindex(num_objects, FRAMES):
        centre = 120 + 100 * k + 4 * t, 200 + 180 * k + 9 * t
        distance = ((y - centre[0]) / 90) ** 2 + ((x - centre[1]) / 140) ** 2
        masks[k, t] = distance + 0.1 * np.sin(x / 7 + t) + 0.1 * np.cos(y / 5) < 1
    return masks


def real(sequence: str) -> np.ndarray:
    """The masks of a DAVIS sequence, bool [1, T, H, W], of the folder that VTCD_DATA names."""
    folder = Path(os.environ["VTCD_DATA"]) / "davis16" / sequence / "masks"
    return np.stack([np.asarray(Image.open(file)) > 0 for file in image_files(folder)])[None]


def row(case: str, masks: np.ndarray) -> dict[str, Any]:
    """Score every mask against the one before it, as a tracker that lags by a frame."""
    prediction, truth = masks[:, :-1], masks[:, 1:]
    count, num_frames = truth.shape[:2]

    def encoded(sides: np.ndarray) -> list[list[Any]]:
        return [
            [coco.encode(np.asfortranarray(sides[k, t].view(np.uint8))) for k in range(count)]
            for t in range(num_frames)
        ]

    ours_rle, theirs_rle = encoded(prediction), encoded(truth)
    metric = JAndF()

    def ours() -> tuple[np.ndarray, np.ndarray]:
        pairs = [
            (region_similarity(p, t), contour_accuracy(p, t)) for p, t in zip(prediction, truth)
        ]
        return np.array([j for j, _ in pairs]), np.array([f for _, f in pairs])

    def rival() -> tuple[np.ndarray, np.ndarray]:
        j = metric._compute_j(theirs_rle, ours_rle, count, count, num_frames)
        f = [metric._compute_f(theirs_rle, ours_rle, k, k, 0.008) for k in range(count)]
        return j[np.arange(count), np.arange(count)], np.array(f)

    difference = max(np.abs(a - b).max() for a, b in zip(ours(), rival()))
    our_time, rival_time = measure(ours), measure(rival, repeats=5)
    frames = count * num_frames
    return {
        "case": case,
        "difference": float(difference),
        **our_time.columns("ours"),
        **rival_time.columns("trackeval"),
        "ours_frame_ms": our_time.median / frames,
        "trackeval_frame_ms": rival_time.median / frames,
        "speed": rival_time.median / our_time.median,
    }


def main() -> None:
    cases = {"one ellipse": ellipses(1), "three ellipses": ellipses(3)}
    if "VTCD_DATA" in os.environ:
        cases |= {f"DAVIS {name}": real(name) for name in ("blackswan", "breakdance")}
    with threads(1):
        rows = [row(case, masks) for case, masks in cases.items()]
    write(
        "vos_metrics",
        rows,
        [
            Column("case", "masks"),
            Column("difference", "largest difference", "{:.0e}"),
            Column("ours_frame_ms", "ours, ms", "{:.2f}"),
            Column("trackeval_frame_ms", "trackeval, ms", "{:.1f}"),
            Column("speed", "times faster", "{:.0f}"),
        ],
        note="J and F of an object in a frame of 854 x 480, each mask scored against the one "
        "before it. trackeval is given its run-length codes, whose making is not timed. One "
        "thread.",
    )


if __name__ == "__main__":
    main()
