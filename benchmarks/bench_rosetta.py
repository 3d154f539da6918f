"""rosetta_search on planted objects, against trying every tuple in NumPy.

Each case runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import torch
from _harness import Column, threads, write

import vtcd_ops
from vtcd_ops.ops import reference

GRID = (30, 15, 20)
NUM_VIDEOS = 30
THREADS = 2
DELTA = 0.15
CASES = {  # models, concepts a model, planted objects
    "4 x 75": (4, 75, 12),
    "4 x 1,000": (4, 1000, 120),
    "8 x 100": (8, 100, 20),
}
PLANTED = 0.6  # share of concepts that are an object; the others are a box of their own
SAMPLE = 200  # tuples tried by brute force


def boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """Random boxes: first and last voxel along each axis, [count, 3, 2]."""
    edges = (np.array(GRID) * random.uniform(0.25, 0.7, (count, 3))).astype(int) + 1
    start = (random.random((count, 3)) * (np.array(GRID) - edges + 1)).astype(int)
    return np.stack([start, start + edges], axis=-1)


def supports_of_video(
    random: np.random.Generator, which: np.ndarray, num_objects: int
) -> np.ndarray:
    """Supports [C, voxels]: the concept's object with each face moved by up to two voxels."""
    shared, own = boxes(random, num_objects), boxes(random, len(which))
    chosen = np.where((which >= 0)[:, None, None], shared[which], own)
    chosen = chosen + random.integers(-2, 3, chosen.shape)
    masks = np.zeros((len(which), *GRID), dtype=bool)
    for mask, ((t, t_end), (h, h_end), (w, w_end)) in zip(masks, chosen.tolist(), strict=True):
        mask[max(t, 0) : max(t_end, 1), max(h, 0) : max(h_end, 1), max(w, 0) : max(w_end, 1)] = True
    masks[random.random(len(which)) < 0.1] = False  # absent from this video
    return masks.reshape(len(which), -1)


def make(num_models: int, num_concepts: int, num_objects: int) -> tuple[torch.Tensor, ...]:
    """The arguments of the operator."""
    random = np.random.default_rng(0)
    total = num_models * num_concepts
    which = np.where(random.random(total) < PLANTED, random.integers(0, num_objects, total), -1)
    blocks = []
    for _ in range(NUM_VIDEOS):
        masks = torch.from_numpy(supports_of_video(random, which, num_objects))
        blocks.append(vtcd_ops.pack_supports([masks]))
    supports = torch.cat([words for words, _ in blocks])
    videos = torch.tensor([0, *np.cumsum([int(offsets[-1]) for _, offsets in blocks])])
    return supports, videos, torch.arange(0, total + 1, num_concepts)


def unpack(supports: torch.Tensor, videos: torch.Tensor, num_concepts: int) -> list[np.ndarray]:
    """The masks again, bool [C, voxels] of each video."""
    offsets = (videos * num_concepts).tolist()
    bits = [
        np.unpackbits(
            supports[begin:end].numpy().view(np.uint8).reshape(num_concepts, -1),
            axis=1, bitorder="little",
        )[:, : math.prod(GRID)]
        for begin, end in pairwise(offsets)
    ]  # fmt: skip
    return [video.astype(bool) for video in bits]


def brute_force(
    arguments: tuple[torch.Tensor, ...], found: vtcd_ops.RosettaTuples, order: int
) -> tuple[float, int]:
    """Milliseconds that NumPy takes for a tuple, and how many of those tried agree with ours.

    Half of the tuples are drawn from those found, half from all: of these ours must have found
    those that score delta or more, and no other.
    """
    supports, videos, models = arguments
    masks = unpack(supports, videos, int(models[-1]))
    random = np.random.default_rng(1)
    rows = found.tuples.numpy()
    scores = {tuple(row): score for row, score in zip(rows.tolist(), found.scores.tolist(),
                                                      strict=True)}  # fmt: skip
    of_order = rows[(rows >= 0).sum(axis=1) == order]
    tried = of_order[random.integers(0, len(of_order), SAMPLE // 2)].tolist()
    size = int(models[1])
    for _ in range(SAMPLE - len(tried)):
        row = np.full(len(models) - 1, -1)
        row[random.permutation(len(row))[:order]] = random.integers(0, size, order)
        tried.append(row.tolist())
    agree, seconds = 0, 0.0
    for row in tried:
        concepts = [m * size + concept for m, concept in enumerate(row) if concept >= 0]
        begun = time.perf_counter()
        score = reference.rosetta_score(reference.rosetta_ratios(masks, concepts))
        seconds += time.perf_counter() - begun
        expected = score if score >= DELTA else None
        agree += scores.get(tuple(row)) == expected
    return 1e3 * seconds / len(tried), agree


def run_case(name: str) -> dict[str, object]:
    num_models, num_concepts, num_objects = CASES[name]
    arguments = make(num_models, num_concepts, num_objects)
    with threads(THREADS):
        begun = time.perf_counter()
        found = vtcd_ops.rosetta_search(*arguments, DELTA, max_tuples=10**7)
        seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        begun = time.perf_counter()
        vtcd_ops.rosetta_search(*arguments, 0.0, top=20, max_order=4, max_tuples=10**7)
        top_seconds = time.perf_counter() - begun
    orders = range(2, num_models + 1)
    total = sum(math.comb(num_models, order) * num_concepts**order for order in orders)
    counts = {order: int(((found.tuples >= 0).sum(1) == order).sum()) for order in orders}
    tuple_ms, agree = brute_force(arguments, found, max(o for o in orders if counts[o]))
    return {
        "case": f"{name} concepts",
        "agreement": f"{agree} of {SAMPLE}",
        "found": len(found.scores),
        "found_by_order": counts,
        "total": float(total),
        "seconds": seconds,
        "top_seconds": top_seconds,
        "peak_gb": peak / 1e9,
        "tuple_ms": tuple_ms,
        "brute_force_s": total * tuple_ms / 1e3,
        "speed": total * tuple_ms / 1e3 / seconds,
    }


def main() -> None:
    rows = []
    for name in CASES:
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    write(
        "rosetta",
        rows,
        [
            Column("case", "models x concepts"),
            Column("agreement", "sampled tuples that agree"),
            Column("total", "tuples there are", "{:.1e}"),
            Column("found", "tuples found", "{:,}"),
            Column("seconds", "seconds", "{:.2f}"),
            Column("top_seconds", "20 best of 2, 3, 4 models, seconds", "{:.2f}"),
            Column("peak_gb", "peak memory, GB", "{:.2f}"),
            Column("tuple_ms", "NumPy, ms a tuple", "{:.2f}"),
            Column("brute_force_s", "NumPy, all tuples, seconds", "{:.1e}"),
            Column("speed", "times faster", "{:.0e}"),
        ],
        note=f"{NUM_VIDEOS} videos on {'x'.join(map(str, GRID))} voxels, delta = {DELTA}, tuples "
        f"of 2 models to all. Three of five concepts are one of 12, 120 and 20 boxes that move "
        f"from video to video, with their faces moved at random; the others are boxes of their "
        f"own. {THREADS} threads. The time for all tuples in NumPy is that of {SAMPLE} tuples of "
        "as many models as any tuple found, in the same run, times their number; half of these "
        "tuples are among those found, half drawn from all.",
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run_case(sys.argv[1])))
    else:
        main()
