"""Runs of up to 10,000 clips: is time linear, is memory flat, and what would a million take?

A small stand-in model (2 layers x 2 heads x 16 channels, 4x4x4 tokens) looks at small drawn clips,
so that what a run costs beside the model and SLIC shows: claims, files, hashes, lists, the concepts
of all clips together, loading, the report. Each size is a process of its own, which is
interrupted once, half way, and goes on.

From the rates of `bench_discover` (VideoMAE-B's size) and from the sizes that each ``keep`` leaves
there, the second table is computed.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import RESULTS, Column, write
from _stand_in import stand_in
from bench_discover import scene as videomae_scene
from bench_discover import timed

from vtcd_ops import report
from vtcd_ops.adapters import ProjectionAdapter
from vtcd_ops.discovery import discover as discovery
from vtcd_ops.discovery import pipeline
from vtcd_ops.discovery.keeping import KEEPS
from vtcd_ops.discovery.pipeline import Pipeline
from vtcd_ops.discovery.run_writer import RunWriter

CLIPS = (300, 1000, 3000, 10000)
LAYERS, HEADS, CHANNELS = 2, 2, 16
FRAMES, EDGE = 8, 32
MARK = 500  # clips between two looks at the clock
SEGMENTS = 6
MILLION = 1_000_000
CORES = 16  # of a machine, on paper


def small() -> ProjectionAdapter:
    """The model with its adapter."""
    return stand_in(
        "small stand-in", layers=LAYERS, heads=HEADS, channels=CHANNELS, frames=FRAMES, edge=EDGE,
        patch=8, positions=False,
    )  # fmt: skip


class Drawn:
    """Clips that are drawn when their turn comes, so that no memory holds them.

    Args:
        count: how many.
        stop: raise before this one, as a user does who interrupts.
    """

    def __init__(self, count: int, stop: int | None = None) -> None:
        self.count = count
        self.stop = stop
        self.marks: list[dict[str, float]] = []  # on the way: CPU seconds and memory so far

    def __iter__(self) -> Iterator[np.ndarray]:
        for seed in range(self.count):
            if seed == self.stop:
                raise KeyboardInterrupt
            if seed % MARK == 0:
                self.marks.append(
                    {"clips": seed, "cpu_seconds": round(time.process_time(), 2), "mb": now_mb()}
                )
                print(self.marks[-1], file=sys.stderr, flush=True)
            yield scene(seed)


def scene(seed: int) -> np.ndarray:
    """Two squares that move over a plain ground, uint8 [8, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 12, (FRAMES, EDGE, EDGE, 3)) + rng.integers(40, 200, 3)
    for _ in range(2):
        place, speed = rng.integers(0, EDGE - 12, 2), rng.integers(-1, 2, 2)
        color = rng.integers(0, 255, 3)
        for frame in range(FRAMES):
            row, column = np.maximum(place + frame * speed, 0)
            frames[frame, row : row + 12, column : column + 12] = color
    return frames.clip(0, 255).astype(np.uint8)


