"""Rankings of the bundled miniatures: masks needed, number format, attribution curves.

    python benchmarks/bench_ranking_miniature.py --work WORK --num-masks 36000 --design-masks 4000

WORK keeps the runs and the scores of every ranking; a killed benchmark goes on from there, and the
numbers of masks may be raised later. The clips are rendered ones, the models miniatures.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from _harness import Column, threads, write

import vtcd_ops
from vtcd_ops.adapters import load_model
from vtcd_ops.estimates.mask_fits import AdditiveModel
from vtcd_ops.estimates.mask_means import means
from vtcd_ops.estimates.mask_scores import MaskScores, spearman
from vtcd_ops.importance.curves import RANDOM, Curves
from vtcd_ops.importance.importance import Importance, estimate_importance, video_seeds

matplotlib.use("svg")
import matplotlib.pyplot as plt

SSL, CLASSIFIER = "hf_videomae:mini-ssl", "hf_videomae:mini"
METRICS = {SSL: "reconstruction", CLASSIFIER: "probability"}
CLIP = "cover_00"  # of the rankings with many masks
PER_MOTION = 2  # clips of each motion: one to rank on, one to draw curves on
COUNTS = (250, 500, 1000, 2000, 4000)
PRECISION_MASKS, CURVE_MASKS = 500, 250
DESIGN_SEEDS = {"antithetic": 1, "balanced": 2}
MEANS, FITS = ("removed", "kept", "difference", "kept_sum"), ("regression", "adjusted")
REFERENCES = ("regression", "removed")
R2 = "held-out R²"
METHODS = ("cris", "occlusion", "gradient", "integrated_gradients", "random")
IMAGE = Path(__file__).parents[1] / "docs/images/ranking_curves.svg"
FAST: dict[str, Any] = {"masks_per_forward": 8, "progress": False}


class Study:
    """A miniature, the evaluation clips, and the run of its concepts in them."""

    def __init__(self, model: str, work: Path) -> None:
        folder = Path(str(files("vtcd_hf_videomae") / "clips/evaluation"))
        with (folder / "manifest.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if int(row["video"][-6:-4]) < PER_MOTION]
        self.samples = [
            vtcd_ops.Sample(str(folder / row["video"]), label=row["label"], name=row["video"][:-4])
            for row in rows
        ]
        self.adapter = load_model(model)
        self.metric = METRICS[model]
        self.run = vtcd_ops.discover(
            self.adapter, self.samples, out=work / model.partition(":")[2], progress=False
        )

    def some(self, number: int) -> list[vtcd_ops.Sample]:
        """One clip of every other motion, the first or the second."""
        found = [sample for sample in self.samples if sample.name.endswith(f"_{number:02d}")]
        return found[1::2]

    def rank(self, samples: list[vtcd_ops.Sample] | None, name: str, **settings: Any) -> Importance:
        """Rank by some clips; by default the one of the rankings with many masks."""
        print(name, flush=True)
        chosen = [sample for sample in self.samples if sample.name == CLIP]
        samples = chosen if samples is None else samples
        return vtcd_ops.rank(
            self.run, self.adapter, samples, self.metric, name=name, stop_at=None, **FAST | settings
        )


def measure_precision(study: Study) -> dict[str, Importance]:
    """The same masks in both number formats; those of bfloat16 begin the reference ranking."""
    names = {"float32": "float32", "bfloat16": "reference"}
    return {
        dtype: study.rank(None, name, num_masks=PRECISION_MASKS, dtype=dtype)
        for dtype, name in names.items()
    }


def measure_curves(study: Study) -> Curves:
    """Rank on some clips in five ways, and follow the orders on others."""
    for method in METHODS:
        dtype = "float32" if "gradient" in method else "bfloat16"
        study.rank(study.some(0), method, method=method, num_masks=CURVE_MASKS, dtype=dtype)
    return vtcd_ops.curves(
        study.run, study.adapter, study.some(1), study.metric, rankings=METHODS[:-1], num_points=10,
        name="curves", dtype="bfloat16", **FAST,
    )  # fmt: skip


def measure_designs(study: Study, num_masks: int, of_design: int) -> dict[str, Importance]:
    """The reference, and rankings of the other designs."""
    found = {"simple": study.rank(None, "reference", num_masks=num_masks, dtype="bfloat16")}
    for design, seed in DESIGN_SEEDS.items() if of_design else ():
        found[design] = study.rank(
            None, design, num_masks=of_design, design=design, seed=seed, dtype="bfloat16"
        )
    return found


@dataclass(frozen=True)
class Block(MaskScores):
    """Scores under some consecutive masks of a ranking."""

    start: int = 0

    def chunks(self, seed: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Draw the masks of a seed: from `start` on."""
        keep = vtcd_ops.cris_sample(
            self.num_units, self.num_masks, self.ratio, seed,
            start=self.start, design=self.design,
        )  # fmt: skip
        yield slice(0, self.num_masks), keep


