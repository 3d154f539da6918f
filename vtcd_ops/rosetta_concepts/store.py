"""Rosetta concepts as a result: what was found, kept on disk as JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtcd_ops.adapters.adapter import PARTS
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.run_files import RUN_FILE
from vtcd_ops.rosetta_concepts.common_grid import CommonGrid
from vtcd_ops.storage.documents import (
    ANYTHING,
    TEXT,
    expect_arrays,
    expect_fields,
    listing,
    making_of,
    number,
    one_of,
    optional,
    read_json,
    table,
    whole,
)
from vtcd_ops.storage.files import naming, sha256_file
from vtcd_ops.storage.folder import SETTINGS_FILE, ResultFolder, identity, read_own

FORMAT = 2  # of the files that are written
READABLE = (1, 2)  # files of format 1 do not say where they belong
SUMMARY_FILE = "rosetta.json"
TENSOR_FILE = "rosetta.safetensors"

_OBJECT = table(ANYTHING)
_FIELDS = {
    "runs": listing(_OBJECT),
    "videos": listing(_OBJECT),
    "settings": _OBJECT,
    "baselines": listing(_OBJECT),
    "tensors": TEXT,
}
_RUN_FIELDS = {
    **dict.fromkeys(("name", "path", "model", "sha256"), TEXT),
    "part": one_of(*PARTS),
    "num_concepts": whole(1),
    "epsilon": optional(number()),
}
_BASELINE_FIELDS = {
    "order": whole(2, 8),
    "mean": number(),
    "stderr": number(),
    "num_tuples": whole(0),
    "num_scored": whole(0),
}
_VIDEO_FIELDS = {"name": TEXT, "sha256": TEXT, "grid": table(listing(number()))}


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


class Rosetta:
    """Concepts that several models share. Made by :func:`vtcd_ops.rosetta`.

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
    """

    def __init__(
        self,
        runs: Sequence[ComparedRun],
        videos: Sequence[ComparedVideo],
        settings: dict[str, Any],
        units: Sequence[np.ndarray],
        found: tuple[np.ndarray, np.ndarray, np.ndarray],
        baselines: Sequence[Baseline],
    ) -> None:
        self.path: Path | None = None  #: the directory it was saved in
        self.runs = list(runs)
        self.videos = list(videos)
        self.settings = settings
        self.units = list(units)
        self.tuples, self.scores, self.per_video = found
        self.baselines = {baseline.order: baseline for baseline in baselines}

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of_order(d))} of {d}" for d in self.orders)
        return f"Rosetta({' + '.join(run.name for run in self.runs)}: {counts or 'no tuples'})"

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
            f"without repeats; mean of all {row['all_tuples']} tuples {of_all}"
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
        results.write(TENSOR_FILE, tensors, {"format": FORMAT}, belongs)
        document = {
            **compared,
            "baselines": [asdict(baseline) for baseline in self.baselines.values()],
            "summary": self.summary(),
            "tensors": sha256_file(folder / TENSOR_FILE),
        }
        results.write_json(SUMMARY_FILE, document)
        self.path = folder
        return folder


def run_identity(run: Run) -> str:
    """Return the SHA-256 of a run's list of files, which holds the SHA-256 of each."""
    return sha256_file(run.path / RUN_FILE)