def now_mb() -> float:
    """Memory that this process has at the moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


def peak_mb() -> float:
    """Most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(num_clips: int, keep: str) -> dict[str, Any]:
    """Discover in this process, interrupted once; load, report."""
    torch.set_num_threads(1)
    seconds: dict[str, float] = defaultdict(float)
    for owner, name, stage in (
        (Pipeline, "_do_videos", "videos"),
        (Pipeline, "_do_concepts", "concepts"),
        (pipeline, "find_concepts", "factorising"),
        (RunWriter, "finish", "finish"),
        (discovery, "load", "load"),
    ):
        setattr(owner, name, timed(seconds, stage, getattr(owner, name)))
    adapter = small()
    before_mb = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options: dict[str, Any] = {"out": out, "keep": keep, "n_segments": SEGMENTS}
        options["progress"] = False
        began = time.process_time()
        try:
            discovery.discover(adapter, Drawn(num_clips, num_clips // 2), **options)
        except KeyboardInterrupt:
            interrupted = len(list(out.glob("videos/*")))
        drawn = Drawn(num_clips)
        run = discovery.discover(adapter, drawn, **options)
        cpu = time.process_time() - began
        found = {
            "clips": num_clips,
            "keep": keep,
            "interrupted_after": interrupted,
            "cpu_seconds": round(cpu, 2),
            "ms_per_clip": round(1e3 * cpu / num_clips, 2),
            "stages": {k: round(v, 2) for k, v in seconds.items() if k.endswith("_cpu")},
            "before_mb": round(before_mb),
            "peak_mb": round(peak_mb()),
            "run_mb": round(megabytes(out), 2),
            "tubelets_of_a_head": len(run.concepts(0, 0).concept),
            "concepts": len(run.units()),
            "run_json_mb": round((out / "run.json").stat().st_size / 1e6, 2),
            "marks": drawn.marks,
        }
        print(found, file=sys.stderr, flush=True)
        del run
        if keep == "everything":
            found |= reported(out)
    return found


def reported(out: Path) -> dict[str, Any]:
    """Time the report, loading included."""
    began, cpu = time.perf_counter(), time.process_time()
    page = report(out, progress=False)
    return {
        "report_seconds": round(time.perf_counter() - began, 2),
        "report_cpu_seconds": round(time.process_time() - cpu, 2),
        "report_mb": round(page.stat().st_size / 1e6, 2),
        "report_peak_mb": round(peak_mb()),
    }


def megabytes(folder: Path) -> float:
    """What all files below a folder hold."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def sizes(num_clips: int) -> dict[str, float]:
    """Megabytes a clip that each ``keep`` leaves at VideoMAE-B's size."""
    adapter = stand_in()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / KEEPS[0]
        for keep in KEEPS:  # each from the first one's tubelets
            out = Path(folder) / keep
            clips = (videomae_scene(seed) for seed in range(num_clips))
            reuse = None if keep == KEEPS[0] else whole
            discovery.discover(adapter, clips, out=out, keep=keep, reuse=reuse, progress=False)
            found[keep] = megabytes(out) / num_clips
    return found


def million(large: dict[str, Any], per_clip_mb: dict[str, float]) -> list[dict[str, Any]]:
    """What a million clips of VideoMAE-B's size would take, a row for each ``keep``.

    Args:
        large: the row of the most clips.
        per_clip_mb: of :func:`sizes`.
    """
    rows = json.loads((RESULTS / "discover.json").read_text())["rows"]
    most = max(rows, key=lambda row: row["clips"])
    tubelets = (most["cpu_seconds"] - most["stages"]["find_concepts_cpu"]) / most["clips"]
    heads, channels = 12 * 12, 64
    small_tubelets = LAYERS * HEADS * large["tubelets_of_a_head"] * CHANNELS
    a_number = large["stages"]["factorising_cpu"] / small_tubelets  # seconds a channel of a tubelet
    of_a_head = 12 * MILLION
    hours = tubelets * MILLION / 3600, a_number * of_a_head * heads * channels / 3600
    files = {KEEPS[0]: 13, KEEPS[1]: 13, KEEPS[2]: 1}
    return [
        {
            "keep": keep,
            "terabytes": round(per_clip_mb[keep] * MILLION / 1e6, 2),
            "files_millions": files[keep],
            "tubelets_core_hours": round(hours[0]),
            "concepts_core_hours": round(hours[1]),
            "one_machine_hours": round(sum(hours) / CORES, 1),
            "machines": math.ceil(sum(hours) / CORES / 24),
            "head_gb": round(of_a_head * channels * 4 * 8 / 1e9, 1),
        }
        for keep in KEEPS
    ]


def write_runs(rows: list[dict[str, Any]]) -> None:
    """Write the table of runs."""
    write(
        "large_run",
        rows,
        [
            Column("clips", "clips"),
            Column("ms_per_clip", "CPU ms a clip", "{:.1f}"),
            Column("peak_mb", "peak memory, MB"),
            Column("run_mb", "run directory, MB", "{:.1f}"),
            Column("report_cpu_seconds", "report, CPU s", "{:.1f}"),
            Column("report_mb", "report, MB", "{:.2f}"),
        ],
        note=(
            "Discovery with a small stand-in (2 layers x 2 heads x 16 channels, 4x4x4 tokens, "
            "clips of 8x32x32 drawn in memory), one thread, interrupted half way and gone on with; "
            "imports, drawing and reading all files once more are in it. Before the first clip the "
            f"process takes {rows[-1]['before_mb']} MB. The report is of the run on disk, loading "
            "included. CPU time, as other work ran beside."
        ),
    )


def write_million(large: dict[str, Any], per_clip_mb: dict[str, float]) -> None:
    """Write the table of a million clips; `large` is the row of the most clips."""
    write(
        "million_clips",
        million(large, per_clip_mb),
        [
            Column("keep", "keep"),
            Column("terabytes", "disk, TB", "{:.2f}"),
            Column("files_millions", "files, millions"),
            Column("tubelets_core_hours", "tubelets, core hours"),
            Column("concepts_core_hours", "concepts, core hours"),
            Column("one_machine_hours", f"hours on {CORES} cores", "{:.0f}"),
            Column("machines", f"machines of {CORES} cores for a day"),
        ],
        note=(
            "A million clips at VideoMAE-B's size (144 heads, keys), on paper: tubelets at the "
            "rate of 100 clips in the table above, concepts at that of the largest run of the "
            "stand-in for each channel of a tubelet, 12 tubelets a head and clip; the model's "
            "forward and decoding come on top. Disk as four clips leave it."
        ),
        details={"mb_per_clip": per_clip_mb},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="*", default=list(CLIPS))
    parser.add_argument("--measure", type=int, help="measure this many clips in this process")
    parser.add_argument("--sizes", type=int, help="measure the disk of this many large clips")
    parser.add_argument("--million", action="store_true", help="the second table alone")
    parser.add_argument("--measured", type=Path, help="folder with answers of earlier processes")
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, KEEPS[0])))
        return
    if arguments.sizes is not None:
        print(json.dumps(sizes(arguments.sizes)))
        return
    if arguments.million:
        rows = json.loads((RESULTS / "large_run.json").read_text())["rows"]
    else:  # a process each has its own peak
        asked = [["--measure", str(count)] for count in sorted(arguments.clips)]
        rows = [answer(one, arguments.measured) for one in asked]
        write_runs(rows)
    write_million(rows[-1], answer(["--sizes", "4"], arguments.measured))


def answer(asked: list[str], folder: Path | None) -> dict[str, Any]:
    """Return what a process of its own prints, or printed into a folder before."""
    known = None if folder is None else folder / ("".join(asked).strip("-") + ".json")
    if known is not None and known.is_file():
        text = known.read_text()
    else:
        command = [sys.executable, __file__, *asked]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if known is not None:
            known.write_text(text)
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
