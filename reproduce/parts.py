# SPDX-License-Identifier: MIT
"""Which part of a head holds concepts: queries, keys, values or outputs?"""

from __future__ import annotations

from reproduce.masks import KEYS
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row
from reproduce.study import Study
from reproduce.table4 import COLUMNS, ROLE, best_concepts
from vtcd_ops.adapter import PARTS


@experiment("parts", roles=[ROLE])
def parts(study: Study) -> Result:
    """Return Table 4's measure and the positive area for concepts of each part."""
    samples = study.samples(ROLE)
    rows = []
    for part in PARTS:
        runs = [study.run(ROLE, seed, parts=(part,)) for seed in study.seeds]
        fits = [best_concepts(study, run, samples) for run in runs]
        cells = {kind: Cell.of([100 * fit[kind] for fit in fits]) for kind in KEYS}
        areas = []
        for seed, run in zip(study.seeds, runs, strict=True):
            ranking = study.importance(run, ROLE, seed).name
            areas.append(study.curves(run, ROLE, [ranking], seed).area(ranking))
        rows.append(Row(part, {**cells, "area": Cell.of(areas)}))
    keys = next(row for row in rows if row.label == "keys")
    best = max(rows, key=lambda row: row.cells["target"].value)
    return Result(
        name="parts",
        title="Queries, keys, values and outputs",
        paper="choice of keys in Section 5 (no table)",
        unit="mean IoU in per cent of the best concept; area below the positive curve",
        columns={**COLUMNS, "area": "Positive area"},
        rows=rows,
        claims=[
            Claim(
                "Keys give the concepts that fit the target best.",
                best.label == "keys",
                f"keys {keys.cells['target'].value:.1f}, best {best.label} "
                f"{best.cells['target'].value:.1f}",
            )
        ],
        setting=study.setting(ROLE),
    )
