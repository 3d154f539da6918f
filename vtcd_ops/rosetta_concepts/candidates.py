"""Which runs can be compared, in which videos, and which of their concepts take part."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.rosetta_concepts.supports import Candidates

MAX_MODELS = 8


def choose_candidates(
    runs: Sequence[Run],
    *,
    parts: str | Sequence[str],
    importances: Any,
    epsilon: float | Sequence[float],
    caller: str = "rosetta",
) -> list[Candidates]:
    """Return what of each run is compared: its most important concepts in the shared videos.

    Args:
        runs: 2 to 8.
        parts: of queries, keys, values, outputs; one for all, or one for each run.
        importances, epsilon: as in :func:`vtcd_ops.rosetta`.
        caller: of whom an error speaks.

    Raises:
        InputError: the runs cannot be compared, or an argument does not fit them.
    """
    if not 2 <= len(runs) <= MAX_MODELS:
        raise InputError(f"rosetta: runs expected 2 to {MAX_MODELS}, got {len(runs)}")
    each_part = _for_each("parts", parts, str, len(runs))
    each_epsilon = _for_each("epsilon", epsilon, (int, float), len(runs))
    for value in each_epsilon:
        if not 0 < value <= 1:
            raise InputError(f"rosetta: epsilon expected above 0 and at most 1, got {value:g}")
    names = run_names(runs)
    videos = match_videos(runs, caller)
    chosen = []
    for index, run in enumerate(runs):
        if each_part[index] not in run.parts:
            raise InputError(
                f"{caller}: {run.path} has {', '.join(run.parts)}, not {each_part[index]}"
            )
        units = run.units(each_part[index])
        values = _importance(run, index, len(runs), importances, units, each_part[index])
        share = None if values is None else float(each_epsilon[index])
        if values is not None:
            units = most_important(units, values, each_epsilon[index])
        chosen.append(Candidates(run, names[index], each_part[index], units, videos[index], share))
    return chosen


def _for_each(name: str, value: Any, kind: Any, count: int) -> list[Any]:
    """One value for all runs, or one for each."""
    values = [value] * count if isinstance(value, kind) else list(value)
    if len(values) != count:
        raise InputError(f"rosetta: {name} expected one, or {count}, one a run, got {len(values)}")
    return values


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return the name of each run's model; with the run's folder where two are the same."""
    names = [str(run.model["name"]) for run in runs]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return [
        f"{name} ({_folder(run.path)})" if name in repeated else name
        for name, run in zip(names, runs, strict=True)
    ]


def _folder(path: Path) -> str:
    """The last two parts of a path: a weight-randomised copy is in RUN/sanity."""
    return "/".join(path.resolve().parts[-2:])


def match_videos(runs: Sequence[Run], caller: str = "rosetta") -> list[tuple[int, ...]]:
    """Return for each run which of its videos is each video of the first run, by content.

    Raises:
        InputError: a video of one run is not in another.
    """
    first = runs[0]
    matched = []
    for run in runs:
        where: dict[str, deque[int]] = defaultdict(deque)
        for record in run.videos:
            where[record.sha256].append(record.index)
        order = []
        for record in first.videos:
            if not where[record.sha256]:
                raise _different(caller, record.name, first, run)
            order.append(where[record.sha256].popleft())
        for record in run.videos:
            if record.index in where[record.sha256]:
                raise _different(caller, record.name, run, first)
        matched.append(tuple(order))
    return matched


def _different(caller: str, name: str, has: Run, lacks: Run) -> InputError:
    return InputError(
        f"{caller}: the runs are over different videos: {name} of {has.path} is not in "
        f"{lacks.path} (videos are compared by content)"
    )


def _importance(
    run: Run, index: int, count: int, importances: Any, units: np.ndarray, part: str
) -> np.ndarray | None:
    """The importance of each unit of a run [U], larger = more important; None: all take part."""
    if importances is None:
        return None
    if isinstance(importances, str):
        if importances != "stored":
            raise InputError(f"rosetta: importances expected stored, got {importances!r}")
        found = _stored(run)
        if found is None:
            raise InputError(
                f"rosetta: the concepts of {run.path} have no importance yet: rank them first, or "
                "compare all concepts with importances=None (--importances all)"
            )
    else:
        if len(importances) != count:
            raise InputError(
                f"rosetta: importances expected {count}, one a run, got {len(importances)}"
            )
        found = importances[index]
        if found is None:
            return None
    subject = f"rosetta: importances of {run.path} ({part})"
    ranked = getattr(found, "settings", {}).get("part", part)
    if ranked != part:
        raise InputError(f"{subject} expected those of its {part}, got those of its {ranked}")
    return _values(found, units, subject)


def _stored(run: Run) -> Any:
    read = getattr(run, "importance", None)
    return None if read is None else read()


def _values(found: Any, units: np.ndarray, subject: str) -> np.ndarray:
    """The values of an Importance or an array, in the order of units [U, 3]."""
    if hasattr(found, "units"):
        table = {tuple(unit): value for unit, value in zip(
            np.asarray(found.units).tolist(), np.asarray(found.value).tolist(), strict=True
        )}  # fmt: skip
        missing = [unit for unit in units.tolist() if tuple(unit) not in table]
        if missing:
            raise InputError(
                f"{subject} expected one for each concept, got none for (layer, head, concept) = "
                f"{tuple(missing[0])}"
            )
        return np.array([table[tuple(unit)] for unit in units.tolist()], dtype=np.float64)
    values = np.asarray(found, dtype=np.float64)
    if values.shape != (len(units),):
        raise InputError(f"{subject} expected [{len(units)}], got {list(values.shape)}")
    return values


def most_important(units: np.ndarray, values: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the share epsilon of units with the largest values, in their own order.

    >>> import numpy as np
    >>> units = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    >>> most_important(units, np.array([0.1, np.nan, 0.3]), 0.34).tolist()
    [[0, 0, 0], [0, 1, 0]]

    Args:
        units: [U, 3].
        values: [U]; NaN counts least.
        epsilon: share that is kept, rounded up.
    """
    ranked = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    count = math.ceil(epsilon * len(units) - 1e-9)
    kept: np.ndarray = units[np.sort(ranked[:count])]
    return kept
