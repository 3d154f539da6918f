# SPDX-License-Identifier: MIT
"""Table 4: do concepts of a tracker coincide with what it is trained to find?"""

from __future__ import annotations

import numpy as np

import vtcd_ops
from reproduce.masks import KEYS, iou, object_masks, on_grid, tracker_masks
from reproduce.published import TABLE_4
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.video.samples import Sample

ROLE = "tcow"
PROPOSALS = {"Random crops": "random_crops", "SLIC (VTCD)": "slic"}
COLUMNS = {"target": "Target", "occluder": "Occluder", "container": "Container"}


@experiment("table4", roles=[ROLE])
def table4(study: Study) -> Result:
    """Return the mean IoU of the best concept with true masks, beside the tracker's own."""
    samples = study.samples(ROLE)
    scores: dict[str, dict[str, list[float]]] = {}
    for label, proposals in PROPOSALS.items():
        runs = [study.run(ROLE, seed, proposals=proposals) for seed in study.seeds]
        fits = [best_concepts(study, run, samples) for run in runs]
        scores[label] = {kind: [100 * fit[kind] for fit in fits] for kind in KEYS}
    control = [study.run(ROLE, seed, untrained=True) for seed in study.seeds]
    fits = [best_concepts(study, run, samples) for run in control]
    scores["SLIC, random weights"] = {kind: [100 * fit[kind] for fit in fits] for kind in KEYS}
    own = {kind: [100 * value] for kind, value in tracker(study, samples).items()}
    claims = _claims(scores)
    return Result(
        name="table4",
        title="Concepts that coincide with objects",
        paper="Table 4 of the paper",
        unit="mean IoU in per cent of the best concept of all heads with true masks",
        columns=COLUMNS,
        rows=_rows({**scores, "The tracker itself": own}),
        claims=claims,
        notes=[
            "The concept is chosen on the videos that it is scored on, as in the paper. The target "
            "counts as a whole, also where it is hidden. Videos without an object of the kind do "
            "not count.",
        ],
        digits=1,
        setting=study.setting(ROLE),
    )


def best_concepts(study: Study, run: vtcd_ops.Run, samples: list[Sample]) -> dict[str, float]:
    """Return for each kind of object the mean IoU of the concept that fits it best."""
    part = run.parts[0]
    table = np.zeros((len(KEYS), len(run.units(part))))
    for row, kind in enumerate(KEYS):
        known = 0
        for video, sample in enumerate(samples):
            mask = object_masks(study.adapter(ROLE), run, video, sample, kind)
            if mask is not None:
                table[row] += concept_overlaps(run, video, mask)
                known += 1
        table[row] /= max(known, 1)
    return {kind: float(table[row].max()) for row, kind in enumerate(KEYS)}


def concept_overlaps(run: vtcd_ops.Run, video: int, mask: np.ndarray) -> np.ndarray:
    """Return the IoU of each concept of a run with a mask [T, H, W] of a video, [U]."""
    part = run.parts[0]
    overlaps = []
    for layer in run.layers:
        for head in run.heads:
            count = run.concepts(layer, head, part).k
            support = run.support(video, layer, head, part)
            size = np.bincount(support[support >= 0], minlength=count)
            inside = support[mask]
            shared = np.bincount(inside[inside >= 0], minlength=count)
            overlaps.append(shared / (size + mask.sum() - shared))
    return np.concatenate(overlaps)


def tracker(study: Study, samples: list[Sample]) -> dict[str, float]:
    """Return the mean IoU of the model's own answers, on the same grid."""
    adapter, run = study.adapter(ROLE), study.run(ROLE, study.seeds[0])
    found: dict[str, list[float]] = {kind: [] for kind in KEYS}
    for video, sample in enumerate(samples):
        answer = tracker_masks(adapter, sample, run.videos[video].frame_indices)
        for channel, kind in enumerate(KEYS):
            mask = object_masks(adapter, run, video, sample, kind)
            if mask is not None:
                found[kind].append(iou(on_grid(answer[channel], mask.shape), mask))
    return {kind: float(np.mean(values)) if values else 0.0 for kind, values in found.items()}


def _rows(scores: dict[str, dict[str, list[float]]]) -> list[Row]:
    return [
        Row(
            label,
            {
                kind: Cell.of(values, TABLE_4.get(label, {}).get(kind))
                for kind, values in kinds.items()
            },
        )
        for label, kinds in scores.items()
    ]


def _claims(scores: dict[str, dict[str, list[float]]]) -> list[Claim]:
    """Compare the methods as the paper does, and with random weights."""
    claims = []
    ours = scores["SLIC (VTCD)"]
    for other in ("Random crops", "SLIC, random weights"):
        for kind in KEYS:
            than = "those of random crops" if other == "Random crops" else "with random weights"
            text = f"SLIC's concepts fit the {kind} better than {than}."
            claims.append(compare(text, ours[kind], scores[other][kind], digits=1))
    return claims
