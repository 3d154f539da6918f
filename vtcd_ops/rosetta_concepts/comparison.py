"""Two runs of one model, or of any two: which concepts are kept, new, lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.rosetta_concepts.candidates import choose_candidates
from vtcd_ops.rosetta_concepts.chance import copies_of
from vtcd_ops.rosetta_concepts.compared import Partners
from vtcd_ops.rosetta_concepts.partners import find_partners, sizes_of
from vtcd_ops.rosetta_concepts.supports import Candidates, pack, video_grids
from vtcd_ops.storage.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Kept", "RunComparison", "compare"]

Unit = tuple[int, int, int]  # (layer, head, concept)


class Kept(NamedTuple):
    """A concept of the first run, its best match in the second, and how much they overlap."""

    first: Unit
    second: Unit
    score: float


@dataclass(frozen=True, repr=False, eq=False)
class RunComparison(Tabular):
    """What a second run has of the concepts of a first one. Made by :func:`vtcd_ops.compare`.

    Iterated over, it is a row for each concept: those kept, those lost, those new.

    U concepts of the first run, W of the second.

    Attributes:
        names: of the two runs.
        threshold: score from which on a concept counts as kept.
        units: (layer, head, concept) of both, int64 [U, 3] and [W, 3].
        scores: of each concept with its best match in the other run, float64 [U] and [W].
        matches: that match, a row of the other run's units, int64 [U] and [W].
        chance: scores of the first run's concepts with their best matches in a copy of the second
            run's model with random weights, float64 [U]; None where it has no copy.
    """

    names: tuple[str, str]
    threshold: float
    units: tuple[np.ndarray, np.ndarray]
    scores: tuple[np.ndarray, np.ndarray]
    matches: tuple[np.ndarray, np.ndarray]
    chance: np.ndarray | None = field(default=None)

    def __repr__(self) -> str:
        return (
            f"RunComparison({self.names[0]} to {self.names[1]}: {len(self.kept())} kept, "
            f"{len(self.new())} new, {len(self.lost())} lost)"
        )

    def _rows(self) -> list[Row]:
        overlap = [dict(zip(map(_unit, u), s.tolist())) for u, s in zip(self.units, self.scores)]
        kept = [{"kind": "kept", **one._asdict()} for one in self.kept()]
        lost = [
            {"kind": "lost", "first": one, "second": None, "score": overlap[0][one]}
            for one in self.lost()
        ]
        new = [
            {"kind": "new", "first": None, "second": one, "score": overlap[1][one]}
            for one in self.new()
        ]
        return kept + lost + new

    def _draw(self, ax: Axes) -> None:
        shown = [(self.names[1], self.scores[0])]
        if self.chance is not None:
            shown.append((f"{self.names[1]} with random weights", self.chance))
        for name, scores in shown:
            ax.plot(range(1, len(scores) + 1), np.sort(scores)[::-1], label=name)
        ax.axhline(self.threshold, linestyle=":", color="gray", label="kept from here on")
        ax.set(xlabel=f"concepts of {self.names[0]}, sorted", ylim=(0, 1))
        ax.set_ylabel("overlap with the best concept (intersection over union)")
        ax.legend()

    def kept(self) -> list[Kept]:
        """Return the first run's concepts that the second has as well, the best match first."""
        scores = self.scores[0]
        rows = [row for row in np.argsort(-scores, kind="stable") if scores[row] >= self.threshold]
        return [
            Kept(
                _unit(self.units[0][row]),
                _unit(self.units[1][self.matches[0][row]]),
                float(scores[row]),
            )
            for row in rows
        ]

    def lost(self) -> list[Unit]:
        """Return the first run's concepts that the second has not, the least alike first."""
        return self._without(0)

    def new(self) -> list[Unit]:
        """Return the second run's concepts that the first has not, the least alike first."""
        return self._without(1)

    def _without(self, run: int) -> list[Unit]:
        scores = self.scores[run]
        rows = [row for row in np.argsort(scores, kind="stable") if scores[row] < self.threshold]
        return [_unit(self.units[run][row]) for row in rows]

    @property
    def kept_by_chance(self) -> int | None:
        """How many would count as kept by a copy with random weights; None without a copy."""
        return None if self.chance is None else int((self.chance >= self.threshold).sum())

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it, units as (layer, head, concept)."""
        kept = self.kept()
        return {
            "names": list(self.names),
            "threshold": self.threshold,
            "concepts": [len(units) for units in self.units],
            "kept_by_chance": self.kept_by_chance,
            "kept": [{"first": k.first, "second": k.second, "score": k.score} for k in kept],
            "lost": self.lost(),
            "new": self.new(),
        }

    def write(self, path: str | Path) -> Path:
        """Write :meth:`to_json` to a .json file."""
        path = Path(path)
        if path.suffix != ".json":
            raise InputError(f"compare: a .json file expected, got {path}")
        write_atomic(path, (json.dumps(self.to_json(), indent=1) + "\n").encode())
        return path

    def lines(self, count: int = 5) -> Iterator[str]:
        """Yield lines that say what is kept, new and lost."""
        kept, new, lost = self.kept(), self.new(), self.lost()
        first, second = (len(units) for units in self.units)
        yield f"{self.names[0]} ({first} concepts) to {self.names[1]} ({second})"
        chance = "" if self.chance is None else f" ({self.kept_by_chance} by random weights)"
        yield f"kept {len(kept)} of {first}{chance}, lost {len(lost)}, new {len(new)} of {second}"
        for one in kept[:count]:
            yield f"  kept {_where(one.first)} as {_where(one.second)}: overlap {one.score:.2f}"
        for word, units in (("lost", lost), ("new", new)):
            for unit in units[:count]:
                yield f"  {word} {_where(unit)}"


def _unit(row: np.ndarray) -> Unit:
    layer, head, concept = (int(number) for number in row)
    return layer, head, concept


def _where(unit: Unit) -> str:
    layer, head, concept = unit
    return f"layer {layer} head {head} concept {concept}"


def compare(
    run_a: Run | str | os.PathLike[str],
    run_b: Run | str | os.PathLike[str],
    *,
    threshold: float = 0.5,
    parts: str = "keys",
    max_memory: int | str = "1GB",
    progress: bool = True,
) -> RunComparison:
    """Compare two runs over the same videos: which concepts are kept, new, lost.

    Meant for two checkpoints of one model; any two models do. Every concept is compared with all
    concepts of the other run, of any layer and head, by equation 7: the mean over videos of the
    intersection of their supports over the union.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = [
    ...         vtcd_ops.discover(example_adapter(n), videos, out=f"{folder}/{n}", progress=False)
    ...         for n in (0, 1)
    ...     ]
    ...     same = vtcd_ops.compare(runs[0], runs[0], progress=False)
    ...     other = vtcd_ops.compare(*runs, progress=False)
    >>> len(same.kept()) == len(runs[0].units()), same.new(), same.lost()
    (True, [], [])
    >>> len(other.kept()) + len(other.lost()) == len(runs[0].units())
    True

    Args:
        run_a: the run before, or its directory.
        run_b: the run after.
        threshold: score from which on a concept counts as kept.
        parts: of which heads' part the concepts are.
        max_memory: bytes of supports in main memory; beyond, they are read from a temporary file.
        progress: show progress bars.

    Returns:
        The comparison, with what a copy of the second model with random weights would keep, where
        it has one.

    Raises:
        InputError: the runs are over different videos, or an argument is out of range.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"compare: threshold expected above 0 and at most 1, got {threshold:g}")
    runs = [one if isinstance(one, Run) else load(Path(one)) for one in (run_a, run_b)]
    for run in runs:
        run.expect_kept("compare")
    candidates = choose_candidates(
        runs, parts=parts, importances=None, epsilon=1.0, caller="compare"
    )
    memory = parse_bytes(max_memory)
    found = _partners(candidates, memory, progress)
    copies = copies_of(candidates[1:], 0)
    chance = None
    if copies is not None:
        chance = _partners([candidates[0], *copies], memory, progress).scores[0]
    return RunComparison(
        names=(candidates[0].name, candidates[1].name),
        threshold=threshold,
        units=(candidates[0].units, candidates[1].units),
        scores=(found.scores[0], found.scores[1]),
        matches=(found.members[0][:, 1], found.members[1][:, 1]),
        chance=chance,
    )


def _partners(candidates: list[Candidates], max_memory: int, progress: bool) -> Partners:
    grids = video_grids(candidates)
    supports = pack(candidates, grids, max_memory=max_memory, progress=progress)
    return find_partners(supports, sizes_of(supports))
