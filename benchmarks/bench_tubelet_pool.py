"""tubelet_pool against interpolating the features and averaging them by torch."""

from __future__ import annotations

from typing import Any

import torch
from _harness import Column, measure, threads, write
from torch import Tensor
from torch.nn.functional import interpolate

import vtcd_ops

CHANNELS = 64
CASES = {  # grid, volume, tubelets
    "VideoMAE 16x112x112": ((8, 14, 14), (16, 112, 112), 12),
    "TCOW 30x120x160": ((30, 15, 20), (30, 120, 160), 12),
    "8x32x32 tokens themselves, 512 tubelets": ((8, 32, 32), (8, 32, 32), 512),
}


def by_torch(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Average the interpolated volume by one scatter: [S, C]."""
    size = labels.shape[1:]
    volume = features
    if size != features.shape[2:]:
        volume = interpolate(features, size=size, mode="trilinear", align_corners=True)
    rows = volume[0].flatten(1).T
    sums = rows.new_zeros(count, CHANNELS).index_add_(0, labels.flatten(), rows)
    return sums / labels.flatten().bincount(minlength=count).clamp(min=1)[:, None]


def row(
    name: str, grid: tuple[int, int, int], size: tuple[int, int, int], tubelets: int
) -> dict[str, Any]:
    coarse = torch.randn(1, CHANNELS, *[max(2, n // 4) for n in grid])
    features = interpolate(coarse, size=grid, mode="trilinear", align_corners=True)
    labels = vtcd_ops.ops.slic3d(features, size, tubelets)
    count = int(labels.max()) + 1
    wide = labels.long()
    means, _ = vtcd_ops.ops.tubelet_pool(features, labels, count)
    difference = (means[0] - by_torch(features.double(), wide, count)).abs().max()
    learnt = features.clone().requires_grad_()

    def forward_and_backward() -> None:
        vtcd_ops.ops.tubelet_pool(learnt, labels, count)[0].square().sum().backward()

    ours = measure(lambda: vtcd_ops.ops.tubelet_pool(features, labels, count), repeats=31)
    rival = measure(lambda: by_torch(features, wide, count), budget_s=6)
    return {
        "case": name,
        "difference": float(difference),
        **ours.columns("ours"),
        **rival.columns("torch"),
        "speed": rival.median / ours.median,
        "training_ms": measure(forward_and_backward, repeats=31).median,
    }


def main() -> None:
    torch.manual_seed(0)
    with threads(1):
        rows = [row(name, *shapes) for name, shapes in CASES.items()]
    write(
        "tubelet_pool",
        rows,
        [
            Column("case", "case"),
            Column("difference", "largest difference", "{:.0e}"),
            Column("ours_ms", "ours, ms", "{:.2f}"),
            Column("torch_ms", "interpolate + index_add, ms", "{:.1f}"),
            Column("speed", "times faster", "{:.0f}"),
            Column("training_ms", "ours with gradient, ms", "{:.2f}"),
        ],
        note=f"{CHANNELS} channels, float32, the labels of slic3d on smooth features; the "
        "difference is to torch in float64. One thread.",
    )


if __name__ == "__main__":
    main()
