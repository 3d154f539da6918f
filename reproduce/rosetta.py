# SPDX-License-Identifier: MIT
"""Section 5.3: which concepts do all models share?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import vtcd_ops
from reproduce.models import ROLES
from reproduce.published import ROSETTA
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.errors import InputError

#: "Rolling something across a flat surface", "dropping something behind something".
CLASSES = ("roll", "drop_behind")
EPSILON = 0.15
DELTA = 0.15
BEST = 40  # as many four-tuples as the paper found
COLUMNS = {
    "tuples": f"Tuples of at least {100 * DELTA:g}",
    "mean score": f"Mean score of the best {BEST}",
    "mean of all tuples": "Mean score of all",
    "in place": f"Stay in place, best {BEST}",
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
    in_place: float

    def values(self) -> dict[str, float]:
        numbers = (self.tuples, self.best, self.everything, self.in_place)
        return dict(zip(COLUMNS, numbers, strict=True))


@experiment("rosetta", roles=())
def rosetta(study: Study) -> Result:
    """Return how many concepts all models share, beside copies with random weights."""
    roles = study.roles()
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
            "nothing.",
            "In place: mean IoU of a concept of the best tuples in one video with itself in "
            "another. The higher, the more it is a place and the less an object; concepts that are "
            "places coincide between models whatever is seen.",
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
        return _Found(0, 0.0, 0.0, 0.0)
    rows = best.of_order(len(runs))
    everything = best.baselines[len(runs)]
    try:
        count = len(vtcd_ops.rosetta(runs, delta=DELTA, **options).of_order(len(runs)))
    except InputError:  # says that no tuple scores as much
        count = 0
    places = [
        in_place(run, best.units[number][concept])
        for number, run in enumerate(runs)
        for concept in np.unique(best.tuples[rows][:, number])
    ]
    mean_score, place = float(best.scores[rows].mean()), float(np.mean(places))
    return _Found(count, 100 * mean_score, 100 * everything.mean, 100 * place)


def in_place(run: vtcd_ops.Run, unit: np.ndarray) -> float:
    """Return the mean IoU of a concept's support in one video with that in another.

    Args:
        run: the run.
        unit: layer, head, concept.

    Returns:
        1 for a concept that lies at the same place in all videos, near 0 for one that follows what
        is seen.
    """
    layer, head, concept = (int(number) for number in unit)
    found = [
        (run.support(video, layer, head, run.parts[0]) == concept).ravel()
        for video in range(len(run.videos))
    ]
    supports = np.stack(found).astype(np.float32)
    shared = supports @ supports.T
    sizes = np.diag(shared)
    union = sizes[:, None] + sizes[None] - shared
    pairs = np.triu(union > 0, k=1)
    return float((shared[pairs] / union[pairs]).mean()) if pairs.any() else 0.0
