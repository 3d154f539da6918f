# SPDX-License-Identifier: MIT
"""Table 1 and Figure 4: which ranking of concepts is the most faithful to the model?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid

from reproduce.models import ROLES
from reproduce.published import TABLE_1
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.common.errors import counted
from vtcd_ops.importance.curves import RANDOM

PAPER_ROLES = ("tcow", "videomae")
OURS = "SLIC, CRIS (VTCD)"
SMOOTHED = "SLIC, CRIS, metric with a gradient"
RANDOM_ORDER = "SLIC, random order"


class Method(NamedTuple):
    """What a row stands for: how concepts are proposed and ranked, and by which metric."""

    proposals: str
    ranking: str
    smooth: bool = False


#: A random order is drawn while curves are followed.
METHODS = {
    "Random crops, occlusion": Method("random_crops", "occlusion"),
    "Random crops, CRIS": Method("random_crops", "cris"),
    OURS: Method("slic", "cris"),
    SMOOTHED: Method("slic", "cris", smooth=True),
    "SLIC, occlusion": Method("slic", "occlusion"),
    "SLIC, gradient x concept": Method("slic", "gradient"),
    "SLIC, integrated gradients": Method("slic", "integrated_gradients"),
}
NUM_RANDOM = 3
DIRECTIONS = ("positive", "negative")
UNIT = (
    "area below the curve; positive (most important first): lower is better, negative (least "
    "important first): higher is better"
)
BETTER = {"positive": "lower", "negative": "higher"}
#: What VTCD is better than in the paper, which says so of integrated gradients for VideoMAE alone.
BEATEN = ("Random crops, occlusion", "Random crops, CRIS", "SLIC, occlusion", RANDOM_ORDER)
GRADIENTS = "SLIC, integrated gradients"


@dataclass(frozen=True)
class Curve:
    """Scores [2, V, P] (positive, negative) of each video, at fractions [P] removed.

    `reliability` is that of the order which is followed and `masks` those of a video, where masks
    were drawn.
    """

    fractions: np.ndarray
    scores: np.ndarray
    reliability: float = float("nan")
    masks: int = 0

    def areas(self, direction: str) -> np.ndarray:
        """Return the area [V] below each video's curve."""
        areas: np.ndarray = trapezoid(self.scores[DIRECTIONS.index(direction)], self.fractions)
        return areas


Found = dict[tuple[str, str], list[Curve]]  #: of (row, role), one a seed


@experiment("table1", roles=PAPER_ROLES)
def table1(study: Study) -> Result:
    """Return the areas below the attribution curves of all methods, and draw the curves."""
    study = study.until_reliable()
    found: Found = {}
    for role in PAPER_ROLES:
        for proposals in ("slic", "random_crops"):
            for seed in study.seeds:
                for label, curve in curves_of(study, role, seed, proposals).items():
                    found.setdefault((label, role), []).append(curve)
    figure = "figure4.svg"
    draw(found, study.folder / figure)
    return Result(
        name="table1",
        title="Attribution curves",
        paper="Table 1 and Figure 4 of the paper",
        unit=UNIT,
        columns=columns(),
        rows=[Row(label, cells_of(found, label)) for label in (*METHODS, RANDOM_ORDER)],
        claims=_claims(found),
        notes=_notes(study, found),
        figure=figure,
        digits=3,
        setting={role: study.setting(role) for role in PAPER_ROLES},
    )


def columns() -> dict[str, str]:
    """Return the columns of areas, with their headings."""
    return {
        f"{role}, {direction}": f"{ROLES[role].title}, {direction}"
        for role in PAPER_ROLES
        for direction in DIRECTIONS
    }


def curves_of(
    study: Study, role: str, seed: int, proposals: str, replace: str = "zero"
) -> dict[str, Curve]:
    """Rank the concepts of one run by all methods, and follow all orders."""
    methods = {label: one for label, one in METHODS.items() if one.proposals == proposals}
    run = study.run(role, seed, proposals=proposals)
    rankings = [
        study.importance(run, role, seed, one.ranking, smooth=one.smooth, replace=replace)
        for one in methods.values()
    ]
    drawn = NUM_RANDOM if proposals == "slic" else 0
    found = study.curves(
        run, role, rankings, seed, name="table1", num_random=drawn, replace=replace
    )
    curves = {
        label: Curve(
            found.fractions,
            np.stack([found.scores[one.name, way] for way in DIRECTIONS]),
            one.reliability,
            one.num_masks,
        )
        for label, one in zip(methods, rankings, strict=True)
    }
    if drawn:
        random = found.scores[RANDOM, "positive"]
        curves[RANDOM_ORDER] = Curve(found.fractions, np.stack([random, random]))
    return curves


