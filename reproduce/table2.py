# SPDX-License-Identifier: MIT
"""Table 2: a classifier pruned for the classes in which something spills."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vtcd_ops
from reproduce.pruning_baselines import Order, by_gradient, by_magnitude, peak_bytes
from reproduce.published import TABLE_2
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.spill_clips import CLASSES, spill_clips
from reproduce.study import FULL, Study
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.pruning.batches import ClipBatches
from vtcd_ops.video.samples import Sample

ROLE = "videomae"
SHARES = (0.0, 0.1, 0.2, 1 / 3, 0.5, 0.7, 0.9)
TRAINED_SHARES = (1 / 3, 0.5)
CRIS, RANDOM = "CRIS", "Random"
METHODS = (CRIS, RANDOM, "Magnitude", "Gradient x weight", "Learned keep")
EPOCHS = {"training": 2, "keep": 10}
RATE = 3e-4
COSTS = {
    "macs": "million multiply-adds of a clip, CRIS",
    "parameters": "thousand parameters, CRIS",
    "milliseconds": "milliseconds of a clip on one core, CRIS",
    "megabytes": "megabytes of weights and activations, CRIS",
}


def column(share: float) -> str:
    """The name of a share's column.

    >>> column(1 / 3)
    '33'
    """
    return f"{100 * share:.0f}"


@experiment("table2", roles=[ROLE])
def table2(study: Study) -> Result:
    """Return held-out accuracy against the share of the heads that is pruned."""
    work = Pruned(study)
    kinds = {False: SHARES, True: TRAINED_SHARES}
    found: dict[tuple[str, bool], dict[float, list[float]]] = {
        (method, trained): {} for trained in kinds for method in METHODS
    }
    for trained, shares in kinds.items():
        for share in shares:
            for method in METHODS:
                found[method, trained][share] = [
                    100 * work.accuracy(method, seed, share, trained) for seed in study.seeds
                ]
    whole = {0.0: found[CRIS, False][0.0]}
    rows = [
        Row(_label(*key), {column(s): _cell(key, s, values) for s, values in one.items()})
        for key, one in found.items()
    ]
    costs = {share: work.cost(share) for share in SHARES}
    rows += [
        Row(label, {column(share): Cell(costs[share][key]) for share in SHARES})
        for key, label in COSTS.items()
    ]
    figure = "table2.svg"
    study.folder.mkdir(parents=True, exist_ok=True)
    draw(found, study.folder / figure)
    return Result(
        name="table2",
        title="Pruning for the spill-like classes",
        paper="Table 2 of the paper",
        unit="accuracy in per cent on held-out clips, by the per cent of the heads that is pruned",
        columns={column(share): f"{column(share)} %" for share in SHARES},
        rows=rows,
        claims=_claims(found, whole[0.0]),
        notes=work.notes(),
        figure=figure,
        digits=1,
        setting=study.setting(ROLE),
    )


class Pruned:
    """Rankings and accuracies, each made once and kept in the study's folder."""

    def __init__(self, study: Study) -> None:
        self.study = study
        adapter = study.adapter(ROLE)
        assert isinstance(adapter, AttentionAdapter)
        self.adapter = adapter
        full = study.scale.videos >= FULL.videos
        self.per_class = {"train": 24, "held_out": 50} if full else {"train": 6, "held_out": 6}
        self.folder = study.folder / "pruned"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clips: dict[str, list[Sample]] = {}
        self._orders: dict[tuple[str, int], Order] = {}

    def clips(self, split: str) -> list[Sample]:
        """Clips of the four classes, in turn."""
        if split not in self._clips:
            frames, labels = spill_clips(self.study.folder / "clips", split)
            count = self.per_class[split] * len(CLASSES)
            pairs = zip(frames[:count], labels[:count].tolist(), strict=True)
            self._clips[split] = [
                Sample(video, label=label, name=f"{split}-{place}")
                for place, (video, label) in enumerate(pairs)
            ]
        return self._clips[split]

    def ranked_clips(self) -> list[Sample]:
        """The training clips that heads are ranked on."""
        return self.clips("train")[: 4 * max(self.study.scale.scored // 2, 2)]

    def order(self, method: str, seed: int) -> Order:
        """Rank the heads by a method."""
        if (method, seed) not in self._orders:
            rank: dict[str, Callable[[int], Any]] = {
                CRIS: self._cris,
                RANDOM: lambda seed: Order.of(
                    self.adapter, np.random.default_rng([2, seed]).random(self._num_heads)
                ),
                "Magnitude": lambda seed: by_magnitude(self.adapter),
                "Gradient x weight": lambda seed: by_gradient(
                    self.adapter, ClipBatches(self.adapter, self._drawn(seed), 8)
                ),
                "Learned keep": lambda seed: vtcd_ops.learn_keep(
                    self.adapter, self.clips("train"), epochs=EPOCHS["keep"], seed=seed,
                    out=self.folder / f"keep-{seed}", progress=False,
                ),
            }  # fmt: skip
            self._orders[method, seed] = rank[method](seed)
        return self._orders[method, seed]

    @property
    def _num_heads(self) -> int:
        return self.adapter.num_layers * self.adapter.num_heads

    def _drawn(self, seed: int) -> list[Sample]:
        """As many training clips as CRIS ranks on, others for each seed."""
        clips, count = self.clips("train"), len(self.ranked_clips())
        places = np.random.default_rng([3, seed]).permutation(len(clips))[:count]
        return [clips[place] for place in sorted(places.tolist())]

    def _cris(self, seed: int) -> Any:
        """Rank as the paper does: by what outputs of a head matter to the probability."""
        run = vtcd_ops.discover(
            self.adapter, self.clips("train")[:2], out=self.folder / "run", progress=False
        )
        return vtcd_ops.rank(
            run, self.adapter, self._drawn(seed), "probability", units="heads", part="outputs",
            num_masks=self.study.num_masks(ROLE), seed=seed, name=f"heads-{seed}", assign=True,
            masks_per_forward=16, progress=False,
        )  # fmt: skip

    def accuracy(self, method: str, seed: int, share: float, trained: bool) -> float:
        """Accuracy on the held-out clips of a model without a share of its heads."""
        seed = 0 if share == 0 or (method == "Magnitude" and not trained) else seed
        name = method.lower().replace(" ", "-") if share else "whole"
        file = self.folder / f"{name}-{seed}-{column(share)}-{'trained' if trained else 'plain'}"
        known = self._read(file)
        if known is not None:
            return float(known["accuracy"])
        begin = time.monotonic()
        smaller = vtcd_ops.prune(self.adapter, self.order(method, seed), share)
        if trained:
            vtcd_ops.finetune(
                smaller, self.clips("train"), epochs=EPOCHS["training"], learning_rate=RATE,
                teacher=None, seed=seed, progress=False,
            )  # fmt: skip
        right = self._right(smaller)
        self._write(file, {"accuracy": right, "seconds": time.monotonic() - begin})
        return right

    def _right(self, adapter: vtcd_ops.Adapter) -> float:
        clips = self.clips("held_out")
        right = 0
        for batch in ClipBatches(adapter, clips, 20):
            with torch.no_grad():
                logits = adapter.predict(batch.clips)["logits"]
            assert batch.labels is not None
            right += int((logits.argmax(1) == batch.labels).sum())
        return right / len(clips)

    def cost(self, share: float) -> dict[str, float]:
        """What a clip costs in the model that CRIS left, first seed."""
        file = self.folder / f"cost-{column(share)}"
        known = self._read(file)
        if known is None:
            smaller = vtcd_ops.prune(self.adapter, self.order(CRIS, 0), share)
            cost = vtcd_ops.count_cost(smaller)
            [batch] = ClipBatches(self.adapter, self.clips("held_out")[:1])
            clip = batch.clips
            with torch.no_grad():
                known = {
                    "macs": cost.macs / 1e6,
                    "parameters": cost.parameters / 1e3,
                    "milliseconds": 1e3 * _seconds(lambda: smaller.predict(clip)),
                    "megabytes": peak_bytes(smaller.model, lambda: smaller.predict(clip)) / 1e6,
                }
            self._write(file, known)
        return known

    @staticmethod
    def _read(file: Path) -> Any:
        path = file.with_suffix(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    @staticmethod
    def _write(file: Path, document: dict[str, float]) -> None:
        partial = file.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(document), encoding="utf-8")
        partial.replace(file.with_suffix(".json"))

    def notes(self) -> list[str]:
        """What a reader must know of the numbers."""
        train, held_out = (len(self.clips(split)) for split in ("train", "held_out"))
        masks = self.study.num_masks(ROLE)
        return [
            f"The classes are {', '.join(CLASSES)} of twelve, which begin alike and differ in the "
            f"outcome. Heads are ranked on {len(self.ranked_clips())} of {train} training clips "
            f"(rendered again from seeds that the classifier was trained on; the learned keep sees "
            f"all of them), CRIS with {masks} masks; accuracy among all twelve classes is that on "
            f"{held_out} clips of held-out seeds. The whole model's standard error from the clips "
            "is about 3 points; seeds change the clips of the ranking, the masks and the order of "
            "training.",
            f"Trained: {EPOCHS['training']} epochs on the labels of the training clips (AdamW, "
            f"rate {RATE:g} falling to zero), which are of the four classes alone: part of what it "
            "gains is that it answers nothing else. Memory is the weights and the most that a "
            "forward of one clip holds at a time, counted from its tensors. Latency is the least "
            "of seven, beside other work.",
        ]


def _seconds(forward: Callable[[], object]) -> float:
    forward()
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        forward()
        times.append(time.perf_counter() - begin)
    return min(times)


def _label(method: str, trained: bool) -> str:
    return f"{method}, trained" if trained else method


def _cell(key: tuple[str, bool], share: float, values: list[float]) -> Cell:
    published = TABLE_2.get(column(share)) if key == (CRIS, False) else None
    once = share == 0 or key == ("Magnitude", False)  # the same for every seed
    return Cell(values[0], published=published) if once else Cell.of(values, published)


def _claims(
    found: dict[tuple[str, bool], dict[float, list[float]]], whole: list[float]
) -> list[Claim]:
    claims = [
        compare(
            f"Without {column(share)} % of the heads, by CRIS, the classifier is better.",
            found[CRIS, False][share], whole, 1,
        )
        for share in (1 / 3, 0.5)
    ]  # fmt: skip
    for trained in (False, True):
        for other in METHODS[1:]:
            for share in TRAINED_SHARES:
                text = f"CRIS keeps more than “{_label(other, trained)}” at {column(share)} %."
                mine, its = (found[name, trained][share] for name in (CRIS, other))
                claims.append(compare(text, mine, its, 1))
    return claims


def draw(found: dict[tuple[str, bool], dict[float, list[float]]], path: Path) -> None:
    """Draw accuracy against the share, as it is and trained."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "vtcd"  # same numbers, same file
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for axis, trained in zip(axes, (False, True), strict=True):
        for number, method in enumerate(METHODS):
            shares = sorted(found[method, trained])
            values = np.array([found[method, trained][share] for share in shares])
            colour = "black" if method == CRIS else f"C{number}"
            axis.plot(100 * np.array(shares), values.mean(1), "o-", color=colour, label=method)
            low, high = values.min(1), values.max(1)
            axis.fill_between(100 * np.array(shares), low, high, color=colour, alpha=0.12)
        axis.set_title("trained" if trained else "as it is")
        axis.set_xlabel("per cent of the heads pruned")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy, %")
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    partial = path.with_name(f"{path.stem}-{os.getpid()}{path.suffix}")
    figure.savefig(partial, metadata={"Date": None})
    partial.replace(path)
    plt.close(figure)
