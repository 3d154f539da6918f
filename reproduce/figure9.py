# SPDX-License-Identifier: MIT
"""Figure 9: do the heads of a layer hold different concepts?"""

from __future__ import annotations

import numpy as np

import vtcd_ops
from reproduce.models import ROLES
from reproduce.registry import experiment
from reproduce.results import Cell, Result, Row, compare
from reproduce.study import Study

PAPER_ROLES = ("tcow", "videomae")


@experiment("figure9", roles=PAPER_ROLES)
def figure9(study: Study) -> Result:
    """Return how alike the concepts of different heads are, beside the same head found twice."""
    columns: dict[str, str] = {}
    cells: dict[int, dict[str, Cell]] = {}
    claims = []
    for role in PAPER_ROLES:
        runs = [study.run(role, seed) for seed in study.seeds]
        title = ROLES[role].title
        columns |= {f"{role}, heads": f"{title}, two heads", f"{role}, seeds": f"{title}, one head"}
        every: dict[str, list[list[float]]] = {"heads": [], "seeds": []}  # [layers][seeds]
        for layer in runs[0].layers:
            alike = {
                "heads": [between_heads(run, layer) for run in runs],
                "seeds": [
                    between_runs(first, second, layer)
                    for first, second in zip(runs, [*runs[1:], runs[0]], strict=True)
                ],
            }
            for kind, values in alike.items():
                cells.setdefault(layer, {})[f"{role}, {kind}"] = Cell.of(values)
                every[kind].append(values)
        claims.append(
            compare(
                f"{title}: two heads of a layer are less alike than one head found twice.",
                *(np.mean(every[kind], axis=0).tolist() for kind in ("heads", "seeds")),
                lower=True,
            )
        )
    return Result(
        name="figure9",
        title="Concepts of different heads",
        paper="Figure 9 of the paper (pictures of two heads)",
        unit="mean IoU of each concept with the nearest concept of the other head, over videos",
        columns=columns,
        rows=[Row(f"layer {layer}", row) for layer, row in sorted(cells.items())],
        claims=claims,
        setting={role: study.setting(role) for role in PAPER_ROLES},
    )


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean over the concepts of one labelling of the best IoU with one of the other.

    >>> likeness(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    1.0

    Args:
        first, second: concept of every voxel, of any equal shape; -1: none.
    """
    k_first, k_second = int(first.max()) + 1, int(second.max()) + 1
    if k_first == 0 or k_second == 0:
        return 0.0
    pairs = np.bincount(
        ((first + 1).astype(np.int64) * (k_second + 1) + second + 1).ravel(),
        minlength=(k_first + 1) * (k_second + 1),
    ).reshape(k_first + 1, k_second + 1)
    shared = pairs[1:, 1:]
    union = pairs[1:].sum(axis=1)[:, None] + pairs[:, 1:].sum(axis=0)[None] - shared
    present = pairs[1:].sum(axis=1) > 0
    return float((shared / np.maximum(union, 1)).max(axis=1)[present].mean())


def _supports(run: vtcd_ops.Run, layer: int, head: int) -> np.ndarray:
    part = run.parts[0]
    videos = range(len(run.videos))
    return np.concatenate([run.support(video, layer, head, part).ravel() for video in videos])


def between_heads(run: vtcd_ops.Run, layer: int) -> float:
    """Return the mean likeness of all pairs of different heads of a layer."""
    found = [_supports(run, layer, head) for head in run.heads]
    pairs = [
        likeness(first, second)
        for index, first in enumerate(found)
        for other, second in enumerate(found)
        if index != other
    ]
    return float(np.mean(pairs)) if pairs else 1.0


def between_runs(first: vtcd_ops.Run, second: vtcd_ops.Run, layer: int) -> float:
    """Return the mean likeness of each head of a layer with itself in another discovery."""
    heads = first.heads
    return float(
        np.mean([likeness(_supports(first, layer, h), _supports(second, layer, h)) for h in heads])
    )
