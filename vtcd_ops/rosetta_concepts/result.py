"""Rosetta concepts as a result: what was found, and writing it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops.common.equality import same
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.run_files import RUN_FILE
from vtcd_ops.estimates.chance_overlap import expected_overlap
from vtcd_ops.rosetta_concepts.compared import (
    Baseline,
    Chance,
    ComparedRun,
    ComparedVideo,
    Member,
    Partners,
    packed_beside,
)
from vtcd_ops.storage.files import naming, sha256_file
from vtcd_ops.storage.folder import SETTINGS_FILE, ResultFolder, identity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DELTA = 0.15  #: the paper's
FORMAT = 3  # of the files that are written
SUMMARY_FILE = "rosetta.json"
TENSOR_FILE = "rosetta.safetensors"


class Rosetta(Tabular):
    """Concepts that several models share. Made by :func:`vtcd_ops.rosetta`.

    Iterated over, it is a row for each tuple; equal to another of the same content, wherever saved.

    Tuples stand in the order of their number of models; those of an order best first.

    Attributes:
        runs: the runs compared.
        videos: the videos that they have in common.
        settings: delta and the other arguments.
        units: for each run the concepts that were compared, (layer, head, concept), int64 [C, 3].
        tuples: int32 [Q, D], for each run a row of its units, or -1.
        scores: float64 [Q].
        per_video: float64 [Q, V], NaN in videos that do not count.
        baselines: for each order the mean score of all tuples.
        partners: what each compared concept has in the other runs; None in results of an earlier
            version.
        chance: for each order what copies with random weights share; empty where not all runs
            have one.
    """

    def __init__(
        self,
        runs: Sequence[ComparedRun],
        videos: Sequence[ComparedVideo],
        settings: dict[str, Any],
        units: Sequence[np.ndarray],
        found: tuple[np.ndarray, np.ndarray, np.ndarray],
        baselines: Sequence[Baseline],
        partners: Partners | None = None,
        chance: Sequence[Chance] = (),
    ) -> None:
        self.path: Path | None = None  #: the directory it was saved in
        self.runs = list(runs)
        self.videos = list(videos)
        self.settings = settings
        self.units = list(units)
        self.tuples, self.scores, self.per_video = found
        self.baselines = {baseline.order: baseline for baseline in baselines}
        self.partners = partners
        self.chance = {each.order: each for each in chance}

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of_order(d))} of {d}" for d in self.orders)
        return f"Rosetta({' + '.join(run.name for run in self.runs)}: {counts or 'no tuples'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rosetta) and same(
            {**vars(self), "path": None}, {**vars(other), "path": None}
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content

    def _rows(self) -> list[Row]:
        names = [run.name for run in self.runs]
        return [
            {
                "models": int((self.tuples[index] >= 0).sum()),
                "score": float(self.scores[index]),
                "as_good_by_chance": self.as_good_by_chance(index),
                **dict.fromkeys(names),
                **{names[one.run]: one[1:] for one in self.members(index)},
            }
            for index in range(len(self))
        ]

    def _draw(self, ax: Axes) -> None:
        for order in self.orders:
            of_order = [(f"{order} models", self.scores[self.of_order(order)], "-")]
            if order in self.chance:
                of_order.append((f"{order} copies", self.chance[order].scores, ":"))
            for name, scores, line in of_order:
                ax.plot(np.arange(1, len(scores) + 1), np.sort(scores)[::-1], line, label=name)
        ax.set(xlabel="tuples found, the best first", ylabel="score (equation 7), 0 to 1")
        if len(self):
            ax.set_xscale("log")
        ax.legend()

    @property
    def orders(self) -> list[int]:
        """The numbers of models that tuples were looked for."""
        return sorted(self.baselines)

    def of_order(self, order: int) -> np.ndarray:
        """Return the indices of the tuples of so many models, best first."""
        return np.flatnonzero((self.tuples >= 0).sum(axis=1) == order)

    def members(self, index: int) -> list[Member]:
        """Return the concepts of a tuple."""
        return [
            Member(run, *(int(number) for number in self.units[run][row]))
            for run, row in enumerate(self.tuples[index].tolist())
            if row >= 0
        ]

    @property
    def expected(self) -> np.ndarray:
        """What supports of these sizes at random places would score, float64 [Q].

        Raises:
            InputError: the result is of an earlier version, which did not keep the sizes.
        """
        sizes = self._known_partners().sizes
        places = np.array([np.prod(video.grid.size) for video in self.videos], dtype=np.float64)
        found = np.empty(len(self))
        for index, row in enumerate(self.tuples.tolist()):
            of_row = np.stack([sizes[run][unit] for run, unit in enumerate(row) if unit >= 0], -1)
            found[index] = np.nanmean(expected_overlap(of_row, places))
        return found

    @property
    def corrected(self) -> np.ndarray:
        """Scores corrected by size, float64 [Q]: 0 as by chance, 1 the same supports.

        (score − expected)/(1 − expected), with what supports of these sizes would score at random.
        """
        expected = self.expected
        left = 1 - expected
        found: np.ndarray = np.where(left > 0, self.scores - expected, 0) / np.maximum(left, 1e-12)
        return found

    def as_good_by_chance(self, index: int) -> float | None:
        """Return the share of the copies' tuples that score as much as a tuple; None: no copies."""
        chance = self.chance.get(int((self.tuples[index] >= 0).sum()))
        return None if chance is None else chance.share_as_good(float(self.scores[index]))

    def exclusive(self, model: int | str, below: float | None = None) -> list[Member]:
        """Return the concepts that only one model has, those least like any other first.

        Of the concepts compared, those whose best score with a concept of another run is lower.

        Args:
            model: number of the run, or its name.
            below: the score; by default delta, or .15 where there was none.

        Raises:
            InputError: no such run, or a result of an earlier version.
        """
        names = [run.name for run in self.runs]
        number = names.index(model) if model in names else model
        if not isinstance(number, int) or not 0 <= number < len(names):
            raise InputError(
                f"rosetta: exclusive expected one of {', '.join(names)}, or its number, got "
                f"{model!r}"
            )
        scores = self._known_partners().scores[number]
        limit = (self.settings.get("delta") or DELTA) if below is None else below
        rows = [row for row in np.argsort(scores, kind="stable") if scores[row] < limit]
        return [Member(number, *(int(n) for n in self.units[number][row])) for row in rows]

    def _known_partners(self) -> Partners:
        if self.partners is None:
            raise InputError(
                f"the Rosetta concepts in {self.path} are of an earlier version: compare again"
            )
        return self.partners

    def without_repeats(self, order: int) -> list[int]:
        """Return the best tuples of an order of which no two have a concept in common.

        They are taken greedily: the best, then the best that shares no concept with it, and so on.
        """
        taken: set[tuple[int, int]] = set()
        chosen = []
        for index in self.of_order(order).tolist():
            concepts = {(run, row) for run, row in enumerate(self.tuples[index].tolist())}
            concepts = {(run, row) for run, row in concepts if row >= 0}
            if taken.isdisjoint(concepts):
                taken |= concepts
                chosen.append(index)
        return chosen

    def summary(self) -> list[dict[str, Any]]:
        """Return for each order the number of tuples, their mean score and that of all tuples."""
        rows = []
        for order in self.orders:
            scores, baseline = self.scores[self.of_order(order)], self.baselines[order]
            chance = self.chance.get(order)
            rows.append(
                {
                    "order": order,
                    "tuples": len(scores),
                    "without_repeats": len(self.without_repeats(order)),
                    "mean": float(scores.mean()) if len(scores) else None,
                    "best": float(scores.max()) if len(scores) else None,
                    "mean_of_all": baseline.mean,
                    "stderr_of_all": baseline.stderr,
                    "exact": baseline.exact,
                    "all_tuples": baseline.num_tuples,
                    "chance": None if chance is None else _chance_row(chance),
                }
            )
        return rows

    @staticmethod
    def line(row: dict[str, Any]) -> str:
        """Return one row of the summary as a sentence."""
        of_all = f"{row['mean_of_all']:.4f}"
        if not row["exact"]:
            of_all += f" ± {row['stderr_of_all']:.4f} (estimated)"
        scores = "" if row["mean"] is None else f", mean score {row['mean']:.3f}"
        return (
            f"{row['order']} models: {row['tuples']} tuples{scores}, {row['without_repeats']} "
            f"without repeats; mean of all {row['all_tuples']} tuples {of_all}{_of_copies(row)}"
        )

    def open_runs(self) -> list[Run]:
        """Return the runs, verified to be those that were compared.

        Raises:
            InputError: a run is gone, damaged, or another one is in its place.
        """
        runs = []
        for compared in self.runs:
            run = load(compared.path)
            if run_identity(run) != compared.sha256:
                raise InputError(f"the run {compared.path} is not the one that was compared")
            runs.append(run)
        return runs

    def save(self, path: str | Path) -> Path:
        """Write the result into a directory, `rosetta.json` last: with it, it is complete.

        `settings.json` says of which runs and settings the result is; the other two files belong to
        it, so that files of another result in their place are noticed.
        """
        results = ResultFolder(Path(path))
        folder = results.path
        compared = {
            "format": FORMAT,
            "runs": [asdict(run) for run in self.runs],
            "videos": [asdict(video) for video in self.videos],
            "settings": self.settings,
        }
        belongs = identity(json.loads(json.dumps(compared)))
        with naming(results.folder_of(SUMMARY_FILE)):
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
        results.write_json(SETTINGS_FILE, compared)
        tensors = {f"units-{i}": units for i, units in enumerate(self.units)}
        tensors |= {"tuples": self.tuples, "scores": self.scores, "per_video": self.per_video}
        tensors |= packed_beside(self.partners, list(self.chance.values()))
        results.write(TENSOR_FILE, tensors, {"format": FORMAT}, belongs)
        document = {
            **compared,
            "baselines": [asdict(baseline) for baseline in self.baselines.values()],
            "chance": [
                {"order": e.order, "mean_of_all": e.mean_of_all, "num_tuples": e.num_tuples}
                for e in self.chance.values()
            ],
            "summary": self.summary(),
            "tensors": sha256_file(folder / TENSOR_FILE),
        }
        results.write_json(SUMMARY_FILE, document)
        self.path = folder
        return folder


def _chance_row(chance: Chance) -> dict[str, Any]:
    """What copies share of one order, as the summary has it of the models."""
    scores = chance.scores
    return {
        "tuples": len(scores),
        "mean": float(scores.mean()) if len(scores) else None,
        "best": float(scores.max()) if len(scores) else None,
        "mean_of_all": chance.mean_of_all,
        "all_tuples": chance.num_tuples,
    }


def _of_copies(row: dict[str, Any]) -> str:
    chance = row["chance"]
    if chance is None:
        return ""
    best = "" if chance["best"] is None else f", the best {chance['best']:.3f}"
    return (
        f"; copies with random weights: {chance['tuples']} of {chance['all_tuples']} tuples{best}, "
        f"mean of all {chance['mean_of_all']:.4f}"
    )


def run_identity(run: Run) -> str:
    """Return the SHA-256 of a run's list of files, which holds the SHA-256 of each."""
    return sha256_file(run.path / RUN_FILE)
