"""Discovery on a dask cluster of this machine one of whose workers is killed: the same bytes?

It needs dask.distributed (`pip install distributed`), which nothing else here does; dask restarts
the worker, gives its call to others, and `on_executor` does what is left.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Column, write

import vtcd_ops
from vtcd_ops.adapters import example_adapter

COLUMNS = [
    Column("case", "workers"),
    Column("killed", "killed (SIGKILL)"),
    Column("same", "the bytes of one process"),
    Column("warnings", "warned of"),
    Column("seconds", "seconds", "{:.1f}"),
]
NUM_VIDEOS, KILLS = 4, 2


def discover_and_die(asking: int, marks: str, *arguments: Any, **options: Any) -> vtcd_ops.Run:
    """Kill the worker once it has stored a video, as often as is asked for; else work on."""
    writer = vtcd_ops.discovery.run_writer.RunWriter
    write_tubelets = writer.write_tubelets

    def write_and_die(*given: Any) -> None:
        write_tubelets(*given)
        for number in range(KILLS):
            mark = Path(marks) / str(number)
            if os.getpid() != asking and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    writer.write_tubelets = write_and_die  # type: ignore[method-assign]
    try:
        return vtcd_ops.discover(*arguments, **options)
    finally:
        writer.write_tubelets = write_tubelets  # type: ignore[method-assign]


def contents(path: Path) -> dict[str, bytes]:
    """Everything in a run but its time stamps."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "log.jsonl")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def main() -> None:
    """Do it in one process, on two workers, and on two that are killed."""
    from distributed import Client, LocalCluster

    draw = np.random.default_rng(0)
    videos = [draw.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8) for _ in range(NUM_VIDEOS)]
    call = (example_adapter(), videos)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = vtcd_ops.discover(*call, out=folder / "alone", progress=False)
        expected = contents(alone.path)
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as client:
            for case, kills in (("two", False), ("two, killed", True)):
                marks = folder / case
                marks.mkdir()
                first = (discover_and_die, os.getpid(), str(marks)) if kills else (
                    vtcd_ops.discover,
                )  # fmt: skip
                since = time.perf_counter()
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    run = vtcd_ops.on_executor(
                        client.get_executor(), 2, *first, *call, out=folder / f"run {case}",
                        progress=False,
                    )  # fmt: skip
                rows.append({
                    "case": case,
                    "killed": len(list(marks.iterdir())),
                    "same": "yes" if contents(run.path) == expected else "no",
                    "warnings": len([one for one in told if "on_executor" in str(one.message)]),
                    "seconds": time.perf_counter() - since,
                })  # fmt: skip
                print(rows[-1], flush=True)
    version = importlib.metadata.version("distributed")
    write("dask", rows, COLUMNS, note=f"{NUM_VIDEOS} videos of 4x32x32 on a LocalCluster of "
          f"distributed {version}.")  # fmt: skip


if __name__ == "__main__":
    main()
