# SPDX-License-Identifier: MIT
"""The control: what do concepts of a model with random weights look like?"""

from __future__ import annotations

import numpy as np

import vtcd_ops
from reproduce.models import ROLES
from reproduce.registry import experiment
from reproduce.results import Cell, Result, Row, compare
from reproduce.study import Study

MEASURES = {"concepts": "Concepts a head", "silhouette": "Mean silhouette", "videos": "Spread"}


@experiment("control", roles=())
def control(study: Study) -> Result:
    """Return how many concepts heads have and how distinct they are, trained and not."""
    rows = []
    silhouettes: dict[tuple[str, bool], list[float]] = {}
    roles = study.roles()
    for role in roles:
        kind = ROLES[role]
        for untrained in (False, True):
            runs = [study.run(role, seed, untrained=untrained) for seed in study.seeds]
            found = [measures(run) for run in runs]
            cells = {name: Cell.of([one[name] for one in found]) for name in MEASURES}
            rows.append(Row(kind.title + (", random weights" if untrained else ""), cells))
            silhouettes[role, untrained] = [one["silhouette"] for one in found]
    return Result(
        name="control",
        title="Models with random weights",
        paper="Not in the paper",
        unit="means over heads; spread: share of the videos that a concept occurs in",
        columns=MEASURES,
        rows=rows,
        claims=[
            compare(
                f"{ROLES[role].title}: training, not the architecture, makes concepts distinct.",
                silhouettes[role, False],
                silhouettes[role, True],
                more=" (silhouette, trained against random)",
            )
            for role in roles
        ],
        notes=["How well they fit objects, trained and not, is in Table 4.", *study.missing()],
        setting={role: study.setting(role) for role in roles},
    )


def measures(run: vtcd_ops.Run) -> dict[str, float]:
    """Return the mean over the heads of a run of each measure."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for layer in run.layers:
        for head in run.heads:
            concepts = run.concepts(layer, head, run.parts[0])
            found["concepts"].append(concepts.k)
            if concepts.k > 1:
                found["silhouette"].append(concepts.mean_silhouette)
            occurs = {
                (concept, video)
                for concept, video in zip(concepts.concept, concepts.video, strict=True)
            }
            found["videos"].append(len(occurs) / (concepts.k * len(run.videos)))
    return {name: float(np.mean(values)) if values else 0.0 for name, values in found.items()}