def load_rosetta(path: str | Path) -> Rosetta:
    """Return a result that :meth:`Rosetta.save` wrote, after verifying it.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for n in (0, 1):
    ...         _ = vtcd_ops.discover(
    ...             example_adapter(n), videos, out=f"{folder}/{n}", layers=[2], progress=False
    ...         )
    ...     found = vtcd_ops.rosetta(
    ...         [f"{folder}/0", f"{folder}/1"], importances=None, delta=None, top=5,
    ...         out=f"{folder}/shared", progress=False,
    ...     )
    ...     again = load_rosetta(f"{folder}/shared")
    >>> len(again) == len(found) == 5
    True

    Raises:
        InputError: there is none, it is damaged, of another version, put together from files of
            several results, or another run lies in the place of one that was compared.
    """
    folder = Path(path)
    if not (folder / SUMMARY_FILE).is_file():
        raise InputError(f"{folder} holds no Rosetta concepts: it has no {SUMMARY_FILE}")
    document = read_json(folder / SUMMARY_FILE)
    if document.get("format") not in READABLE:
        raise InputError(
            f"the Rosetta concepts in {folder} have format {document.get('format')}, this version "
            f"of vtcd_ops reads formats {' and '.join(map(str, READABLE))}"
        )
    expect_fields(folder / SUMMARY_FILE, document, _FIELDS)
    for name, fields in (
        ("runs", _RUN_FIELDS), ("videos", _VIDEO_FIELDS), ("baselines", _BASELINE_FIELDS),
    ):  # fmt: skip
        for entry in document[name]:
            expect_fields(folder / SUMMARY_FILE, entry, fields, name)
    _expect_runs(document["runs"])
    tensors = read_own(folder, TENSOR_FILE, _belongs(folder, document)).arrays
    if sha256_file(folder / TENSOR_FILE) != document["tensors"]:
        raise InputError(f"{folder / TENSOR_FILE} is not the one that {SUMMARY_FILE} describes")
    _expect_tuples(folder / TENSOR_FILE, tensors, len(document["runs"]), len(document["videos"]))
    with making_of(folder / SUMMARY_FILE):
        runs = [ComparedRun(**run) for run in document["runs"]]
        found = Rosetta(
            runs,
            [_video(entry) for entry in document["videos"]],
            document["settings"],
            [tensors[f"units-{i}"] for i in range(len(runs))],
            (tensors["tuples"], tensors["scores"], tensors["per_video"]),
            [Baseline(**baseline) for baseline in document["baselines"]],
        )
        found.summary()
    found.path = folder
    return found


def _belongs(folder: Path, document: dict[str, Any]) -> str | None:
    """Return what the tensors must belong to, after making sure that the summary belongs there."""
    if document["format"] == READABLE[0]:
        return None
    compared = read_json(folder / SETTINGS_FILE)
    if compared != {name: document[name] for name in ("format", "runs", "videos", "settings")}:
        raise InputError(
            f"{folder / SUMMARY_FILE} belongs elsewhere: {SETTINGS_FILE} is of other runs or "
            "settings"
        )
    return identity(compared)


def _expect_runs(runs: list[dict[str, Any]]) -> None:
    """Raise where another run lies in the place of one that was compared; one may be gone."""
    for run in runs:
        file = Path(run["path"]) / RUN_FILE
        if file.is_file() and sha256_file(file) != run["sha256"]:
            raise InputError(f"the run {run['path']} is not the one that was compared")


def _expect_tuples(
    path: Path, tensors: dict[str, np.ndarray], num_runs: int, num_videos: int
) -> None:
    """Raise where tuples are not those of so many runs and videos."""
    forms = {
        "tuples": ("int32", "Q D"),
        "scores": ("float64", "Q"),
        "per_video": ("float64", "Q V"),
    }
    forms |= {f"units-{run}": ("int64", f"C{run} 3") for run in range(num_runs)}
    lengths = expect_arrays(path, tensors, forms)
    rows = [len(tensors[f"units-{run}"]) for run in range(num_runs)]
    fits = lengths["D"] == num_runs and lengths["V"] == num_videos and lengths["3"] == 3
    tuples = tensors["tuples"]
    if not fits or (tuples < -1).any() or (tuples >= np.array(rows)).any():
        raise InputError(f"{path} is damaged: its tuples are not those of {num_runs} runs")


def _video(entry: dict[str, Any]) -> ComparedVideo:
    grid = {name: tuple(numbers) for name, numbers in entry["grid"].items()}
    return ComparedVideo(entry["name"], entry["sha256"], CommonGrid(**grid))
