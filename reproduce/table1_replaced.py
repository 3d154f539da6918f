# SPDX-License-Identifier: MIT
"""Table 1 with something else than zeros in place of a concept that is removed."""

from __future__ import annotations

from dataclasses import replace as replaced

import numpy as np

from reproduce.models import ROLES
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from reproduce.table1 import (
    BETTER,
    GRADIENTS,
    OURS,
    PAPER_ROLES,
    SMOOTHED,
    UNIT,
    Found,
    areas_of,
    cells_of,
    columns,
    curves_of,
)
from vtcd_ops.common.errors import counted
from vtcd_ops.importance.replacements import REPLACEMENTS

IN_PLACE = {"zero": "zeros", "mean": "the head's mean", "video": "another video's features"}
#: Pairs of orders, of which the first should be the better one, and in which direction.
COMPARED = (
    (OURS, "SLIC, occlusion", "positive"),
    (SMOOTHED, GRADIENTS, "positive"),
    (SMOOTHED, GRADIENTS, "negative"),
)


@experiment("table1_replaced", roles=PAPER_ROLES)
def table1_replaced(study: Study) -> Result:
    """Return the areas of Table 1 where rankings and curves put each replacement in place."""
    found = {replace: _curves(study, replace) for replace in REPLACEMENTS}
    return Result(
        name="table1_replaced",
        title="Attribution curves, other features in place of a concept",
        paper="Table 1 of the paper, which puts zeros in place of a concept",
        unit=UNIT,
        columns=columns(),
        rows=[
            Row(f"{IN_PLACE[replace]}: {label.removeprefix('SLIC, ')}", _measured(curves, label))
            for replace, curves in found.items()
            for label in dict.fromkeys(label for label, _ in curves)
        ],
        claims=[claim for replace, curves in found.items() for claim in _claims(replace, curves)],
        notes=_notes(study, found),
        digits=3,
        setting={role: study.setting(role) for role in PAPER_ROLES},
    )


def _curves(study: Study, replace: str) -> Found:
    """Curves of all orders, ranked and followed with one replacement."""
    study = study.until_reliable(times=1)
    found: Found = {}
    for role in PAPER_ROLES:
        for seed in study.seeds:
            for label, curve in curves_of(study, role, seed, "slic", replace).items():
                found.setdefault((label, role), []).append(curve)
    return found


def _measured(found: Found, label: str) -> dict[str, Cell]:
    """The cells of a row, without the paper's numbers, which stand in Table 1."""
    return {name: replaced(cell, published=None) for name, cell in cells_of(found, label).items()}


def _claims(replace: str, found: Found) -> list[Claim]:
    """What Table 1 says of CRIS, under one replacement."""
    claims = []
    for role in PAPER_ROLES:
        for ours, other, direction in COMPARED:
            mine, its = (areas_of(found, one, role, direction) for one in (ours, other))
            text = f"{ROLES[role].title}, {IN_PLACE[replace]}: the {direction} area of “{ours}” is "
            text += f"{BETTER[direction]} than that of “{other}”."
            claims.append(compare(text, mine, its, 3, lower=direction == "positive"))
    return claims


def _notes(study: Study, found: dict[str, Found]) -> list[str]:
    trust = []
    for replace, curves in found.items():
        for role in PAPER_ROLES:
            masks, reliability = (
                np.mean([getattr(curve, name) for curve in curves[OURS, role]])
                for name in ("masks", "reliability")
            )
            trust.append(
                f"{ROLES[role].title}, {IN_PLACE[replace]}, {masks:.0f} ({reliability:.2f})"
            )
    return [
        "Each order is made and followed with the same features in place of what is removed; "
        "videos, metrics and the rest as in Table 1, but with fewer masks of CRIS, so that its "
        "numbers under zeros may differ from those there. Areas of different replacements are of "
        "different curves, which end at what the model answers to nothing but zeros, means or "
        "another video's features: compare rows of one replacement.",
        "Masks of CRIS by the paper's metric, a video, and the reliability of the order: "
        f"{'; '.join(trust)}.",
        f"Brackets are 95 % intervals over videos, from which neither concepts nor rankings come; "
        f"{counted(study.scale.seeds, 'seed')} of discovery and masks.",
    ]
