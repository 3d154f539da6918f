# SPDX-License-Identifier: MIT
"""Section 5.3: which concepts do all models share?"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

import vtcd_ops
from reproduce.models import ROLES
from reproduce.published import ROSETTA
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.common.errors import InputError

#: "Rolling something across a flat surface", "dropping something behind something".
CLASSES = ("roll", "drop_behind")
EPSILON = 0.15
DELTA = 0.15
BEST = 40  # as many four-tuples as the paper found
COLUMNS = {
    "tuples": f"Tuples of at least {100 * DELTA:g}",
    "mean score": f"Mean score of the best {BEST}",
    "mean of all tuples": "Mean score of all",
    "videos": f"Videos that the best {BEST} occur in, %",
    "over all videos": f"The best {BEST} over all videos",
}
#: Row: whether the weights are random, whether concepts are chosen by importance.
ROWS = {
    "most important concepts": (False, True),
    "any concepts": (False, False),
    "random weights, any concepts": (True, False),
}


@dataclass(frozen=True)
class _Found:
    """What all models share, scores in hundredths."""

    tuples: int
    best: float
    everything: float
    videos: float
    over_all_videos: float

    def values(self) -> dict[str, float]:
        return dict(zip(COLUMNS, astuple(self), strict=True))


@experiment("rosetta", roles=())
def rosetta(study: Study) -> Result:
    """Return how many concepts all models share, beside copies with random weights."""
    roles = study.roles()
    study = study.at(masks=(study.scale.masks + 1) // 2)  # no more than which are the first 15 %
    found = {
        label: [_shared(study, seed, *how).values() for seed in study.seeds]
        for label, how in ROWS.items()
    }
    ours = next(iter(ROWS))
    published = ROSETTA if len(roles) == len(ROLES) else {}
    rows = []
    for label, each in found.items():
        cells = {
            name: Cell.of(
                [one[name] for one in each], published.get(name) if label == ours else None
            )
            for name in COLUMNS
        }
        rows.append(Row(f"{len(roles)} models, {label}", cells))
    return Result(
        name="rosetta",
        title="Concepts shared by all models",
        paper="Section 5.3 of the paper",
        unit="scores in hundredths",
        columns=COLUMNS,
        rows=rows,
        claims=_claims(found),
        notes=[
            f"Videos of the classes {' and '.join(CLASSES)}. {100 * EPSILON:g} % of each model's "
            "concepts are compared: the most important, or, beside them, as many drawn at random; "
            "of copies with random weights these alone, since importance for a random answer says "
            f"nothing. Importance from {study.scale.masks} masks, fewer than Table 1 has.",
            "The score averages over the videos that any concept of the tuple occurs in. Over all "
            "videos: a video without them counts as 0.",
            *study.missing(),
        ],
        digits=1,
        setting={role: study.setting(role) for role in roles},
    )


def _claims(found: dict[str, list[dict[str, float]]]) -> list[Claim]:
    """What the paper concludes, and what the control says to it."""
    ours, any_concepts, control = found.values()
    best, everything = (
        [one[name] for one in ours] for name in ("mean score", "mean of all tuples")
    )
    return [
        compare("The best tuples score above the mean of all.", best, everything, 1),
        compare(
            "The best tuples of trained models score above those of copies with random weights.",
            best,
            [one["mean score"] for one in control],
            1,
        ),
        compare(
            "They do so where videos without them count as 0.",
            [one["over all videos"] for one in ours],
            [one["over all videos"] for one in control],
            1,
        ),
        compare(
            "The best tuples of important concepts score above those of any concepts.",
            best,
            [one["mean score"] for one in any_concepts],
            1,
        ),
    ]


def _shared(study: Study, seed: int, untrained: bool, by_importance: bool) -> _Found:
    runs, importances = [], []
    for number, role in enumerate(study.roles()):
        run = study.run(role, seed, untrained=untrained, classes=CLASSES)
        if by_importance:
            value = study.importance(run, role, seed).value
        else:
            value = np.random.default_rng([seed, number]).random(len(run.units(run.parts[0])))
        runs.append(run)
        importances.append(value)
    options: dict[str, Any] = {
        "importances": importances,
        "epsilon": EPSILON,
        "min_models": len(runs),
        "seed": seed,
        "progress": False,
    }
    try:
        best = vtcd_ops.rosetta(runs, delta=None, top=BEST, **options)
    except InputError:  # says that no tuple overlaps in any video
        return _Found(0, 0.0, 0.0, 0.0, 0.0)
    rows = best.of_order(len(runs))
    everything = best.baselines[len(runs)]
    try:
        count = len(vtcd_ops.rosetta(runs, delta=DELTA, **options).of_order(len(runs)))
    except InputError:  # says that no tuple scores as much
        count = 0
    per_video = best.per_video[rows]  # [Q, V], NaN where none of a tuple's concepts occurs
    return _Found(
        count,
        100 * float(best.scores[rows].mean()),
        100 * everything.mean,
        100 * float(np.isfinite(per_video).mean()),
        100 * float(np.nan_to_num(per_video).mean()),
    )
