"""What processes that share too few processors cost, each: `vtcd rank` once, and four at once.

    python benchmarks/bench_overload.py

Every process has as many threads as there are processors, as torch gives them. Threads that have
nothing to do wait by turning round (libgomp's own way, which torch leaves) or asleep (what the
command chooses); turning round pays where a processor is free, and takes it from another process
where none is. Under `torchrun`, which gives each process one thread, four share one run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from _harness import Column, write

import vtcd_ops
from vtcd_ops.adapters import load_model
from vtcd_ops.video.samples import as_samples

POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
WAYS = {"asleep": {}, "turning": {"GOMP_SPINCOUNT": "300000"}}  # libgomp's own count
CLIPS, MASKS = 3, 64
CODE = [sys.executable, "-m", "vtcd_ops.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def rank(run: Path, command: list[str]) -> list[str]:
    """The command line of a ranking."""
    options = ["--num-masks", str(MASKS), "--masks-per-forward", "1", "--prior", "none"]
    return [*command, "--quiet", "rank", str(run), *options, "--stop-at", "none"]


def cost(commands: list[list[str]], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of processor a command, and by the clock, of commands that run at once."""
    given = {key: value for key, value in os.environ.items() if key not in POLICIES}
    begin, before = time.perf_counter(), os.times()
    running = [
        subprocess.Popen(command, env=given | environment, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    if any(process.wait() for process in running):
        raise SystemExit("bench_overload: a ranking failed; its words stand above")
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    return spent / len(commands), time.perf_counter() - begin


def row(what: str, run: Path, count: int, repeats: int) -> dict[str, Any]:
    """Median of the costs, the two ways of waiting in turns; `count` 0: torchrun's four."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    command = CODE if count else [*TORCHRUN, "--nproc-per-node=4", "-m", "vtcd_ops.cli"]
    for _ in range(repeats):
        for way, environment in WAYS.items():
            with tempfile.TemporaryDirectory() as work:
                runs = [Path(work) / str(number) for number in range(max(count, 1))]
                for copy in runs:
                    shutil.copytree(run, copy)
                found[way].append(cost([rank(copy, command) for copy in runs], environment))
    made: dict[str, Any] = {"what": what, "repeats": repeats}
    for way, costs in found.items():
        spent, clock = zip(*costs, strict=True)
        made |= {f"{way}_cpu": statistics.median(spent), f"{way}_clock": statistics.median(clock)}
        made[f"{way}_range"] = [min(spent), max(spent)]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(str(files("vtcd_hf_videomae") / "clips/evaluation"))
    with tempfile.TemporaryDirectory() as work:
        samples = list(as_samples(str(folder / "manifest.csv")))[:CLIPS]
        adapter = load_model("hf_videomae:mini")
        run = vtcd_ops.discover(adapter, samples, out=Path(work) / "run", progress=False)
        rows = [
            row(what, run.path, count, arguments.repeats)
            for what, count in (("one", 1), ("four at once", 4), ("torchrun, four for one run", 0))
        ]
    write(
        "overload",
        rows,
        [
            Column("what", "processes"),
            Column("asleep_cpu", "waiting asleep (the command): processor s each", "{:.1f}"),
            Column("turning_cpu", "turning round (torch's default): processor s each", "{:.1f}"),
            Column("asleep_clock", "asleep: s by the clock", "{:.1f}"),
            Column("turning_clock", "turning: s by the clock", "{:.1f}"),
        ],
        note=f"`vtcd rank` of `hf_videomae:mini` by {MASKS} masks of {CLIPS} clips, one mask a "
        f"forward, starting Python included; median of {arguments.repeats} in turns. Four at once "
        "have a run each, with as many threads each as processors; torchrun's four share one, "
        "with a thread each, and their processor time is that of all together.",
    )


if __name__ == "__main__":
    main()
