# SPDX-License-Identifier: MIT
"""Which part of a head holds concepts: queries, keys, values or outputs?"""

from __future__ import annotations

from collections.abc import Mapping

from reproduce.masks import KEYS
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from reproduce.table4 import COLUMNS, ROLE, best_concepts
from vtcd_ops.adapters.adapter import PARTS

AREAS = {"positive": "Positive area", "negative": "Negative area"}


@experiment("parts", roles=[ROLE])
def parts(study: Study) -> Result:
    """Return Table 4's measure, and the areas of CRIS, for concepts of each part."""
    scale = study.scale
    small = study.at(scored=(scale.scored + 1) // 2)
    found = {part: _of_part(small, part) for part in PARTS}
    return Result(
        name="parts",
        title="Queries, keys, values and outputs",
        paper="Choice of keys in Section 5 of the paper (no table)",
        unit="mean IoU in per cent of the best concept; areas as in Table 1, in hundredths",
        columns={**COLUMNS, **AREAS},
        rows=[
            Row(part, {name: Cell.of(values) for name, values in cells.items()})
            for part, cells in found.items()
        ],
        claims=[_keys_are_best(found, kind) for kind in KEYS],
        notes=[
            f"Areas of rankings with {small.scale.masks} masks on {small.scale.scored} videos, "
            "fewer than in Table 1, on as many others.",
            "Removing a concept of one part leaves the other parts of the head as they are, so the "
            "areas of different parts say how much hangs on a part, and not only how good its "
            "concepts are.",
        ],
        digits=1,
        setting=study.setting(ROLE),
    )


def _of_part(study: Study, part: str) -> dict[str, list[float]]:
    """The numbers of one row, one a seed."""
    samples = study.samples(ROLE)
    columns: dict[str, list[float]] = {name: [] for name in (*KEYS, *AREAS)}
    for seed in study.seeds:
        run = study.run(ROLE, seed, part=part)
        for kind, fit in best_concepts(study, run, samples).items():
            columns[kind].append(100 * fit)
        ranking = study.importance(run, ROLE, seed)
        curves = study.curves(run, ROLE, [ranking], seed, name="parts")
        for direction in AREAS:
            columns[direction].append(100 * curves.area(ranking.name, direction))
    return columns


def _keys_are_best(found: Mapping[str, Mapping[str, list[float]]], kind: str) -> Claim:
    """Compare keys with the best other part."""
    others = {part: columns[kind] for part, columns in found.items() if part != "keys"}
    best = max(others, key=lambda part: sum(others[part]))
    text = f"Keys give the concepts that fit the {kind} best."
    return compare(text, found["keys"][kind], others[best], digits=1, more=f" ({best})")
