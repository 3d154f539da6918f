# SPDX-License-Identifier: MIT
"""Measure a tracker on held-out scenes: ``python -m zoo.evaluate_mini_tcow SCENES MODEL OUT.json``.

Every number is a mean over frames 1 to 15 (the query is in frame 0) of all clips it concerns, with
its standard error over clips. Beside the tracker stands what the query mask scores if it stays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from vtcd_tcow import TCOW

from zoo.mini_tcow import MASKS, SMALLEST_QUERY, TARGET, Batch, Scenes, ask

SMALLEST_MASK = 20  # pixels; smaller true masks are not scored
LEAVES_PLACE = 4  # frames in which the query mask covers less than half of the target
HARDLY_VISIBLE = 0.3  # of the target
BATCH = 20


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union over the last two axes; 1 where both are empty."""
    both = (one & other).flatten(-2).sum(-1)
    either = (one | other).flatten(-2).sum(-1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


@torch.no_grad()
def answer(model: TCOW, batch: Batch) -> Tensor:  # bool [B, 3, T, S, S]
    """The model's masks."""
    logits, _ = model(*batch.inputs())
    return logits > 0


def in_batches(
    scenes: Scenes, asked: Callable[[Tensor], Tensor], index: Tensor, model: TCOW
) -> list[tuple[Tensor, Batch, Tensor]]:
    """Index, question and answer of all clips, a few at a time."""
    results = []
    for some in index.split(BATCH):
        batch = ask(scenes, some, asked(some))
        results.append((some, batch, answer(model, batch)))
    return results


@dataclass(frozen=True)
class Following:
    """How well the target was followed; C clips of T frames."""

    clips: Tensor  # int [C]
    tracker: Tensor  # [C, T], IoU of the target's amodal mask
    stays: Tensor  # [C, T], that of the query mask
    visible: Tensor  # [C, T], share of the target that is visible
    scored: Tensor  # bool [C, T]
    others: dict[str, tuple[Tensor, Tensor, Tensor]]  # IoU, truth there, answer there, [C, T] each

    def summary(self) -> dict[str, float]:
        """A few means, for the log of a training."""
        hidden = self.scored & (self.visible < HARDLY_VISIBLE)
        means = {
            "target": self.tracker[self.scored].mean(),
            "stays": self.stays[self.scored].mean(),
            "hidden": self.tracker[hidden].mean(),
            "hidden_stays": self.stays[hidden].mean(),
        }
        for name, (overlap, there, _) in self.others.items():
            means[name] = overlap[there].mean()
        return {name: float(value) for name, value in means.items()}

    def leaves(self) -> Tensor:  # bool [C]
        """Clips in which the target clearly leaves its place."""
        return ((self.stays < 0.5) & self.scored).sum(1) >= LEAVES_PLACE


def follow(model: TCOW, scenes: Scenes) -> Following:
    """Ask for the target of every clip in which it is visible at first."""
    everything = torch.arange(len(scenes))
    index = everything[scenes.areas(everything)[:, TARGET] >= SMALLEST_QUERY]
    parts: dict[str, list[Tensor]] = {name: [] for name in ("tracker", "stays", "visible", "area")}
    others: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in MASKS[1:]}
    for some, batch, masks in in_batches(
        scenes, lambda clips: torch.full_like(clips, TARGET), index, model
    ):
        truth = batch.masks[:, 0]
        area = truth.flatten(2).sum(-1)
        visible = (scenes.instances[some] == TARGET).flatten(2).sum(-1)
        parts["tracker"].append(iou(masks[:, 0], truth))
        parts["stays"].append(iou(batch.query[:, None].expand_as(truth), truth))
        parts["visible"].append(visible / area.clamp(min=1))
        parts["area"].append(area)
        for channel, name in enumerate(MASKS[1:], start=1):
            there = batch.masks[:, channel].flatten(2).sum(-1) > SMALLEST_MASK
            found = masks[:, channel].flatten(2).sum(-1) > SMALLEST_MASK
            overlap = iou(masks[:, channel], batch.masks[:, channel])
            others[name].append((overlap, there, found))
    joined = {name: torch.cat(values) for name, values in parts.items()}
    scored = joined.pop("area") > SMALLEST_MASK
    scored[:, 0] = False
    masks_of_others = {
        name: tuple(torch.cat(column) for column in zip(*rows, strict=True))
        for name, rows in others.items()
    }
    return Following(clips=index, scored=scored, others=masks_of_others, **joined)  # type: ignore[arg-type]


