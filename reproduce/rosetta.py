# SPDX-License-Identifier: MIT
"""Section 5.3: which concepts do all models share?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import vtcd_ops
from reproduce.models import ROLES
from reproduce.published import ROSETTA
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row
from reproduce.study import Study
from vtcd_ops.errors import InputError

#: "Rolling something across a flat surface", "dropping something behind something".
CLASSES = ("roll", "drop_behind")
DELTA = 0.15
BEST = 40  # as many four-tuples as the paper found
COLUMNS = {
    "tuples": f"Tuples of at least {100 * DELTA:g}",
    "mean score": f"Mean score of the best {BEST}",
    "mean of all tuples": "Mean score of all",
}


@dataclass(frozen=True)
class _Found:
    """What all models share, scores in hundredths."""

    tuples: int
    best: float
    everything: float

    def values(self) -> dict[str, float]:
        return dict(zip(COLUMNS, (self.tuples, self.best, self.everything), strict=True))


@experiment("rosetta", roles=())
def rosetta(study: Study) -> Result:
    """Return how many concepts all models share, beside copies with random weights."""
    roles = study.roles()
    label = f"{len(roles)} models"
    labels = {label: False, f"{label}, random weights": True}
    found = {
        label: [_shared(study, seed, untrained) for seed in study.seeds]
        for label, untrained in labels.items()
    }
    rows = []
    for name_of_row, each in found.items():
        compared = name_of_row == label and len(roles) == len(ROLES)
        cells = {
            name: Cell.of(
                [one.values()[name] for one in each],
                ROSETTA[name] if compared else None,
            )
            for name in COLUMNS
        }
        rows.append(Row(name_of_row, cells))
    trained, control = (row.cells for row in rows)
    best, everything = trained["mean score"].value, trained["mean of all tuples"].value
    random = control["mean score"].value
    return Result(
        name="rosetta",
        title="Concepts shared by all models",
        paper="Section 5.3",
        unit="scores in hundredths",
        columns=COLUMNS,
        rows=rows,
        claims=[
            Claim(
                "The best tuples score far above the mean of all.",
                best > 3 * everything,
                f"{best:.1f} against {everything:.1f}",
            ),
            Claim(
                "They score above those of copies with random weights.",
                best > random,
                f"{best:.1f} against {random:.1f}",
            ),
        ],
        notes=[
            f"Videos of the classes {' and '.join(CLASSES)}; the most important 15 % of each "
            "model's concepts; concepts of a copy with random weights are compared all, since "
            "importance for an answer that is random says nothing.",
            *study.missing(),
        ],
        setting={role: study.setting(role) for role in roles},
    )


def _shared(study: Study, seed: int, untrained: bool) -> _Found:
    runs = []
    for role in study.roles():
        run = study.run(role, seed, untrained=untrained, classes=CLASSES)
        if not untrained:
            study.importance(run, role, seed)
        runs.append(vtcd_ops.load(run.path))
    importances = None if untrained else "stored"
    options: dict[str, Any] = {
        "importances": importances,
        "min_models": len(runs),
        "seed": seed,
        "progress": False,
    }
    best = vtcd_ops.rosetta(runs, delta=None, top=BEST, **options)
    rows = best.of_order(len(runs))
    everything = best.baselines[len(runs)]
    try:
        count = len(vtcd_ops.rosetta(runs, delta=DELTA, **options).of_order(len(runs)))
    except InputError:  # says that no tuple scores as much
        count = 0
    return _Found(count, 100 * float(best.scores[rows].mean()), 100 * everything.mean)
