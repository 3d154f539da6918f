# SPDX-License-Identifier: MIT
"""How well concepts fit objects, for fixed values of SLIC's compactness and for the automatic one.

Measured on the keys of DINOv2-S (an *image* model) and on objects whose masks are known: sequences
of DAVIS 2016, and rendered scenes of ``zoo``. Data and weights are not part of this repository::

    python benchmarks/bench_compactness.py --dinov2 WEIGHTS --davis DAVIS --scenes SCENES --work DIR

DAVIS holds SEQUENCE/frames/*.jpg and SEQUENCE/masks/*.png; SCENES holds shards of ``zoo.dataset``.
What was computed is kept in DIR: a stopped run goes on. ``object_fit.py`` defines the measure.
With ``--sets`` only some rows are measured anew; the table of rules is left as it is then.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import RESULTS, Column, threads, write
from compactness_rules import RULES
from object_fit import (
    VOXELS_PER_TOKEN,
    Clip,
    Objects,
    davis,
    iou_with_concepts,
    layer_features,
    leave_one_out,
    scenes,
)

from vtcd_ops import Adapter, load_model
from vtcd_ops.common.token_grid import volume_size

FIXED = {"0.01": 0.01, "0.1": 0.1, "0.15": 0.15}  # the paper's: TCOW; VideoMAE; InternVideo
VIDEOS_FOR_RULE = 3  # as many as discover takes
SETS = ("DAVIS", "scenes")
IMAGE_SIZE = {"DAVIS": 448, "scenes": 224}
NOTE = (
    "IoU of a concept's support with an object; the concept (first columns) or only its head (last "
    "columns) is chosen on the other sequences among all 12 layers x 6 heads. Keys of DINOv2-S, an "
    "image model; mean over objects and 5 seeds of the clustering; the standard error is that of "
    "the gain of auto over the best of the three, over sequences."
)


@dataclass(frozen=True)
class Problem:
    """One set: where its features lie, its objects, the label grid."""

    features: list[Path]
    objects: Objects
    size: tuple[int, int, int]
    folder: Path

    @classmethod
    def of(
        cls,
        adapter: Adapter,
        clips: list[Clip],
        folder: Path,
        voxels_per_token: int = VOXELS_PER_TOKEN,
    ) -> Problem:
        """Capture the features, and bring the objects to their label grid."""
        grid, features = layer_features(adapter, clips, folder)
        size = volume_size(grid, adapter.tubelet_size, voxels_per_token)
        return cls(features, Objects.of(clips, size), size, folder)

    def table(self, layer: int, compactness: float) -> np.ndarray:
        """IoU of objects and concepts of a layer, [seeds, A, O, K]; computed once."""
        path = self.folder / f"iou-{layer}-{compactness:.4g}.npy"
        if not path.exists():
            videos = np.load(self.features[layer])
            np.save(path, iou_with_concepts(videos, self.objects, compactness))
            print(path, flush=True)
        return np.load(path)

    def rule(self, name: str) -> tuple[list[float], float]:
        """The values that a rule gives every layer, and the seconds it takes for one."""
        found = []
        for layer, features in enumerate(self.features):
            path = self.folder / f"rule-{name}-{layer}.json"
            if not path.exists():
                videos = [torch.from_numpy(v) for v in np.load(features)[:VIDEOS_FOR_RULE]]
                started = time.process_time()
                value = RULES[name](videos, self.size)
                path.write_text(json.dumps([value, time.process_time() - started]))
            found.append(json.loads(path.read_text()))
        return [value for value, _ in found], float(np.median([seconds for _, seconds in found]))


def evaluate(problem: Problem, compactness: Sequence[float]) -> dict[str, np.ndarray]:
    """Scores with one compactness a layer: of the whole model [2, O], and by layer [L, 2, O]."""
    tables = [problem.table(layer, value) for layer, value in enumerate(compactness)]

    def score(table: np.ndarray) -> np.ndarray:
        return np.mean([leave_one_out(of_seed, problem.objects) for of_seed in table], axis=0)

    return {
        "model": score(np.concatenate(tables, axis=1)),
        "layers": np.stack([score(table) for table in tables]),
    }


def summarise(name: str, objects: Objects, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One row of the table: scores in the whole model, and the gain of the automatic choice."""
    sequences = sorted(set(objects.video))
    row: dict[str, Any] = {"set": name, "objects": len(objects.video), "sequences": len(sequences)}
    for index, measure in enumerate(("concept", "head")):
        of_value = {key: scores[key]["model"][index] for key in (*FIXED, "auto")}  # [O]
        best = max(FIXED, key=lambda key: of_value[key].mean())
        gain = of_value["auto"] - of_value[best]
        row |= {f"{measure}_{key}": float(score.mean()) for key, score in of_value.items()}
        row[f"{measure}_gain"] = float(gain.mean())
        row[f"{measure}_stderr"] = standard_error(gain, objects.video)
    return row


