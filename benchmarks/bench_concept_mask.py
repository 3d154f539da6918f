"""concept_mask against torch.mul of the same tensor, and what adding up the scores costs."""

from __future__ import annotations

from typing import Any

import torch
from _harness import Column, measure, threads, write
from torch import Tensor

import vtcd_ops

SHAPE = (8, 12, 1568, 64)  # keys of VideoMAE-B for eight clips
UNITS = 800


def layouts(x: Tensor) -> dict[str, Tensor]:
    return {
        "[B, A, N, C]": x,
        "[B, N, A, C] transposed": x.transpose(1, 2).contiguous().transpose(1, 2),
    }


def row(name: str, x: Tensor, keep: Tensor, assign: Tensor) -> dict[str, Any]:
    """Time forward and backward beside those of a product of the same tensor with a number."""
    masked = vtcd_ops.concept_mask(x, assign, keep)
    padded = torch.nn.functional.pad(keep.to(x.dtype), (0, 1), value=1.0)
    units = torch.where(assign < 0, UNITS, assign).long().flatten(1)
    factor = padded.gather(1, units.expand(len(x), -1)).reshape(*x.shape[:3], 1)
    assert torch.equal(masked, x * factor)
    learnt, table = x.detach().requires_grad_(), keep
    if keep.is_floating_point():
        table = keep.detach().requires_grad_()
    ours = vtcd_ops.concept_mask(learnt, assign, table)
    grad = torch.randn_like(ours)
    inputs = [learnt, table] if table.requires_grad else [learnt]

    def backward() -> None:
        torch.autograd.grad(ours, inputs, grad, retain_graph=True)

    with torch.no_grad():
        forward = measure(lambda: vtcd_ops.concept_mask(x, assign, keep), repeats=21, budget_s=4)
        rival = measure(lambda: torch.mul(x, 0.5), repeats=21, budget_s=4)
        broadcast = measure(lambda: x * factor, repeats=21, budget_s=4)
    back = measure(backward, repeats=21, budget_s=4)
    return {
        "case": name,
        **forward.columns("ours"),
        **rival.columns("mul"),
        "forward_ratio": forward.median / rival.median,
        **broadcast.columns("dense_mask"),
        **back.columns("backward"),
        "backward_ratio": back.median / rival.median,
    }


def accumulation() -> dict[str, float]:
    """Milliseconds to add the scores of 1,000 masks of one video."""
    times = {}
    for units in (800, 100_000):
        keep = vtcd_ops.cris_sample(units, 1000, 0.5, 0)
        drop = torch.randn(1000, dtype=torch.float64)
        sums = torch.zeros(2, units, dtype=torch.int64), *torch.zeros(2, 2, units).double()
        add = measure(
            lambda keep=keep, drop=drop, sums=sums: vtcd_ops.cris_accumulate(*sums, keep, drop),
            repeats=11,
            budget_s=3,
        )
        draw = measure(
            lambda units=units: vtcd_ops.cris_sample(units, 1000, 0.5, 0), repeats=7, budget_s=4
        )
        times[f"accumulate_1000_masks_of_{units}_units_ms"] = add.median
        times[f"sample_1000_masks_of_{units}_units_ms"] = draw.median
    return times


def main() -> None:
    torch.manual_seed(0)
    assign = torch.randint(-1, UNITS, (1, *SHAPE[1:3]), dtype=torch.int32)
    keep = vtcd_ops.cris_sample(UNITS, SHAPE[0], 0.5, 0)
    rows = []
    with threads(2):
        for layout, x in layouts(torch.randn(SHAPE)).items():
            rows.append(row(f"float32 {layout}, bool", x, keep, assign))
            rows.append(row(f"float32 {layout}, floating", x, torch.rand(8, UNITS), assign))
        half = layouts(torch.randn(SHAPE).bfloat16())["[B, N, A, C] transposed"]
        rows.append(row("bfloat16 [B, N, A, C] transposed, bool", half, keep, assign))
        details = accumulation()
    write(
        "concept_mask",
        rows,
        [
            Column("case", "features and mask"),
            Column("ours_ms", "ours, ms", "{:.1f}"),
            Column("mul_ms", "torch.mul by a number, ms", "{:.1f}"),
            Column("forward_ratio", "ratio", "{:.2f}"),
            Column("dense_mask_ms", "times a dense mask, ms", "{:.1f}"),
            Column("backward_ms", "our backward, ms", "{:.1f}"),
            Column("backward_ratio", "to torch.mul", "{:.2f}"),
        ],
        note=f"[8, 12, 1568, 64], {UNITS} units, half of them removed; results are equal bit for "
        "bit to the product with the dense mask. The backward pass of a floating mask gives both "
        "gradients. Two threads. Adding up 1,000 masks of 800 units takes "
        f"{details['accumulate_1000_masks_of_800_units_ms']:.2f} ms, drawing them "
        f"{details['sample_1000_masks_of_800_units_ms']:.1f} ms; of 100,000 units "
        f"{details['accumulate_1000_masks_of_100000_units_ms']:.0f} and "
        f"{details['sample_1000_masks_of_100000_units_ms']:.0f} ms.",
        details=details,
    )


if __name__ == "__main__":
    main()
