"""What a ranking says beyond its order: pairs of units, and which of two matters more."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.estimates.estimators import pairs_of
from vtcd_ops.importance.units import describe_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "Interactions", "compare_units", "interactions_of"]

_EXACT = 14  # videos up to which all signs are tried
_DRAWS = 10_000
_CONFIDENCE = 0.95


@dataclass(frozen=True, repr=False, eq=False)
class Interactions(Tabular):
    """Pairs of units, those furthest from zero, in standard errors, first.

    Attributes:
        units: int64 [n, 2, 3], layer, head and concept of both units of each pair.
        pairs: int64 [n, 2], their numbers in the ranking.
        value: float64 [n]. Above 0 the two back each other up: only without both much is lost.
            Below 0 they need each other: without one the other is worth little.
        stderr: float64 [n], from the masks.
        neurons_per_group: of units of neurons.
    """

    units: np.ndarray
    pairs: np.ndarray
    value: np.ndarray
    stderr: np.ndarray
    neurons_per_group: int = 0

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"Interactions({len(self)} pairs)"

    def _rows(self) -> list[Row]:
        return [
            {
                "first": tuple(first),
                "second": tuple(second),
                "value": value,
                "stderr": error,
                "kind": _kind(value),
            }
            for (first, second), value, error in zip(
                self.units.tolist(), self.value.tolist(), self.stderr.tolist(), strict=True
            )
        ]

    def _draw(self, ax: Axes) -> None:
        names = [
            f"{describe_unit(first, self.neurons_per_group)} and "
            f"{describe_unit(second, self.neurons_per_group)}"
            for first, second in self.units[::-1]
        ]
        ax.barh(names, self.value[::-1], xerr=2 * self.stderr[::-1])
        ax.set(xlabel="interaction (± 2 standard errors): above 0 they back each other up")
        ax.set(ylabel="pair")

    def summary(self) -> list[str]:
        """Return a line for each pair."""
        return [
            f"{describe_unit(first, self.neurons_per_group)} and "
            f"{describe_unit(second, self.neurons_per_group)} {_kind(value)}: "
            f"{value:+.4g} +- {error:.2g}"
            for (first, second), value, error in zip(
                self.units, self.value, self.stderr, strict=True
            )
        ]

    def graph(self) -> dict[str, Any]:
        """Return nodes (units) and edges (pairs) as JSON holds them."""
        nodes = [int(unit) for unit in np.unique(self.pairs)]
        table = dict(zip(self.pairs.ravel().tolist(), self.units.reshape(-1, 3).tolist()))
        return {
            "nodes": [
                dict(zip(("unit", "layer", "head", "concept"), (node, *table[node])))
                for node in nodes
            ],
            "edges": [
                {
                    "source": first, "target": second, "value": value, "stderr": error,
                    "kind": _kind(value),
                }
                for (first, second), value, error in zip(
                    self.pairs.tolist(), self.value.tolist(), self.stderr.tolist(), strict=True
                )
            ],
        }  # fmt: skip


def interactions_of(
    units: np.ndarray, measured: dict[str, Any], top: int, neurons_per_group: int
) -> Interactions:
    """Return the strongest interactions of units [U, 3]; see `Importance.interactions`."""
    if not isinstance(top, int) or top < 1:
        raise InputError(f"interactions: top expected a whole number above 0, got {top!r}")
    found = pairs_of(**measured, top=top)
    pairs = found.pairs
    return Interactions(units[pairs], pairs, found.value, found.stderr, neurons_per_group)


@dataclass(frozen=True)
class Comparison:
    """Whether one unit matters more than another.

    Args:
        difference: of their importances, the mean over the videos in which both occur.
        low, high: its 95 % interval, from videos drawn again with replacement.
        p_value: how often a difference as large comes about where the two matter alike: the share
            of all choices of signs of the videos' differences whose mean is as far from zero.
        num_videos: in which both occur.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_videos: int

    @property
    def smallest_p_value(self) -> float:
        """The least that p_value can be with so many videos: with two, .5, which decides nothing.

        >>> Comparison(0.2, low=0.1, high=0.3, p_value=0.5, num_videos=2).smallest_p_value
        0.5
        """
        return max(2.0 ** (1 - self.num_videos), 1 / (_DRAWS + 1))


def compare_units(differences: np.ndarray, seed: int = 0) -> Comparison:
    """Compare two units by the differences of their effects in each video, float64 [V].

    >>> found = compare_units(np.array([1.0, 2.0, 1.5, 0.5, 1.0]))
    >>> found.difference, found.p_value  # the two choices of all signs alike, of 32
    (1.2, 0.0625)
    """
    count = len(differences)
    if count < 2:
        raise InputError(
            f"compare: at least two videos expected in which both units occur, got {count}"
        )
    mean = float(differences.mean())
    random = np.random.default_rng(seed)
    if count <= _EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=count)), dtype=np.float64)
    else:
        signs = random.choice((1.0, -1.0), size=(_DRAWS, count))
        signs[0] = 1  # what was seen is one of them: no p-value of 0
    means = np.abs(signs @ differences) / count
    p_value = float((means >= abs(mean) * (1 - 1e-12)).mean())
    drawn = differences[random.integers(0, count, (_DRAWS, count))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Comparison(mean, float(low), float(high), p_value, count)


def find_unit(table: np.ndarray, unit: int | tuple[int, int, int]) -> int:
    """Return the number of a unit, given as that or as (layer, head, concept)."""
    if isinstance(unit, int | np.integer) and 0 <= unit < len(table):
        return int(unit)
    same = (table == np.asarray(unit)).all(axis=1) if np.shape(unit) == (3,) else np.zeros(1, bool)
    rows = np.flatnonzero(same)
    if len(rows) != 1:
        raise InputError(
            f"compare: unit expected 0 to {len(table) - 1} or (layer, head, concept) of the "
            f"ranking, got {unit!r}"
        )
    return int(rows[0])


def _kind(value: float) -> str:
    return "back each other up" if value > 0 else "need each other"
