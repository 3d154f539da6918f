"""Rosetta concepts read again from disk, JSON and safetensors; `result` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.adapters.adapter import PARTS
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run_files import RUN_FILE
from vtcd_ops.rosetta_concepts.common_grid import CommonGrid
from vtcd_ops.rosetta_concepts.compared import (
    Baseline,
    ComparedRun,
    ComparedVideo,
    unpacked_chance,
    unpacked_partners,
)
from vtcd_ops.rosetta_concepts.result import FORMAT, SUMMARY_FILE, TENSOR_FILE, Rosetta
from vtcd_ops.storage.documents import (
    ANYTHING,
    LIST,
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
from vtcd_ops.storage.files import sha256_file
from vtcd_ops.storage.folder import SETTINGS_FILE, identity, read_own

__all__ = ["SUMMARY_FILE", "Rosetta", "load_rosetta"]

READABLE = (1, 2, FORMAT)  # 1: files do not say where they belong; up to 2: no partners, no chance

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
_CHANCE_FIELDS = {"order": whole(2, 8), "mean_of_all": number(), "num_tuples": whole(0)}


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
    if document["format"] == FORMAT:
        expect_fields(folder / SUMMARY_FILE, document, {"chance": LIST})
        for entry in document["chance"]:
            expect_fields(folder / SUMMARY_FILE, entry, _CHANCE_FIELDS, "chance")
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
            unpacked_partners(tensors, len(runs)),
            unpacked_chance(tensors, document.get("chance", [])),
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
    if "partner-scores-0" in tensors:
        for run in range(num_runs):
            forms[f"partner-scores-{run}"] = ("float64", f"C{run}")
            forms[f"partner-members-{run}"] = ("int64", f"C{run} 2")
            forms[f"sizes-{run}"] = ("int64", f"C{run} V")
    lengths = expect_arrays(path, tensors, forms)
    rows = [len(tensors[f"units-{run}"]) for run in range(num_runs)]
    fits = lengths["D"] == num_runs and lengths["V"] == num_videos and lengths["3"] == 3
    tuples = tensors["tuples"]
    if not fits or (tuples < -1).any() or (tuples >= np.array(rows)).any():
        raise InputError(f"{path} is damaged: its tuples are not those of {num_runs} runs")


def _video(entry: dict[str, Any]) -> ComparedVideo:
    grid = {name: tuple(numbers) for name, numbers in entry["grid"].items()}
    return ComparedVideo(entry["name"], entry["sha256"], CommonGrid(**grid))
