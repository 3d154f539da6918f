"""What every benchmark shares: pinned threads, repeated timing, the machine, the JSON.

A benchmark checks first and times second: it measures how well the result agrees with its rival's,
then times both on the same input in the same run, and writes the two side by side. The tables of
README.md are made from the JSON by ``tables.py``.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import vtcd_ops

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of repeated calls, in milliseconds."""

    median: float
    fastest: float
    slowest: float
    repeats: int

    def columns(self, prefix: str) -> dict[str, float | int]:
        """Return the figures as entries of a row: ``<prefix>_ms`` is the median."""
        return {
            f"{prefix}_ms": round(self.median, 4),
            f"{prefix}_fastest_ms": round(self.fastest, 4),
            f"{prefix}_slowest_ms": round(self.slowest, 4),
            f"{prefix}_repeats": self.repeats,
        }


@dataclass(frozen=True)
class Column:
    """A column of the README table: the key of the row's entry, its heading, its format."""

    key: str
    heading: str
    format: str = "{}"


def measure(
    call: Callable[[], object],
    *,
    repeats: int = 15,
    warmup: int = 2,
    budget_s: float = 20.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time ``call`` after a warm-up; a slow one is repeated less, but at least once.

    Args:
        call: what is timed.
        repeats: how many timed calls, at most.
        warmup: how many untimed calls before them; a call longer than the budget has none.
        budget_s: seconds after which no further call is started.
        clock: in seconds; ``time.process_time`` where others keep the machine busy.

    Returns:
        The median, the fastest and the slowest call.
    """
    started = time.perf_counter()
    for _ in range(warmup):
        if time.perf_counter() - started < budget_s / 10:
            call()
    times: list[float] = []
    while not times or (len(times) < repeats and time.perf_counter() - started < budget_s):
        before = clock()
        call()
        times.append(1e3 * (clock() - before))
    return Timing(statistics.median(times), min(times), max(times), len(times))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch, and every OpenMP and BLAS pool of the rivals, ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


def machine() -> dict[str, Any]:
    """Describe what a number was measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instruction_set": vtcd_ops.INSTRUCTION_SET,
        "load_before": round(os.getloadavg()[0], 2),
        "os": platform.platform(terse=True),
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version(), "vtcd-ops": vtcd_ops.__version__}
        | _versions("torch", "numpy", "scipy", "scikit-image", "scikit-learn"),
    }


def write(
    name: str,
    rows: list[dict[str, Any]],
    columns: list[Column],
    *,
    note: str,
    details: dict[str, Any] | None = None,
) -> Path:
    """Write a result to ``results/<name>.json``.

    Args:
        name: of the result, and of its markers in README.md.
        rows: one dictionary a row of the table; entries without a column are kept in the JSON.
        columns: what the table shows.
        note: one or two sentences under the table: the input, the rival, how it was compared.
        details: anything else worth keeping, such as times stage by stage.
    """
    missing = [column.key for column in columns for row in rows if column.key not in row]
    if missing:
        raise ValueError(f"benchmark {name}: rows lack {sorted(set(missing))}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "note": note,
        "machine": machine(),
        "columns": [[column.key, column.heading, column.format] for column in columns],
        "rows": rows,
        "details": details or {},
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")
    return path


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _versions(*distributions: str) -> dict[str, str]:
    found = {}
    for distribution in distributions:
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return found