def _notes(study: Study, found: Found) -> list[str]:
    scale = study.scale
    return [
        f"CRIS takes masks until the order is reliable to {scale.reliability:g} (what another draw "
        f"of as many would correlate with it), {scale.masks} a video at most (paper: 8,000 and "
        f"4,000): {_masks(found)}. Integrated gradients take {scale.steps} gradients, of two to "
        "three forwards each, and gradient x concept one.",
        f"Concepts of {scale.videos} videos; ranked on {scale.scored} of them for TCOW and, for "
        "VideoMAE, two of each class, which has its own ranking. Curves of "
        f"{scale.points} steps on as many other videos, from which neither concepts nor rankings "
        "come. Brackets here are 95 % intervals over those videos, and a claim is decided video by "
        f"video; mean over {counted(scale.seeds, 'seed')} of discovery and masks.",
        "Gradients are those of the probability (VideoMAE) and of the soft IoU (TCOW), since "
        f"accuracy and IoU are flat; so is “{SMOOTHED}”, which has a prior from as many gradients "
        "as masks. All curves are of accuracy and IoU. The random order is the mean of "
        f"{NUM_RANDOM} a seed and has no direction. Crops leave tokens that no concept holds, so "
        "that their curves end elsewhere than those of SLIC.",
    ]


def _masks(found: Found) -> str:
    """How many masks were taken, and how reliable the orders are."""
    words = []
    for role in PAPER_ROLES:
        for label in (OURS, SMOOTHED):
            curves = found[label, role]
            masks, trust = (
                np.mean([getattr(curve, name) for curve in curves])
                for name in ("masks", "reliability")
            )
            words.append(f"{ROLES[role].title}, “{label}”, {masks:.0f} ({trust:.2f})")
    return "; ".join(words)


def areas_of(found: Found, label: str, role: str, direction: str) -> list[float]:
    """Return the area of each video, the mean over the seeds."""
    every = [curve.areas(direction) for curve in found[label, role]]
    areas: list[float] = np.mean(every, axis=0).tolist()
    return areas


def cells_of(found: Found, label: str) -> dict[str, Cell]:
    """Return the measured areas of a row beside the paper's."""
    return {
        f"{role}, {direction}": Cell.of(
            areas_of(found, label, role, direction), TABLE_1.get((label, role), {}).get(direction)
        )
        for role in PAPER_ROLES
        for direction in DIRECTIONS
    }


def _claims(found: Found) -> list[Claim]:
    """What the paper concludes from its Table 1 and Figure 4."""
    claims = []
    for role in PAPER_ROLES:
        pairs = [(OURS, other) for other in (*BEATEN, GRADIENTS)] + [(SMOOTHED, GRADIENTS)]
        for ours, other in pairs:
            for direction in DIRECTIONS:
                mine, its = (areas_of(found, label, role, direction) for label in (ours, other))
                name = "VTCD" if ours == OURS else f"“{ours}”"
                text = f"{ROLES[role].title}: the {direction} area of {name} is "
                text += f"{BETTER[direction]} than that of “{other}”."
                claims.append(compare(text, mine, its, 3, lower=direction == "positive"))
    return claims


def draw(found: Found, path: Path) -> None:
    """Draw the curves of both models, positive above, negative below, videos and seeds averaged."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "vtcd"  # same curves, same file
    figure, axes = plt.subplots(2, len(PAPER_ROLES), figsize=(10, 7.6), squeeze=False)
    grid = np.linspace(0, 1, 101)
    for column, role in enumerate(PAPER_ROLES):
        for way, direction in enumerate(DIRECTIONS):
            axis = axes[way, column]
            for number, label in enumerate((*METHODS, RANDOM_ORDER)):
                curves = found[label, role]
                means = [one.scores[way].mean(axis=0) for one in curves]
                lines = [
                    np.interp(grid, one.fractions, mean)
                    for one, mean in zip(curves, means, strict=True)
                ]
                style: dict[str, object] = {"color": f"C{number}", "linewidth": 1.3}
                if label == OURS:
                    style = {"color": "black", "linewidth": 2.6}
                elif label == RANDOM_ORDER:
                    style = {"color": "grey", "linestyle": "--", "linewidth": 1.3}
                axis.plot(grid, np.mean(lines, axis=0), label=label, **style)
            axis.set_title(f"{ROLES[role].title}: {direction}")
            axis.set_xlabel("share of the concepts removed")
            axis.set_ylabel({"iou": "IoU"}.get(ROLES[role].metric, ROLES[role].metric))
            axis.set_xlim(0, 1)
            axis.set_ylim(bottom=0)
            axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    partial = path.with_name(f"{path.stem}-{os.getpid()}{path.suffix}")
    figure.savefig(partial, metadata={"Date": None})
    partial.replace(path)  # several processes may draw the same figure
    plt.close(figure)
