"""Evidence on disk: `RUN/evidence/PART/evidence.json` and the arrays beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.concept_evidence.measures import MEASURES
from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.result import Evidence, ObjectRow
from vtcd_ops.discovery.run import Run
from vtcd_ops.discovery.run_files import EVIDENCE_FOLDER, RUN_FILE
from vtcd_ops.storage.documents import (
    ANYTHING,
    TEXT,
    expect_arrays,
    expect_fields,
    making_of,
    one_of,
    read_json,
    table,
    whole,
)
from vtcd_ops.storage.files import naming, sha256_file
from vtcd_ops.storage.folder import ResultFolder, identity, read_own

FORMAT = 1
RESULT_FILE = "evidence.json"
TENSOR_FILE = "evidence.safetensors"

_FIELDS = {"format": one_of(FORMAT), "settings": table(ANYTHING), "objects": ANYTHING}
_SETTINGS_FIELDS = {"run": TEXT, "part": TEXT, "model": TEXT, "num_videos": whole(1)}
_ARRAYS = {
    "units": ("int64", "U 3"),
    "videos": ("int64", "U"),
    "degenerate": ("bool", "U"),
    "copy_overlap": ("float64", "U R"),
    "copy_unit": ("int64", "U R 3"),
    "copy_chance": ("float64", "U R"),
    "copy_moved": ("float64", "U R"),
}


def fingerprint(run: Run) -> str:
    """Return what tells a run from every other: the hash of its list of hashes."""
    return sha256_file(run.path / RUN_FILE)


def write_evidence(run: Run, evidence: Evidence) -> None:
    """Store evidence in its run; what was there before is replaced."""
    results = ResultFolder(run.path / EVIDENCE_FOLDER / evidence.part, within=run.path)
    with naming(results.folder_of(RESULT_FILE)):
        (results.path / RESULT_FILE).unlink(missing_ok=True)
    tensors = {name: getattr(evidence, name) for name in _ARRAYS}
    for key, each in evidence.per_video.items():
        tensors[f"numerator-{key}"] = each.numerator
        tensors[f"denominator-{key}"] = each.denominator
    for kind in ("chance", "p_value", "of_copies"):
        for key, values in getattr(evidence, kind).items():
            tensors[f"{kind}-{key}"] = values
    results.write(TENSOR_FILE, tensors, {"format": FORMAT}, identity(evidence.settings))
    document = {
        "format": FORMAT,
        "settings": evidence.settings,
        "objects": [asdict(row) for row in evidence.objects],
    }
    results.write_json(RESULT_FILE, document)


def read_evidence(run: Run, part: str) -> Evidence | None:
    """Return what is stored of a part of a run; see :meth:`vtcd_ops.Run.evidence`."""
    folder = run.path / EVIDENCE_FOLDER / part
    if not (folder / RESULT_FILE).is_file():
        return None
    document = read_json(folder / RESULT_FILE)
    expect_fields(folder / RESULT_FILE, document, _FIELDS)
    settings = document["settings"]
    expect_fields(folder / RESULT_FILE, settings, _SETTINGS_FIELDS, "settings")
    if settings["run"] != fingerprint(run) or settings["part"] != part:
        raise InputError(
            f"{folder} belongs to another state of the run {run.path}: make the evidence again"
        )
    tensors = read_own(folder, TENSOR_FILE, identity(settings)).arrays
    with making_of(folder / TENSOR_FILE):
        return _evidence(folder / TENSOR_FILE, run.units(part), document, tensors)


def _evidence(
    path: Any, units: np.ndarray, document: dict[str, Any], tensors: dict[str, np.ndarray]
) -> Evidence:
    keys = [one.key for one in MEASURES if f"numerator-{one.key}" in tensors]
    forms = dict(_ARRAYS)
    for key in keys:
        forms |= dict.fromkeys((f"numerator-{key}", f"denominator-{key}"), ("float64", "U V"))
        forms[f"chance-{key}"] = ("float64", "U")
    forms |= {
        name: ("float64", "U" if name.startswith("p_value-") else f"C-{name}")
        for name in tensors
        if name.startswith(("p_value-", "of_copies-"))
    }
    lengths = expect_arrays(path, tensors, forms)
    fits = lengths.get("V", 0) in (0, document["settings"]["num_videos"])
    if not fits or not np.array_equal(tensors["units"], units):
        raise InputError(f"{path} is damaged: its concepts or videos are not those of the run")

    def named(kind: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(kind): values
            for name, values in tensors.items()
            if name.startswith(kind)
        }

    return Evidence(
        document["settings"],
        **{name: tensors[name] for name in _ARRAYS},
        per_video={
            key: PerVideo(tensors[f"numerator-{key}"], tensors[f"denominator-{key}"])
            for key in keys
        },
        chance={key: tensors[f"chance-{key}"] for key in keys},
        p_value=named("p_value-"),
        of_copies=named("of_copies-"),
        objects=[
            ObjectRow(**{**row, "chosen": tuple(row["chosen"])}) for row in document["objects"]
        ],
    )
