"""How few forwards a ranking of the four miniatures takes, against many separate masks.

    python benchmarks/bench_few_forwards_models.py --work WORK --videos 2 measure
    python benchmarks/bench_few_forwards_models.py --work WORK --videos 2
    python benchmarks/bench_few_forwards_models.py --work WORK --models videomae pairs

The first line scores each video under 4,000 masks to estimate from and under 16,384 others, the
reference; it takes 6 to 17 minutes of one core for one video of a model, and goes on where it was
killed (fewer masks: `--estimated`, `--reference`). The second makes the table and the figure of
what is there, and says of how many masks the reference is; the third, which concepts of one video
do most together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Column, threads, write
from _miniature import METRICS, Miniature
from bench_few_forwards import (
    COUNTS,
    MOST_GRADIENTS,
    OF_GRADIENT,
    STEPS,
    TREES,
    Found,
    draw,
    gradients_and_masks,
    table,
)

import vtcd_ops
from reproduce.models import ROLES
from vtcd_ops.estimates.choice import FITTED, choose
from vtcd_ops.estimates.mask_means import means
from vtcd_ops.estimates.mask_scores import MaskScores, spearman
from vtcd_ops.estimates.tree_proxy import TreeProxy
from vtcd_ops.importance.importance import Importance, estimate_importance, video_seeds
from vtcd_ops.importance.units import describe_unit
from vtcd_ops.ops import cris_sample

ESTIMATED, REFERENCE = 4000, 16384  # masks a video
DRAWS = 8  # of few masks, from different parts of the sequence
PRIORS = 4  # of those of each number of gradients
METHODS = ("gradient", "integrated_gradients")


class VideoByVideo(Miniature):
    """A miniature that is ranked on one video at a time."""

    def rank(self, video: int, name: str, **settings: Any) -> Importance:
        """Rank by one video."""
        return vtcd_ops.rank(
            self.run, self.adapter, [self.samples[video]], self.metric, name=f"{name}-{video}",
            estimator="difference", masks_per_forward=16, stop_at=None, progress=False, **settings,
        )  # fmt: skip

    def estimated(self, video: int, num_masks: int) -> Importance:
        """The scores that estimates are made from, and a prior from one gradient."""
        return self.rank(video, "estimated", num_masks=num_masks, prior="mean_mask")

    def priors(self, video: int) -> dict[int, list[np.ndarray]]:
        """The default's priors, some of each number of gradients."""
        found: dict[int, list[np.ndarray]] = {}
        for number in sorted({gradients_and_masks(count)[0] for count in COUNTS}):
            for seed in range(PRIORS):
                name = f"strengths-{number}-{seed}"
                one = self.rank(video, name, num_masks=max(number, 2), seed=seed)
                found.setdefault(number, []).append(one.tensors["prior"])
        return found

    def reference(self, video: int, num_masks: int) -> Importance:
        """The scores of other masks."""
        return self.rank(video, "reference", num_masks=num_masks, seed=1, prior=None)

    def gradients(self, video: int, method: str) -> Importance:
        """What a method without masks says."""
        return self.rank(video, method, method=method, num_steps=STEPS)


def measure(
    work: Path, roles: list[str], num_videos: int, num_estimated: int, num_reference: int
) -> None:
    """Score all videos, the first of every model first."""
    opened: dict[str, Miniature] = {}
    for video in range(num_videos):
        for role in roles:
            model = opened[role] = opened.get(role) or VideoByVideo(role, work)
            begin = time.monotonic()
            model.estimated(video, num_estimated)
            for method in METHODS:
                model.gradients(video, method)
            model.priors(video)
            model.reference(video, num_reference)
            seconds = time.monotonic() - begin
            print(f"{time.ctime()} {role}, video {video}: {seconds:.0f} s", flush=True)


