"""VideoMAE-B at its full size, with random weights: discovery of 30 clips, 4,000 masks on one."""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_discover import scene
from device_clock import Clock
from record import Record
from transformers import VideoMAEConfig, VideoMAEForVideoClassification
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops

DISCOVERY_LIMIT_S, RANKING_LIMIT_S = 120, 150
WARM_UP = 2  # clips
FUNCTIONS = 40  # of a profile, in the log


@dataclass(frozen=True)
class Plan:
    """What is run: at full size, or a miniature for a run without a GPU."""

    device: torch.device
    tiny: bool

    @property
    def clips(self) -> int:
        """How many clips are discovered."""
        return 3 if self.tiny else 30

    @property
    def masks(self) -> tuple[int, int]:
        """Masks that warm up and measure a rate, and all."""
        return (16, 32) if self.tiny else (500, 4000)

    def model(self) -> VideoMAEAdapter:
        """Make the model, always with the same random weights."""
        torch.manual_seed(0)
        small = {
            "image_size": 32, "patch_size": 8, "num_frames": 4, "hidden_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        }  # fmt: skip
        config = VideoMAEConfig(**(small if self.tiny else {}))
        model = VideoMAEForVideoClassification(config).eval().to(self.device)
        return VideoMAEAdapter(model, name="videomae-b with random weights")

    def videos(self) -> list[np.ndarray]:
        """Draw the clips."""
        videos = [scene(seed) for seed in range(self.clips)]
        return [video[:4, :32, :32] for video in videos] if self.tiny else videos


class Watch:
    """Seconds and the peak of the device's memory, of the block under it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self.peak_gb = device, 0.0, None

    def __enter__(self) -> Watch:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.before = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            self.peak_gb = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        self.seconds = time.perf_counter() - self.before


def print_profile(title: str, call: Callable[[], object]) -> None:
    """Write where the host's time goes into the log."""
    profiler = cProfile.Profile()
    profiler.runcall(call)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(FUNCTIONS)
    print(f"--- {title}\n{text.getvalue()}", flush=True)


def discovery(plan: Plan, adapter: VideoMAEAdapter, folder: Path) -> dict[str, Any]:
    """Time the discovery of all clips, keys of every layer and head, frames in memory."""
    videos = plan.videos()
    options = {"progress": False, "device": str(plan.device)}
    with Watch(plan.device) as first:
        vtcd_ops.discover(adapter, videos[:WARM_UP], out=folder / "first", **options)
    with Watch(plan.device) as watch:
        run = vtcd_ops.discover(adapter, videos, out=folder / "run", **options)
    return {
        "first_call_seconds": round(first.seconds, 3),
        "clips": len(videos),
        "volumes": len(videos) * adapter.num_layers * adapter.num_heads,
        "clips_per_s": round(len(videos) / watch.seconds, 3),
        "wall_seconds": round(watch.seconds, 3),
        "peak_gpu_gb": watch.peak_gb,
        "concepts": len(run.units()),
    }


def profiled_discovery(plan: Plan, adapter: VideoMAEAdapter, folder: Path) -> dict[str, Any]:
    """Say in the log where the host's time of a discovery goes, and trace its kernels."""
    videos = plan.videos()[:6]

    def discover(name: str) -> None:
        vtcd_ops.discover(
            adapter, videos, out=folder / name, progress=False, device=str(plan.device)
        )

    print_profile("discovery, the host's time", lambda: discover("profiled"))
    clock = Clock(plan.device, 0.0, 1)
    return {"clips": len(videos), **clock.kernels([lambda: discover("traced")], count=1)}


def discovered(plan: Plan, folder: Path) -> vtcd_ops.Run:
    """The run of `discovery`; where that failed, one of two clips that the CPU makes."""
    try:
        return vtcd_ops.load(folder / "run")
    except vtcd_ops.InputError:
        on_cpu = Plan(torch.device("cpu"), plan.tiny)
        return vtcd_ops.discover(
            on_cpu.model(), plan.videos()[:2], out=folder / "cpu-run", progress=False, device="cpu"
        )


def ranking(
    plan: Plan, adapter: VideoMAEAdapter, folder: Path, share: float = 1.0, **options: Any
) -> dict[str, Any]:
    """Time masks, a share of all, on one clip, after some that warm up."""
    run = discovered(plan, folder)
    samples = [vtcd_ops.Sample(plan.videos()[0], label=0)]
    name = "-".join(["timed", *map(str, options.values())])
    common: dict[str, Any] = {"metric": "logit", "name": name, "progress": False, "stop_at": None}
    common |= {"device": str(plan.device)} | options
    first, every = (int(share * count) for count in plan.masks)
    with Watch(plan.device) as warm_up:
        vtcd_ops.rank(run, adapter, samples, num_masks=first, **common)
    with Watch(plan.device) as watch:
        vtcd_ops.rank(run, adapter, samples, num_masks=every, **common)
    return {
        "masks": every,
        "units": len(run.units()),
        "masks_per_s": round((every - first) / watch.seconds, 2),
        "first_masks_per_s": round(first / warm_up.seconds, 2),
        "wall_seconds": round(watch.seconds + warm_up.seconds, 3),
        "peak_gpu_gb": watch.peak_gb,
        **measuring(run, name, every - first),
    }


def measuring(run: vtcd_ops.Run, name: str, masks: int) -> dict[str, Any]:
    """Tell, by the ranking's log, how long its forwards took without what is estimated of them."""
    path = run.path / "importance" / name
    lines = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    begin, end = (
        max(datetime.fromisoformat(line["time"]) for line in lines if line["event"] == event)
        for event in ("measuring", "measured")
    )
    seconds = (end - begin).total_seconds()
    settings = json.loads((path / "settings.json").read_text())
    return {
        "forward_masks_per_s": round(masks / seconds, 2),
        "masks_per_forward": settings["masks_per_forward"],
        "dtype": settings["dtype"],
    }


def profiled_ranking(plan: Plan, adapter: VideoMAEAdapter, folder: Path) -> dict[str, Any]:
    """Say in the log where the time of a ranking goes."""
    run = discovered(plan, folder)
    samples = [vtcd_ops.Sample(plan.videos()[0], label=0)]
    numbers = iter(range(1000))

    def rank() -> None:
        vtcd_ops.rank(
            run, adapter, samples, metric="logit", num_masks=plan.masks[0], progress=False,
            name=f"profiled-{next(numbers)}", device=str(plan.device),
        )  # fmt: skip

    print_profile("ranking, the host's time", rank)
    return {"masks": plan.masks[0], **Clock(plan.device, 0.0, 1).kernels([rank], count=1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compiled", action="store_true", help="rank by a compiled model instead")
    arguments = parser.parse_args()
    plan = Plan(torch.device(arguments.device), arguments.tiny)
    record = Record(arguments.record)
    adapter = plan.model()
    folder = arguments.record.parent / "videomae"  # kept where the process is started again
    folder.mkdir(exist_ok=True)

    def rank(share: float = 1.0, **options: Any) -> Callable[[], dict[str, Any]]:
        return lambda: ranking(plan, adapter, folder, share, **options)

    if arguments.compiled:
        record.run("ranking compiled", rank(compiled=True), RANKING_LIMIT_S)
    else:
        record.run("discovery", lambda: discovery(plan, adapter, folder), DISCOVERY_LIMIT_S)
        record.run("ranking", rank(), RANKING_LIMIT_S)
        record.run("ranking float32", rank(0.25, dtype="float32"), RANKING_LIMIT_S)
        record.run("discovery, profiled", lambda: profiled_discovery(plan, adapter, folder), 60)
        record.run("ranking, profiled", lambda: profiled_ranking(plan, adapter, folder), 60)
    sys.exit(any(found["state"] == "failed" for found in record.items.values()))


if __name__ == "__main__":
    main()
