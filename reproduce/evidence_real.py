# SPDX-License-Identifier: MIT
"""Evidence for the concepts of a real model on real videos, beside three copies of it."""

from __future__ import annotations

import vtcd_ops
from reproduce.evidence import (
    COLUMNS,
    COPIES,
    METHODS,
    REAL_MODEL,
    Search,
    real_subjects,
    summary_cells,
    summary_claims,
)
from reproduce.real_data import LEFT_OUT
from reproduce.registry import experiment
from reproduce.results import Cell, Result, Row
from reproduce.study import Study

SHUFFLES = 19  # of the tokens, for contiguity


@experiment("evidence_real", roles=())
def evidence_real(study: Study) -> Result:
    """Return the measures of evidence of DINOv2-S on DAVIS and on the gallery of SAM 2."""
    rows, claims = [], []
    for subject in real_subjects():
        found = Search(study, subject).evidence(METHODS[0], SHUFFLES)
        cells = summary_cells(found) | {"degenerate": _degenerate(found)}
        videos = subject.title.removeprefix(f"{REAL_MODEL}, ")
        rows.append(Row(videos, cells))
        claims += summary_claims(videos, cells)
    notes = [
        f"{REAL_MODEL}, an image model, frame by frame: keys of layers 5 and 11, 8 frames a video, "
        f"2 voxels a token. {COPIES} copies, each with random weights of its own, searched in the "
        "same way. Brackets: 95 % over videos.",
        "The object: best concept of any layer, chosen on all videos but one and judged on that "
        "one. The gallery has no true masks.",
    ]
    return Result(
        name="evidence_real",
        title="Evidence for concepts of a real model",
        paper="Not in the paper",
        unit="medians over concepts of heads not degenerate; overlaps and R² from 0 to 1",
        columns=COLUMNS | {"degenerate": "Degenerate heads, %"},
        rows=rows,
        claims=claims,
        notes=notes if rows else [LEFT_OUT],
        digits=2,
        setting={},
    )


def _degenerate(found: vtcd_ops.Evidence) -> Cell:
    heads = {tuple(unit) for unit in found.units[:, :2].tolist()}
    return Cell(100 * len(found.degenerate_heads()) / len(heads))
