"""VideoMAE-B without a part of its heads and neurons: what it costs, and what it takes.

Random weights, since time does not depend on them. Whole and pruned models run in turns in one
process, one clip at a time; compiled, every block is compiled, so that the twelve share one code.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from _harness import Column, threads, write
from transformers import VideoMAEConfig, VideoMAEForVideoClassification
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops

LAYERS, HEADS, NEURONS = 12, 12, 3072
ROUNDS = 5
VARIANTS = {
    "whole": (0, 0),
    "33 % of the heads": (4, 0),
    "50 % of the heads": (6, 0),
    "33 % of heads and neurons": (4, 1024),
    "50 % of heads and neurons": (6, 1536),
}


def pruned(whole: VideoMAEAdapter, heads: int, neurons: int) -> Any:
    """Take as many heads and neurons out of every layer."""
    if not heads:
        return whole
    return vtcd_ops.prune(
        whole,
        heads=[(layer, head) for layer in range(LAYERS) for head in range(heads)],
        neurons={layer: range(neurons) for layer in range(LAYERS)} if neurons else None,
    )


def in_turns(models: dict[str, Any], clip: torch.Tensor) -> dict[str, list[float]]:
    """Milliseconds of a clip in each model, round by round."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for one in models.values():
        one.forward(clip)
    for turn in range(ROUNDS):
        names = list(models) if turn % 2 == 0 else list(models)[::-1]
        for name in names:
            begin = time.perf_counter()
            models[name].forward(clip)
            times[name].append(1e3 * (time.perf_counter() - begin))
    return times


def compile_blocks(adapter: Any) -> None:
    """Compile every block in place."""
    for block in adapter.model.videomae.encoder.layer:
        block.compile()


def main() -> None:
    torch.manual_seed(0)
    whole = VideoMAEAdapter(VideoMAEForVideoClassification(VideoMAEConfig()).eval())
    models = {name: pruned(whole, *gone) for name, gone in VARIANTS.items()}
    costs = {name: vtcd_ops.count_cost(one) for name, one in models.items()}
    clip = torch.randn(1, 16, 3, 224, 224)
    torch._dynamo.config.cache_size_limit = 64
    torch._dynamo.config.accumulated_cache_size_limit = 256
    with threads(2), torch.no_grad():
        answers = {name: one.forward(clip).logits for name, one in models.items()}
        eager = in_turns(models, clip)
        for one in models.values():
            compile_blocks(one)
        compiled = in_turns(models, clip)
        far = {
            name: float((one.forward(clip).logits - answers[name]).abs().max())
            for name, one in models.items()
        }
    rows = []
    for name, cost in costs.items():
        row: dict[str, Any] = {
            "model": name,
            "gmacs": cost.macs / 1e9,
            "parameters_m": cost.parameters / 1e6,
            "mac_ratio": cost.macs / costs["whole"].macs,
            "compiled_difference": far[name],
        }
        for mode, times in (("eager", eager), ("compiled", compiled)):
            ratios = [mine / its for mine, its in zip(times[name], times["whole"], strict=True)]
            row[f"{mode}_ms"] = min(times[name])
            row[f"{mode}_median_ms"] = statistics.median(times[name])
            row[f"{mode}_ratio"] = min(times[name]) / min(times["whole"])
            row[f"{mode}_median_ratio"] = statistics.median(ratios)
        rows.append(row)
    write(
        "pruning",
        rows,
        [
            Column("model", "VideoMAE-B"),
            Column("gmacs", "GMACs", "{:.1f}"),
            Column("parameters_m", "M parameters", "{:.1f}"),
            Column("mac_ratio", "MAC ratio", "{:.3f}"),
            Column("eager_ms", "eager, ms", "{:.0f}"),
            Column("eager_ratio", "ratio", "{:.3f}"),
            Column("compiled_ms", "compiled, ms", "{:.0f}"),
            Column("compiled_ratio", "ratio", "{:.3f}"),
        ],
        note=(
            "Random weights, one clip of 16 x 224 x 224, float32, 2 threads; least of "
            f"{ROUNDS} rounds in which all run in turns, beside other work."
        ),
    )


if __name__ == "__main__":
    main()
