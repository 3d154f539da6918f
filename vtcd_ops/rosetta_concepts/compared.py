"""What a comparison of runs is made of: the runs, the videos, the numbers beside the tuples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vtcd_ops.common.equality import ByContent
from vtcd_ops.rosetta_concepts.common_grid import CommonGrid


class Member(NamedTuple):
    """One concept of a tuple: which run, and where in it."""

    run: int
    layer: int
    head: int
    concept: int


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs whose concepts were compared.

    Args:
        name: of its model, told apart from those of the other runs.
        path: of the run.
        model: name of the model.
        part: queries, keys, values or outputs.
        sha256: of the run's list of files, so that another run in its place is noticed.
        num_concepts: of the whole run.
        epsilon: share of the concepts that were compared, the most important; None: all.
    """

    name: str
    path: str
    model: str
    part: str
    sha256: str
    num_concepts: int
    epsilon: float | None


@dataclass(frozen=True)
class ComparedVideo:
    """One of the videos in which concepts were compared: its name, and where all models saw it."""

    name: str
    sha256: str
    grid: CommonGrid


@dataclass(frozen=True)
class Baseline:
    """The mean score of all tuples of an order, found or not.

    Args:
        order: models in a tuple.
        mean: of the scores.
        stderr: standard error of the mean, 0 where it is exact.
        num_tuples: how many tuples there are.
        num_scored: how many of them were scored: all, or as many drawn at random.
    """

    order: int
    mean: float
    stderr: float
    num_tuples: int
    num_scored: int

    @property
    def exact(self) -> bool:
        """Whether every tuple was scored."""
        return self.num_scored == self.num_tuples


@dataclass(frozen=True, eq=False)
class Chance(ByContent):
    """What the same search finds among copies of the models with random weights.

    Args:
        order: models in a tuple.
        scores: of the copies' tuples that were found, the best first, float64.
        mean_of_all: the mean score of all the copies' tuples, found or not.
        num_tuples: how many tuples the copies have.
    """

    order: int
    scores: np.ndarray
    mean_of_all: float
    num_tuples: int

    def share_as_good(self, score: float) -> float:
        """Return the share of the copies' tuples, of those found, that score at least as much."""
        if not self.num_tuples:
            return 0.0
        return int((self.scores >= score).sum()) / self.num_tuples


@dataclass(frozen=True, eq=False)
class Partners(ByContent):
    """What each compared concept of each run has in the other runs.

    Args:
        scores: for each run the best score of each concept with a concept of another, float64 [C].
        members: for each run that concept, (run, row of its units), int64 [C, 2].
        sizes: for each run the voxels of each concept in each video, int64 [C, V].
    """

    scores: list[np.ndarray]
    members: list[np.ndarray]
    sizes: list[np.ndarray]


def packed_beside(partners: Partners | None, chance: Sequence[Chance]) -> dict[str, np.ndarray]:
    """Return the arrays by the names that files have for them."""
    arrays = {f"chance-{each.order}": each.scores for each in chance}
    if partners is not None:
        for run, scores in enumerate(partners.scores):
            arrays[f"partner-scores-{run}"] = scores
            arrays[f"partner-members-{run}"] = partners.members[run]
            arrays[f"sizes-{run}"] = partners.sizes[run]
    return arrays


def unpacked_partners(arrays: Mapping[str, np.ndarray], num_runs: int) -> Partners | None:
    """Return the partners that a file holds; None where it is of an earlier version."""
    if "partner-scores-0" not in arrays:
        return None
    return Partners(
        *(
            [arrays[f"{name}-{run}"] for run in range(num_runs)]
            for name in ("partner-scores", "partner-members", "sizes")
        )
    )


def unpacked_chance(
    arrays: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, Any]]
) -> list[Chance]:
    """Return what copies share, of a file and its document."""
    return [
        Chance(
            row["order"], arrays[f"chance-{row['order']}"], row["mean_of_all"], row["num_tuples"]
        )
        for row in rows
    ]