@dataclass(frozen=True, eq=False)
class LaterScores(MaskScores):
    """Scores under masks from `start` on, so that several draws come of one sequence."""

    start: int = 0

    def chunks(self, seed: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Draw the masks of a seed, from `start` on."""
        yield (
            slice(0, self.num_masks),
            cris_sample(self.num_units, self.num_masks, self.ratio, seed, start=self.start),
        )


def estimated(data: MaskScores, prior: np.ndarray | None, estimator: str) -> np.ndarray:
    """The effects of the units of one video, [U]."""
    every = np.ones(data.num_masks, dtype=bool)
    name, model, _ = choose(data, prior, estimator, fit=False)
    if isinstance(model, TreeProxy):
        return model.value[0]
    if name == "prior" and prior is not None:
        return prior[0]
    if model is not None and name in FITTED:
        return model.by_video(name, every)[0]
    return np.asarray(means(data, name, every))[0]


def correlations(
    ranked: dict[str, Importance], priors: dict[int, list[np.ndarray]]
) -> tuple[Found, float]:
    """Correlation with the reference, by method and forwards; and how sure the reference is."""
    reference = estimate_importance(
        "reference", ranked["reference"].settings, ranked["reference"].tensors, "regression"
    )
    present = ranked["estimated"].tensors["present"][0]
    truth = reference.value[present]
    found: dict[tuple[str, int], list[float]] = {}

    def put(name: str, count: int, value: np.ndarray) -> None:
        found.setdefault((name, count), []).append(spearman(np.nan_to_num(value[present]), truth))

    for name, label, cost in (
        ("gradient", "gradient", OF_GRADIENT),
        ("integrated_gradients", "integrated", OF_GRADIENT * STEPS),
    ):
        for count in (count for count in COUNTS if count >= cost):
            put(label, count, ranked[name].tensors["effects"][0])
    one = ranked["estimated"]
    drops = one.tensors["baseline"][:, None] - one.tensors["scores"]
    for count in (count for count in COUNTS if count <= drops.shape[1]):
        number, masks = gradients_and_masks(count)
        for turn in range(min(DRAWS, drops.shape[1] // count)):
            start = turn * count

            def data(masks: int, start: int = start) -> MaskScores:
                return LaterScores(
                    drops[:, start : start + masks], one.tensors["baseline"],
                    one.tensors["present"], one.settings["ratio"], video_seeds(one.settings),
                    "simple", start,
                )  # fmt: skip

            prior = priors[number][turn % PRIORS]
            put("removed", count, estimated(data(count), None, "removed"))
            put("former", count, estimated(data(count), None, "regression"))
            at_mean = estimated(data(count - OF_GRADIENT), one.tensors["prior"], "auto")
            put("mean_mask", count, at_mean)
            put("strengths", count, prior[0])
            put("default", count, estimated(data(masks), prior, "auto"))
            if count in TREES:
                put("trees", count, estimated(data(masks), prior, "trees"))
    return {key: float(np.nanmean(values)) for key, values in found.items()}, reference.reliability


def make_table(
    work: Path, roles: list[str], num_videos: int, num_estimated: int, num_reference: int
) -> None:
    """Write the table and the figure of what was measured."""
    found, said = {}, []
    for role in roles:
        model = VideoByVideo(role, work)
        every = []
        for video in range(num_videos):
            ranked = {name: model.gradients(video, name) for name in METHODS}
            ranked["estimated"] = model.estimated(video, num_estimated)
            ranked["reference"] = model.reference(video, num_reference)
            every.append(correlations(ranked, model.priors(video)))
        title = f"`{ROLES[role].miniature}`"
        found[title] = {key: float(np.mean([one[key] for one, _ in every])) for key in every[0][0]}
        said.append(f"{title} {np.mean([sure for _, sure in every]):.2f}")
    draw({name.strip("`"): one for name, one in found.items()}, "few_forwards_models.svg", 2)
    rows, columns = table(found, "model")
    write(
        "few_forwards_models",
        rows,
        columns,
        note=f"Spearman correlation with the ridge regression of {num_reference:,} other masks, "
        f"which another draw of as many would correlate with by {', '.join(said)}; mean over "
        f"{num_videos} videos and up to {DRAWS} draws, by forwards of a video. A gradient counts "
        f"as {OF_GRADIENT}; the default takes as many as masks, at most {MOST_GRADIENTS}; metrics "
        f"{', '.join(METRICS[role] for role in roles)}; bfloat16 where the processor is fast at "
        "it.",
    )


def write_pairs(work: Path, role: str, num_masks: int) -> None:
    """Write which concepts of the first video do most together."""
    one = VideoByVideo(role, work).estimated(0, num_masks)
    found = one.interactions(top=8)
    rows = []
    for number, (first, second) in enumerate(found.pairs):
        row: dict[str, Any] = {
            "first": describe_unit(one.units[first]), "second": describe_unit(one.units[second]),
            "places": f"{one.rank[first] + 1}, {one.rank[second] + 1}",
            "together": f"{found.value[number]:+.3f} ± {found.stderr[number]:.3f}",
        }  # fmt: skip
        row["kind"] = "back each other up" if found.value[number] > 0 else "need each other"
        rows.append(row)
    write(
        "interactions_miniature",
        rows,
        [
            Column("first", "concept"),
            Column("second", "and"),
            Column("places", "places in the ranking"),
            Column("together", "together"),
            Column("kind", "they"),
        ],
        note=f"`{ROLES[role].miniature}`, the clip `{one.settings['videos'][0]['name']}`, "
        f"{METRICS[role]}, {one.num_masks:,} masks of which one half chose the pairs and the other "
        f"measured them; {int(one.tensors['present'].sum())} concepts occur in it.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "table", "pairs"), default="table")
    parser.add_argument("--work", type=Path, default=Path("build/few_forwards"))
    parser.add_argument("--videos", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=tuple(METRICS), default=list(METRICS))
    parser.add_argument("--estimated", type=int, default=ESTIMATED)
    parser.add_argument("--reference", type=int, default=REFERENCE)
    arguments = parser.parse_args()
    work, roles = arguments.work, arguments.models
    amounts = arguments.videos, arguments.estimated, arguments.reference
    with threads(1):
        if arguments.what == "measure":
            measure(work, roles, *amounts)
        elif arguments.what == "pairs":
            write_pairs(work, roles[0], arguments.estimated)
        else:
            make_table(work, roles, *amounts)


if __name__ == "__main__":
    main()
