"""Rankings of a run on disk: `RUN/importance/NAME`, see :mod:`vtcd_ops.importance.scores_store`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.discovery.run_files import RUN_FILE
from vtcd_ops.importance.importance import Importance, estimate_importance
from vtcd_ops.importance.scores_store import (
    RESULT_FILE,
    ScoresWriter,
    Tensors,
    finished_names,
    folder_name,
    num_columns,
    read_own_scores,
    read_scores,
    read_settings,
)
from vtcd_ops.storage import files

FOLDER = "importance"
_ESTIMATE_FILE = "estimate.safetensors"  # value and standard errors [U] by one estimator


def importance_path(run: Run, name: str) -> Path:
    """Return the folder of a ranking of a run; raise where the name is no name of a folder."""
    return run.path / FOLDER / folder_name(name)


def run_fingerprint(run: Run) -> str:
    """Return what tells a run from every other: the hash of its list of hashes."""
    return files.sha256_file(run.path / RUN_FILE)


def finish_importance(writer: ScoresWriter, tensors: Tensors, estimator: str) -> Importance:
    """Store all scores and what an estimator makes of them.

    Scores under more masks than these are left as they are.
    """
    importance = estimate_importance(writer.path.name, writer.document, tensors, estimator)
    if writer.write_scores(tensors):
        estimate = {
            name: getattr(importance, name) for name in ("value", "stderr_masks", "stderr_videos")
        }
        info = {
            "asked": estimator,
            "estimator": importance.estimator,
            "reliability": _or_none(importance.reliability),
            "r2": _or_none(importance.r2),
        }
        writer.write_own(_ESTIMATE_FILE, estimate, info)
        writer.finish(num_columns(tensors), _ESTIMATE_FILE)
    return importance


def stored_names(run: Run) -> list[str]:
    """Return the names of a run's finished rankings, the latest last."""
    return finished_names(run.path / FOLDER)


def read_importance(run: Run, name: str | None, estimator: str | None) -> Importance | None:
    """Return a finished ranking; see :meth:`vtcd_ops.discovery.run.Run.importance`."""
    if name is None:
        names = stored_names(run)
        if not names:
            return None
        kinds = {one: _preference(importance_path(run, one)) for one in names}
        name = max(names, key=lambda one: (kinds[one], names.index(one)))
    path = importance_path(run, name)
    if not (path / RESULT_FILE).is_file():
        known = ", ".join(stored_names(run)) or "none"
        raise InputError(f"{run.path} has no finished ranking {name!r} (finished: {known})")
    settings = read_settings(path)
    if settings is None or settings["run"] != run_fingerprint(run):
        raise InputError(f"{path} belongs to another state of the run {run.path}: rank it again")
    tensors = read_scores(path)
    estimate, info, _ = read_own_scores(path, _ESTIMATE_FILE)
    if estimator not in (None, info["asked"], info["estimator"]):
        return estimate_importance(name, settings, tensors, str(estimator))
    return Importance(
        name,
        settings,
        tensors,
        info["estimator"],
        value=estimate["value"],
        stderr_masks=estimate["stderr_masks"],
        stderr_videos=estimate["stderr_videos"],
        reliability=_or_nan(info["reliability"]),
        r2=_or_nan(info["r2"]),
    )


def _preference(path: Path) -> tuple[bool, bool]:
    """CRIS before the baselines, concepts before heads."""
    settings: dict[str, Any] = read_settings(path) or {}
    return settings.get("method") == "cris", settings.get("units") == "concepts"


def _or_none(value: float) -> float | None:
    return None if value != value else float(value)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
