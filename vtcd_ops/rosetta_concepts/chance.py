"""The same search among copies of the models with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vtcd_ops.common.errors import warn
from vtcd_ops.discovery.run import Run
from vtcd_ops.rosetta_concepts.supports import Candidates


def copies_of(candidates: Sequence[Candidates], seed: int) -> list[Candidates] | None:
    """Return as many concepts of a copy of each model; None where a run has no copy.

    Where the most important concepts are compared, as many of the copy are drawn at random, since
    importance for the answer of random weights says nothing. No two copies have the same weights:
    of models alike in shape they would share everything.

    Args:
        candidates: what of each run is compared.
        seed: of the drawing.
    """
    found: list[Candidates] = []
    taken: set[str] = set()
    for number, each in enumerate(candidates):
        if each.run.kind != "discovery":
            return None
        copies = each.run.copies()
        if not copies:
            return None
        copy = _other_than(copies, taken)
        if copy is None:
            warn(
                f"rosetta: the copy of {each.name} has the same random weights as that of another "
                "model, so chance is left out: `vtcd evidence "
                f"{each.run.path}` makes copies of other seeds"
            )
            return None
        taken.add(str(copy.model["sha256"]))
        units = copy.units(each.part)
        if each.epsilon is not None:
            random = np.random.default_rng([seed, number])
            count = min(len(each.units), len(units))
            units = units[np.sort(random.choice(len(units), count, replace=False))]
        found.append(replace(each, run=copy, units=units))
    return found


def _other_than(copies: Sequence[Run], taken: set[str]) -> Run | None:
    return next((copy for copy in copies if copy.model["sha256"] not in taken), None)
