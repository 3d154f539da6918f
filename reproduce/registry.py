# SPDX-License-Identifier: MIT
"""The experiments there are, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reproduce.results import Result
    from reproduce.study import Study


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper.

    Args:
        name: on the command line and of its files.
        roles: the models it needs, of `reproduce.models.ROLES`; none: all that are there.
        run: makes it.
    """

    name: str
    roles: tuple[str, ...]
    run: Callable[[Study], Result]


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str, roles: Sequence[str]
) -> Callable[[Callable[[Study], Result]], Callable[[Study], Result]]:
    """Register a function that makes a result; modules in `reproduce` do so when imported."""

    def register(run: Callable[[Study], Result]) -> Callable[[Study], Result]:
        EXPERIMENTS[name] = Experiment(name, tuple(roles), run)
        return run

    return register