def mean_over_clips(values: Tensor, chosen: Tensor) -> dict[str, float | int]:
    """Mean of [C, T] over the chosen frames, with the standard error over clips."""
    counts = chosen.sum(1)
    clips = counts > 0
    if not bool(clips.any()):
        return {"mean": float("nan"), "standard_error": float("nan"), "clips": 0, "frames": 0}
    total = (values * chosen).sum(1)[clips]
    counts = counts[clips]
    mean = float(total.sum() / counts.sum())
    # Of a ratio of sums: residuals of the clips' sums.
    residual = total - mean * counts
    error = float((residual.square().sum() / max(len(residual) - 1, 1) * len(residual)).sqrt())
    return {
        "mean": round(mean, 4),
        "standard_error": round(error / float(counts.sum()), 4),
        "clips": int(clips.sum()),
        "frames": int(counts.sum()),
    }


def target_results(following: Following, scenes: Scenes) -> dict[str, object]:
    """The target's amodal IoU, of the tracker and of the query mask that stays."""
    labels = scenes.label[following.clips.numpy()]
    rows = {
        "all": following.scored,
        "leaves_its_place": following.scored & following.leaves()[:, None],
        "hardly_visible": following.scored & (following.visible < HARDLY_VISIBLE),
        "invisible": following.scored & (following.visible == 0),
    }
    for label in sorted(set(scenes.label.tolist())):
        rows[label] = following.scored & torch.from_numpy(labels == label)[:, None]
    return {
        name: {
            "tracker": mean_over_clips(following.tracker, chosen),
            "query_mask_stays": mean_over_clips(following.stays, chosen),
        }
        for name, chosen in rows.items()
    }


def other_mask_results(following: Following) -> dict[str, object]:
    """Occluders and containers: found where there is one, and nothing where there is none."""
    results: dict[str, object] = {}
    for name, (overlap, there, found) in following.others.items():
        there, nothing = there.clone(), ~there
        there[:, 0] = nothing[:, 0] = False
        results[name] = {
            "iou_where_there_is_one": mean_over_clips(overlap, there),
            "found_where_there_is_one": mean_over_clips(found.float(), there),
            "claimed_where_there_is_none": mean_over_clips(found.float(), nothing),
        }
    return results


def query_results(model: TCOW, scenes: Scenes) -> dict[str, object]:
    """Whether the answer follows the query: another object, two questions of one clip, none."""
    everything = torch.arange(len(scenes))
    areas = scenes.areas(everything)
    asks_target = areas[:, TARGET] >= SMALLEST_QUERY
    areas[:, [0, TARGET]] = 0
    largest = areas.argmax(1)
    asks_other = areas.amax(1) >= 2 * SMALLEST_QUERY
    other_iou, other_stays, scored, between, truths = [], [], [], [], []
    index = everything[asks_target & asks_other]
    first = in_batches(scenes, lambda clips: torch.full_like(clips, TARGET), index, model)
    second = in_batches(scenes, lambda clips: largest[clips], index, model)
    for (_, target_batch, target), (_, batch, masks) in zip(first, second, strict=True):
        truth = batch.masks[:, 0]
        other_iou.append(iou(masks[:, 0], truth))
        other_stays.append(iou(batch.query[:, None].expand_as(truth), truth))
        scored.append(truth.flatten(2).sum(-1) > SMALLEST_MASK)
        between.append(iou(target[:, 0], masks[:, 0]))
        truths.append(iou(target_batch.masks[:, 0], truth))
    late = torch.cat(scored)
    late[:, 0] = False
    nothing = [
        masks.flatten(1).float().mean(1)
        for _, _, masks in in_batches(scenes, torch.zeros_like, everything, model)
    ]
    return {
        "another_object": {
            "tracker": mean_over_clips(torch.cat(other_iou), late),
            "query_mask_stays": mean_over_clips(torch.cat(other_stays), late),
        },
        "overlap_of_two_answers": mean_over_clips(torch.cat(between), late),
        "overlap_of_the_two_true_masks": mean_over_clips(torch.cat(truths), late),
        "no_query_share_of_pixels_claimed": round(float(torch.cat(nothing).mean()), 6),
    }


def evaluate(model: TCOW, scenes: Scenes) -> dict[str, object]:
    """All results."""
    following = follow(model, scenes)
    return {
        "held_out_clips": len(scenes),
        "target_amodal_iou": target_results(following, scenes),
        "other_masks": other_mask_results(following),
        "query": query_results(model, scenes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = TCOW.from_checkpoint(args.model)
    results = evaluate(model, Scenes.read(args.scenes, "held_out"))
    args.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results["query"], indent=2))


if __name__ == "__main__":
    main()
