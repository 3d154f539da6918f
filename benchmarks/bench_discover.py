"""A whole discovery at the size of VideoMAE-B: time, memory and disk for 10, 30 and 100 clips.

The model is a stand-in of VideoMAE-B's shape (12 layers x 12 heads x 64 channels, 8x14x14 tokens)
with random weights and no attention, because its forward is not what is measured: the time spent
in it is taken off. Everything else is the real thing, from frames in memory to a verified run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import RESULTS, Column, write
from _stand_in import stand_in

from vtcd_ops.discovery import pipeline, video_divider
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run_writer import RunWriter

LAYERS, HEADS = 12, 12  # of the stand-in
CLIPS = (10, 30, 100)


def scene(seed: int) -> np.ndarray:
    """Discs that move over a smooth background, uint8 [16, 224, 224, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:224, :224]
    ground = rng.uniform(40, 200, 3) + np.outer(np.linspace(-30, 30, 224), np.ones(224))[..., None]
    frames = np.repeat(ground[None], 16, axis=0) + rng.normal(0, 6, (16, 224, 224, 3))
    for _ in range(4):
        place, speed = rng.uniform(30, 190, 2), rng.uniform(-5, 5, 2)
        radius, color = rng.uniform(15, 45), rng.uniform(0, 255, 3)
        for frame in range(16):
            row, column = place + frame * speed
            frames[frame, (rows - row) ** 2 + (columns - column) ** 2 < radius**2] = color
    return frames.clip(0, 255).astype(np.uint8)


def timed(seconds: dict[str, float], stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before, cpu_before = time.perf_counter(), time.process_time()
        result = call(*args, **kwargs)
        seconds[stage] += time.perf_counter() - before
        seconds[f"{stage}_cpu"] += time.process_time() - cpu_before
        return result

    return wrapper


def measure(num_clips: int, num_threads: int) -> dict[str, Any]:
    """Discover in this process; seconds by stage, peak memory, size of the run."""
    torch.set_num_threads(num_threads)
    seconds: dict[str, float] = defaultdict(float)
    for module, stage in (
        (video_divider, "capture_video"),
        (video_divider, "find_tubelets"),
        (pipeline, "find_concepts"),
    ):
        setattr(module, stage, timed(seconds, stage, getattr(module, stage)))
    for name in ("write_clip", "write_tubelets", "write_concepts", "finish"):
        setattr(RunWriter, name, timed(seconds, "store", getattr(RunWriter, name)))
    adapter = stand_in()
    clips = (scene(seed) for seed in range(num_clips))  # one at a time, as from a loader
    with tempfile.TemporaryDirectory() as out:
        before, cpu_before = time.perf_counter(), time.process_time()
        run = discover(adapter, timed_clips(clips, seconds), out=out, progress=False)
        total, cpu_total = time.perf_counter() - before, time.process_time() - cpu_before
        size = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
        concepts = len(run.units())
    forward = seconds.pop("capture_video") + seconds.pop("scenes")
    cpu_total -= seconds.pop("capture_video_cpu") + seconds.pop("scenes_cpu")
    return {
        "clips": num_clips,
        "volumes": num_clips * LAYERS * HEADS,
        "seconds": round(total - forward, 2),
        "forward_seconds": round(forward, 2),
        "cpu_seconds": round(cpu_total, 2),
        "seconds_per_clip": round((total - forward) / num_clips, 3),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "run_mb": round(size / 1e6, 1),
        "concepts": concepts,
        "stages": {stage: round(value, 2) for stage, value in seconds.items()},
    }


def timed_clips(clips: Any, seconds: dict[str, float]) -> Any:
    """The clips, without the time that drawing them takes."""
    draw = timed(seconds, "scenes", lambda: next(clips, None))
    while True:
        clip = draw()
        if clip is None:
            return
        yield clip


def kept_rows(measured: list[int]) -> list[dict[str, Any]]:
    """The rows of the last result whose sizes are not measured again."""
    rows = json.loads((RESULTS / "discover.json").read_text())["rows"]
    return [row for row in rows if row["clips"] not in measured]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="*", default=list(CLIPS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", type=int, help="measure this many clips in this process")
    parser.add_argument("--keep", action="store_true", help="keep the rows of other sizes")
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, arguments.threads)))
        return
    rows = kept_rows(arguments.clips) if arguments.keep else []
    for num_clips in arguments.clips:  # a process each, so that each has its own peak of memory
        command = [sys.executable, __file__, "--measure", str(num_clips)]
        command += ["--threads", str(arguments.threads)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
        print(rows[-1])
    write(
        "discover",
        sorted(rows, key=lambda row: row["clips"]),
        [
            Column("clips", "clips"),
            Column("volumes", "heads x clips"),
            Column("seconds", "seconds", "{:.1f}"),
            Column("cpu_seconds", "CPU seconds", "{:.1f}"),
            Column("peak_gb", "peak memory, GB", "{:.2f}"),
            Column("run_mb", "run directory, MB", "{:.1f}"),
        ],
        note=(
            "Discovery at the size of VideoMAE-B (12 layers x 12 heads x 64 channels, 8x14x14 "
            "tokens to 16x112x112 voxels), keys, from frames in memory to a verified run, "
            f"{arguments.threads} threads, the model's forward excluded; the model is a stand-in "
            "of that shape with random weights, the clips are drawn. CPU seconds are of all "
            "threads together; where seconds are more than half of them, something else ran beside."
        ),
    )


if __name__ == "__main__":
    main()
