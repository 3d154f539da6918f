"""What one process holds after many discoveries, rankings and reports: nothing may pile up."""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
from pathlib import Path

import numpy as np
from _harness import Column, write

import vtcd_ops
from vtcd_ops.adapters import example_adapter

COLUMNS = [
    Column("what", "in one process"),
    Column("calls", "calls"),
    Column("early", "held after a fifth of them, MB", "{:.1f}"),
    Column("late", "after all, MB", "{:.1f}"),
    Column("a_call", "a call between, kB", "{:.0f}"),
]


def held() -> float:
    """Memory in use by this process, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Do each so often, and write what was held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    calls = parser.parse_args().calls
    draw = np.random.default_rng(0)
    samples = [
        vtcd_ops.Sample(draw.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8), label=number)
        for number in range(2)
    ]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def discover(number: int) -> None:
            vtcd_ops.discover(example_adapter(), samples, out=folder / f"{number}", layers=[2],
                              progress=False)  # fmt: skip

        def rank(number: int) -> None:
            vtcd_ops.rank(
                folder / "0", example_adapter(), samples, "logit", num_masks=64, stop_at=None,
                dtype="float32", name=f"r{number}", progress=False,
            )  # fmt: skip

        def report(number: int) -> None:
            vtcd_ops.report(folder / "0", folder / f"{number}.html", progress=False)

        for what in (discover, rank, report):
            for number in range(calls):
                what(number)
                if number + 1 == max(calls // 5, 1):
                    early = held()
            late = held()
            a_call = (late - early) * 1e3 / (calls - max(calls // 5, 1))
            rows.append({"what": what.__name__, "calls": calls, "early": early, "late": late,
                         "a_call": a_call})  # fmt: skip
            print(rows[-1], flush=True)
    write("steady_memory", rows, COLUMNS, note="Two clips of 4x32x32, one layer of two heads; "
          "rankings of 64 masks; resident memory after garbage was collected.")  # fmt: skip


if __name__ == "__main__":
    main()
