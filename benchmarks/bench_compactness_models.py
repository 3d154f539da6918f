# SPDX-License-Identifier: MIT
"""The automatic compactness on models and scenes on which nothing about it was chosen.

``bench_compactness.py`` compares it where its tolerance was fixed. Here are other scenes, those of
the second held-out shard of ``zoo``, and besides DINOv2-S the miniatures of this repository::

    python benchmarks/bench_compactness_models.py --dinov2 WEIGHTS --scenes SCENES --work DIR

What was computed is kept in DIR: a stopped run goes on. ``object_fit.py`` defines the measure.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Column, threads, write
from bench_compactness import FIXED, Problem, evaluate, standard_error
from object_fit import scenes

from vtcd_ops import load_model

SHARD = 1  # of the held-out scenes; bench_compactness.py has those of shard 0
RULE, DEFAULT = "auto", "0.1"
NOTE = (
    "IoU of a concept's support with an object. Chosen on the other clips: the concept, or only "
    "its head; among all layers and heads, or (by layer) within one layer, mean over the layers, "
    "which rests on as many choices as there are layers and not on one. Mean over objects and 5 "
    "seeds of the clustering, standard errors of differences over clips. Best of three: the fixed "
    "value that turned out best in the row, which nobody knows beforehand."
)


@dataclass(frozen=True)
class Subject:
    """A model, and how it sees the scenes, of which 16 frames of 64 pixels were rendered."""

    title: str
    name: str  # for load_model
    step: int = 1  # between the frames it gets
    voxels_per_token: int = 8
    options: dict[str, int] = field(default_factory=dict)


def subjects(dinov2: Path) -> Iterator[Subject]:
    """The models; DINOv2-S sees the scenes as in ``bench_compactness.py``."""
    yield Subject("hf_videomae:mini", "hf_videomae:mini")
    yield Subject("internvideo:mini", "internvideo:mini", step=2)
    image = {"image_size": 224}
    yield Subject("DINOv2-S", f"hf_dinov2:{dinov2}", step=2, voxels_per_token=4, options=image)
    yield Subject("hf_videomae:mini-ssl", "hf_videomae:mini-ssl")


def measure(subject: Subject, scene_folder: Path, count: int, work: Path) -> list[dict[str, Any]]:
    """Return the rows of one model."""
    clips = list(scenes(scene_folder, count, shard=SHARD, step=subject.step))
    adapter = load_model(subject.name, **subject.options)
    folder = work / subject.title.replace(":", "-")
    problem = Problem.of(adapter, clips, folder, subject.voxels_per_token)
    chosen, _ = problem.rule(RULE)
    values = {key: [value] * len(problem.features) for key, value in FIXED.items()}
    scores = {key: evaluate(problem, value) for key, value in (values | {RULE: chosen}).items()}
    rows = []
    for index, name in enumerate(("concept", "head")):
        of_model = {key: score["model"][index] for key, score in scores.items()}  # [O]
        by_layer = {key: score["layers"][:, index].mean(0) for key, score in scores.items()}
        for measure_name, found in ((name, of_model), (f"{name}, by layer", by_layer)):
            row = {"model": subject.title, "measure": measure_name}
            rows.append(row | compare(found, problem.objects.video) | {"chosen": chosen})
    return rows


def compare(scores: dict[str, np.ndarray], video: np.ndarray) -> dict[str, Any]:
    """Mean scores of all objects, and what auto has over 0.1 and over the best fixed value."""
    best = max(FIXED, key=lambda key: scores[key].mean())
    row: dict[str, Any] = {key: float(score.mean()) for key, score in scores.items()}
    row |= {"objects": len(video), "clips": len(set(video)), "best": best}
    for title, key in (("default", DEFAULT), ("best", best)):
        gain = scores[RULE] - scores[key]
        row[f"over_{title}"] = f"{gain.mean():+.4f} ± {standard_error(gain, video):.4f}"
    return row


def columns() -> list[Column]:
    """The columns of the table in docs/compactness.md."""
    return [
        Column("model", "model"),
        Column("measure", "chosen"),
        *(Column(key, key, "{:.4f}") for key in (*FIXED, RULE)),
        Column("over_default", f"{RULE} less {DEFAULT}"),
        Column("over_best", "less the best of three"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov2", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for what was computed")
    parser.add_argument("--num-scenes", type=int, default=72)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with threads(1):
        for subject in subjects(args.dinov2):
            rows += measure(subject, args.scenes, args.num_scenes, args.work)
            print(*rows[-4:], sep="\n", flush=True)
    write("compactness_models", rows, columns(), note=NOTE)


if __name__ == "__main__":
    main()
