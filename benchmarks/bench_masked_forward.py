"""A forward under masks against the plain forward of the same model and batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _harness import Column, threads, write
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForVideoClassification
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops

UNITS, LAYERS, HEADS, TOKENS = 800, 12, 12, 1568
BATCH, PAIRS = 2, {"float32": 3, "bfloat16": 5}


def assignments() -> Tensor:
    """Draw the units of every token: as many concepts in every layer, int32 [L, 1, A, N]."""
    generator = torch.Generator().manual_seed(0)
    share = UNITS // LAYERS
    units = torch.randint(share, (LAYERS, 1, HEADS, TOKENS), generator=generator)
    return (units + share * torch.arange(LAYERS).reshape(-1, 1, 1, 1)).int()


def seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def paired(plain: Callable[[], object], masked: Callable[[], object], pairs: int) -> dict[str, Any]:
    """Time two calls in turn; the ratio is the median of the pairs' ratios."""
    plain()
    times = [(seconds(plain), seconds(masked)) for _ in range(pairs)]
    return {
        "plain_s": statistics.median(a for a, _ in times),
        "masked_s": statistics.median(b for _, b in times),
        "ratio": statistics.median(b / a for a, b in times),
        "ratios": [round(b / a, 4) for a, b in times],
    }


def main() -> None:
    torch.manual_seed(0)
    model = VideoMAEForVideoClassification(VideoMAEConfig()).eval()
    adapter = VideoMAEAdapter(model)
    clips = torch.randn(BATCH, 16, 3, 224, 224)
    assign, keep = assignments(), vtcd_ops.cris_sample(UNITS, BATCH, 0.5, 0)
    dense = [keep[0, units[0].long()].float()[None, ..., None] for units in assign]

    def masked() -> None:
        with vtcd_ops.edit(adapter, lambda _, i, x: vtcd_ops.concept_mask(x, assign[i], keep)):
            adapter.forward(clips)

    def one_dense_mask() -> None:
        with vtcd_ops.edit(adapter, lambda _, i, x: x * dense[i]):
            adapter.forward(clips[:1])

    rows = []
    with threads(2), torch.inference_mode():
        for dtype, pairs in PAIRS.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                rows.append(
                    {"dtype": dtype, **paired(lambda: adapter.forward(clips), masked, pairs)}
                )
        one_by_one = statistics.median(seconds(one_dense_mask) for _ in range(3))
    for row in rows:
        row["masks_a_second"] = BATCH / row["masked_s"]
        row["dense_s"] = one_by_one
        row["times"] = one_by_one * row["masks_a_second"]
    write(
        "masked_forward",
        rows,
        [
            Column("dtype", "model in"),
            Column("plain_s", "plain forward, s", "{:.2f}"),
            Column("masked_s", "under masks, s", "{:.2f}"),
            Column("ratio", "ratio", "{:.3f}"),
            Column("masks_a_second", "masks a second", "{:.2f}"),
            Column("dense_s", "one dense mask, float32, s", "{:.2f}"),
            Column("times", "times faster", "{:.1f}"),
        ],
        note=f"VideoMAE-B with random weights, {BATCH} clips of 16x224x224, a mask for each, keys "
        f"of all 12 layers, {UNITS} units. Plain and masked forwards in turn; the ratio is the "
        f"median of {PAIRS['float32']} (float32) and {PAIRS['bfloat16']} pairs. The rival runs one "
        "clip in float32 and multiplies the keys with dense masks. Two threads.",
    )


if __name__ == "__main__":
    main()