def block(importance: Importance, start: int, count: int) -> Block:
    """Masks start to start + count - 1 of a ranking."""
    tensors, settings = importance.tensors, importance.settings
    drops = tensors["baseline"][:, None] - tensors["scores"][:, start : start + count]
    drawn = settings["ratio"], video_seeds(settings), settings["design"]
    return Block(drops, tensors["baseline"], tensors["present"], *drawn, start)


def estimates(data: MaskScores, used: np.ndarray) -> dict[str, np.ndarray]:
    """Every estimator of the units that occur in the one clip, from the used masks."""
    model = AdditiveModel(data)
    found = {name: means(data, name, used)[0] for name in MEANS}
    found |= {name: model.by_video(name, used)[0] for name in FITS}
    return {name: values[data.present[0]] for name, values in found.items()}


def as_default(data: MaskScores, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Add what `auto` settles on, and R² on held-out masks."""
    r2 = AdditiveModel(data).held_out_r2()
    return found | {"auto": found["regression" if r2 > 0 else "difference"], R2: r2}


def block_length(importance: Importance) -> int:
    """Masks of the reference ranking that are held out at a time: at most four fifths."""
    return max(count for count in COUNTS if 1.25 * count <= importance.num_masks)


def references(importance: Importance) -> list[dict[str, np.ndarray]]:
    """Rankings of all masks but one block, for each block in turn."""
    length = block_length(importance)
    data = block(importance, 0, importance.num_masks)
    index = np.arange(data.num_masks) // length
    return [estimates(data, index != i) for i in range(data.num_masks // length)]


def correlations(
    importance: Importance, truths: list[dict[str, np.ndarray]], length: int, count: int
) -> dict[tuple[str, str], float]:
    """Correlate rankings by some masks with those by the masks that were held out, on average.

    Of the reference's design every block is taken, each with the masks outside of it; of another
    design its first block, with all of them.
    """
    held_out = importance.settings["design"] == "simple"
    step = -(-count // 20) * 20  # every design starts afresh after 20 masks
    values: dict[tuple[str, str], list[float]] = {}
    for i in range(len(truths) if held_out else 1):
        length = min(length, importance.num_masks)
        for start in range(0, length - count + 1, step):
            data = block(importance, i * length + start, count)
            found = as_default(data, estimates(data, np.ones(count, dtype=bool)))
            values.setdefault((R2, REFERENCES[0]), []).append(found.pop(R2))
            for name, estimate in found.items():
                for reference in REFERENCES:
                    values.setdefault((name, reference), []).extend(
                        spearman(estimate, truth[reference])
                        for truth in (truths[i : i + 1] if held_out else truths)
                    )
    return {key: float(np.mean(of_key)) for key, of_key in values.items()}


def report_designs(found: dict[str, Importance]) -> None:
    """Write how well few masks rank, of every design and estimator."""
    simple = found["simple"]
    truths, length = references(simple), block_length(simple)
    table = {
        (design, count): correlations(one, truths, length, count)
        for design, one in found.items()
        for count in COUNTS
        if count <= (length if design == "simple" else one.num_masks)
    }
    rows = [
        {"design": design, "estimator": name}
        | {
            f"{reference}_{count}": table.get((design, count), {}).get((name, reference))
            for reference in REFERENCES
            for count in COUNTS
        }
        for design in found
        for name in (*MEANS, *FITS, "auto", R2)
    ]
    used = [count for count in COUNTS if count <= length]
    gaps = {
        reference: [
            table["simple", count]["auto", reference] - table["simple", count]["removed", reference]
            for count in used
        ]
        for reference in REFERENCES
    }
    trusted = {
        name: estimate_importance("", simple.settings, simple.tensors, name).reliability
        for name in REFERENCES
    }
    write(
        "ranking_miniature",
        rows,
        [
            Column("design", "design"),
            Column("estimator", "estimator"),
            *(Column(f"regression_{m}", f"{m:,} masks", "{:.3f}") for m in used),
            Column(f"removed_{length}", f"{length:,}, reference by eq. 6", "{:.3f}"),
        ],
        note=designs_note(simple, length, trusted, gaps),
        details={"default_minus_equation_6": gaps, "reference_reliability": trusted},
    )


def designs_note(
    simple: Importance, length: int, trusted: dict[str, float], gaps: dict[str, list[float]]
) -> str:
    """Say what was correlated with what."""
    units, masks = int(simple.tensors["present"].sum()), simple.num_masks
    worst, best = min(map(min, gaps.values())), max(map(max, gaps.values()))
    return (
        f"`{SSL}`, a miniature, on one clip (`{CLIP}`), in which {units} units occur; metric "
        f"reconstruction, ratio {simple.settings['ratio']:g}, bfloat16. Spearman correlation with "
        f"the ranking by regression of {masks - length:,} masks, none of them among those that "
        f"are correlated with it: of {masks:,} masks blocks of {length:,} are held out in turn "
        f"(mean over {masks // length}; the other designs are one ranking each). The last column "
        "takes the ranking by equation 6 of the same masks. Reliability of the rankings of all "
        f"masks: {trusted['regression']:.3f} by regression, {trusted['removed']:.3f} by equation "
        f"6. At equal numbers of masks the default is between {worst:+.3f} and {best:+.3f} above "
        "equation 6, whichever of the two is the reference."
    )


def ranks_alike(one: Importance, other: Importance, estimator: str) -> float:
    """Correlate the rankings of two rankings of the same units by an estimator."""
    values = [
        estimate_importance("", each.settings, each.tensors, estimator).value
        for each in (one, other)
    ]
    known = np.isfinite(values[0])
    return spearman(values[0][known], values[1][known])


def report_precision(found: dict[str, dict[str, Importance]]) -> None:
    """Write how much bfloat16 changes rankings of the same masks."""
    rows = []
    for model, of_dtype in found.items():
        single, half = of_dtype["float32"], first_masks(of_dtype["bfloat16"], PRECISION_MASKS)
        apart = half.tensors["scores"] - single.tensors["scores"]
        spread = single.tensors["scores"].std()
        by = {name: ranks_alike(single, half, name) for name in ("auto", "removed")}
        rows.append(
            {
                "model": f"`{model}`",
                "metric": METRICS[model],
                "units": int(single.tensors["present"].sum()),
                "auto": by["auto"],
                "removed": by["removed"],
                "reliability": single.reliability,
                "shift": float(apart.mean()),
                "noise": float(apart.std()),
                "spread": float(spread),
                "share": float((apart.std() / spread) ** 2),
            }
        )
    write(
        "ranking_precision",
        rows,
        [
            Column("model", "model"),
            Column("metric", "metric"),
            Column("units", "U"),
            Column("auto", "default", "{:.4f}"),
            Column("removed", "eq. 6", "{:.4f}"),
            Column("reliability", "reliability of float32", "{:.3f}"),
            Column("spread", "spread of scores over masks", "{:.2g}"),
            Column("noise", "spread of what bfloat16 changes", "{:.2g}"),
            Column("shift", "its mean", "{:+.2g}"),
            Column("share", "share of the variance", "{:.2%}"),
        ],
        note=f"Spearman correlation of the rankings under bfloat16 and float32: the same "
        f"{PRECISION_MASKS} masks, one clip ({CLIP}), design simple. Reliability is what another "
        "draw of as many masks would correlate with the ranking in float32.",
    )


def first_masks(importance: Importance, count: int) -> Importance:
    """A ranking as it was after its first masks."""
    tensors = importance.tensors | {"scores": importance.tensors["scores"][:, :count]}
    return estimate_importance(importance.name, importance.settings, tensors, "auto")


def report_curves(found: dict[str, Curves]) -> None:
    """Write the areas below attribution curves, and draw the curves."""
    rows = []
    for model, curves in found.items():
        random = curves.scores[RANDOM, "positive"]
        for ranking in (*METHODS[:-1], RANDOM):
            row: dict[str, Any] = {"model": f"`{model}`", "metric": METRICS[model]}
            row["ranking"] = ranking.replace("_", " ")
            for way in ("positive", "negative"):
                row[way] = row[f"{way}_gain"] = None
                if (ranking, way) in curves.scores:
                    row[way] = curves.area(ranking, way)
                    row[f"{way}_interval"] = curves.area_interval(ranking, way)
                if ranking != RANDOM:
                    apart = {(ranking, way): curves.scores[ranking, way] - random}
                    row[f"{way}_gain"] = with_interval(replace(curves, scores=apart), ranking, way)
            rows.append(row)
    draw(found)
    clips = len(next(iter(found.values())).settings["videos"])
    write(
        "ranking_curves",
        rows,
        [
            Column("model", "model"),
            Column("metric", "metric"),
            Column("ranking", "ranking"),
            Column("positive", "positive area (lower is better)", "{:.4f}"),
            Column("positive_gain", "less random's"),
            Column("negative", "negative area (higher is better)", "{:.4f}"),
            Column("negative_gain", "less random's"),
        ],
        note=f"Ranked on {clips} clips, curves on {clips} others of the same motions; intervals of "
        f"95 % over those clips. CRIS with {CURVE_MASKS} masks, integrated gradients with 32 "
        "steps, 5 random orders; 10 steps from nothing removed to all.",
        details={model: curves.rows() for model, curves in found.items()},
    )


def with_interval(curves: Curves, ranking: str, way: str) -> str:
    """An area and its interval over the clips."""
    low, high = curves.area_interval(ranking, way)
    return f"{curves.area(ranking, way):+.4f} [{low:+.4f}, {high:+.4f}]"


def draw(found: dict[str, Curves]) -> None:
    """Draw the curves of each model, positive and negative, side by side."""
    plt.rcParams.update({"svg.hashsalt": "ranking", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(
        len(found), 2, figsize=(8, 3 * len(found)), sharex=True, squeeze=False, layout="constrained"
    )
    for (model, curves), panels in zip(found.items(), axes, strict=True):
        for panel, direction in zip(panels, ("positive", "negative"), strict=True):
            low, high = curves.band(RANDOM)
            panel.fill_between(curves.fractions, low, high, color="0.9")
            panel.plot(curves.fractions, curves.mean(RANDOM), color="0.5", label=RANDOM)
            for number, ranking in enumerate(METHODS[:-1]):
                label = "CRIS" if ranking == "cris" else ranking.replace("_", " ")
                mean = curves.mean(ranking, direction)
                panel.plot(curves.fractions, mean, color=f"C{number}", label=label)
            first = "most" if direction == "positive" else "least"
            panel.set_title(f"{model.partition(':')[2]}: the {first} important first")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(curves.settings["metric"])
    for panel in axes[-1]:
        panel.set_xlabel("share of concepts removed")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/ranking_miniature"))
    parser.add_argument("--num-masks", type=int, default=8000, help="of the reference")
    parser.add_argument("--design-masks", type=int, default=1000, help="of other designs; 0: none")
    parser.add_argument("--curves-of", nargs="+", default=[*METRICS], choices=[*METRICS])
    arguments = parser.parse_args()
    with threads(1):
        studies = {model: Study(model, arguments.work) for model in METRICS}
        report_precision({model: measure_precision(study) for model, study in studies.items()})
        report_curves({model: measure_curves(studies[model]) for model in arguments.curves_of})
        report_designs(measure_designs(studies[SSL], arguments.num_masks, arguments.design_masks))


if __name__ == "__main__":
    main()