def standard_error(gain: np.ndarray, video: np.ndarray) -> float:
    """Standard error of a gain [O] over videos, each with the mean over its objects."""
    by_video = [gain[video == one].mean() for one in sorted(set(video))]
    return float(np.std(by_video, ddof=1) / len(by_video) ** 0.5)


def columns() -> list[Column]:
    """The columns of the table in docs/compactness.md."""
    shown = [Column("set", "set"), Column("sequences", "sequences"), Column("objects", "objects")]
    for measure in ("concept", "head"):
        shown += [
            Column(f"{measure}_{key}", f"{measure}, {key}", "{:.3f}") for key in (*FIXED, "auto")
        ]
        shown += [
            Column(f"{measure}_gain", "over the best fixed", "{:+.3f}"),
            Column(f"{measure}_stderr", "± s.e.", "{:.3f}"),
        ]
    return shown


def rule_rows(scores: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for every value and rule: its scores on every set, in the whole model and by layer."""
    rows = []
    for key in next(iter(scores.values())):
        row: dict[str, Any] = {"rule": key}
        for name, of_rule in scores.items():
            result = of_rule[key]
            low, high = min(result["values"]), max(result["values"])
            row[f"{name} values"] = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            for index, measure in enumerate(("concept", "head")):
                row[f"{name} {measure}"] = float(result["model"][index].mean())
                row[f"{name} {measure} by layer"] = float(result["layers"][:, index].mean())
            row[f"{name} seconds"] = result["seconds"]
            row[f"{name} by layer"] = {
                "compactness": result["values"],
                "concept": result["layers"][:, 0].mean(-1).round(4).tolist(),
                "head": result["layers"][:, 1].mean(-1).round(4).tolist(),
            }
        rows.append(row)
    return rows


def rule_columns(names: Sequence[str]) -> list[Column]:
    """The columns of the second table in docs/compactness.md."""
    shown = [Column("rule", "value or rule")]
    for name in names:
        shown.append(Column(f"{name} values", f"{name}: values"))
        for measure in ("concept", "head"):
            shown.append(Column(f"{name} {measure}", measure, "{:.3f}"))
            shown.append(Column(f"{name} {measure} by layer", f"{measure}, by layer", "{:.3f}"))
    return shown


def write_sets(rows: list[dict[str, Any]]) -> None:
    """Write the first table; a set that was not measured keeps its row, and its date."""
    path = RESULTS / "compactness.json"
    kept = json.loads(path.read_text()) if path.exists() else {"rows": [], "details": {}}
    found = {row["set"]: row for row in [*kept["rows"], *rows]}
    today = datetime.date.today().isoformat()
    dates = {row["set"]: kept["machine"]["date"] for row in kept["rows"]}
    dates |= kept["details"].get("measured", {}) | {row["set"]: today for row in rows}
    shown = [found[name] for name in SETS if name in found]
    write("compactness", shown, columns(), note=NOTE, details={"measured": dates})


def parse_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov2", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for what was computed")
    parser.add_argument("--num-scenes", type=int, default=72)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    parser.add_argument("--fixed", nargs="*", type=float, default=[], help="further fixed values")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    fixed = FIXED | {f"{value:g}": value for value in args.fixed}
    rows, scores = [], {}
    with threads(1):
        for name in args.sets:
            clips = davis(args.davis) if name == "DAVIS" else scenes(args.scenes, args.num_scenes)
            adapter = load_model(f"hf_dinov2:{args.dinov2}", image_size=IMAGE_SIZE[name])
            problem = Problem.of(adapter, list(clips), args.work / name)
            layers = len(problem.features)
            tried = {key: ([value] * layers, 0.0) for key, value in fixed.items()}
            tried |= {rule: problem.rule(rule) for rule in args.rules}
            scores[name] = {
                key: {"values": values, "seconds": seconds, **evaluate(problem, values)}
                for key, (values, seconds) in tried.items()
            }
            rows.append(summarise(name, problem.objects, scores[name]))
            print(rows[-1], flush=True)
    write_sets(rows)
    if set(args.sets) == set(SETS):
        write("compactness_rules", rule_rows(scores), rule_columns(SETS), note=NOTE)


if __name__ == "__main__":
    main()
