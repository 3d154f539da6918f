# SPDX-License-Identifier: MIT
"""Table 1 and Figure 4: which ranking of concepts is the most faithful to the model?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import trapezoid

from reproduce.models import ROLES
from reproduce.published import TABLE_1
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.importance.curves import RANDOM

PAPER_ROLES = ("tcow", "videomae")
OURS = "SLIC, CRIS (VTCD)"
RANDOM_ORDER = "SLIC, random order"
#: Label of a row: proposals, method of ranking. A random order is drawn while curves are followed.
METHODS = {
    "Random crops, occlusion": ("random_crops", "occlusion"),
    "Random crops, CRIS": ("random_crops", "cris"),
    OURS: ("slic", "cris"),
    "SLIC, occlusion": ("slic", "occlusion"),
    "SLIC, gradient x concept": ("slic", "gradient"),
    "SLIC, integrated gradients": ("slic", "integrated_gradients"),
}
NUM_RANDOM = 3
DIRECTIONS = ("positive", "negative")
BETTER = {"positive": "lower", "negative": "higher"}
#: What VTCD is better than in the paper; of integrated gradients it says so for VideoMAE alone.
BEATEN = ("Random crops, occlusion", "Random crops, CRIS", "SLIC, occlusion", RANDOM_ORDER)
GRADIENTS = "SLIC, integrated gradients"


@dataclass(frozen=True)
class Curve:
    """Scores [2, P] (positive, negative), mean over the videos, at fractions [P] removed.

    `reliability` is that of the order which is followed, where masks were drawn.
    """

    fractions: np.ndarray
    scores: np.ndarray
    reliability: float = float("nan")

    def area(self, direction: str) -> float:
        """Return the area below one of them."""
        return float(trapezoid(self.scores[DIRECTIONS.index(direction)], self.fractions))


Found = dict[tuple[str, str], list[Curve]]  #: of (row, role), one a seed


@experiment("table1", roles=PAPER_ROLES)
def table1(study: Study) -> Result:
    """Return the areas below the attribution curves of all methods, and draw the curves."""
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
        unit="area below the curve; positive (most important first): lower is better, negative "
        "(least important first): higher is better",
        columns={
            f"{role}, {direction}": f"{ROLES[role].title}, {direction}"
            for role in PAPER_ROLES
            for direction in DIRECTIONS
        },
        rows=[Row(label, _cells(found, label)) for label in (*METHODS, RANDOM_ORDER)],
        claims=_claims(found),
        notes=_notes(study, found),
        figure=figure,
        digits=3,
        setting={role: study.setting(role) for role in PAPER_ROLES},
    )


def curves_of(study: Study, role: str, seed: int, proposals: str) -> dict[str, Curve]:
    """Rank the concepts of one run by all methods, and follow all orders."""
    methods = {label: method for label, (kind, method) in METHODS.items() if kind == proposals}
    run = study.run(role, seed, proposals=proposals)
    rankings = [study.importance(run, role, seed, method) for method in methods.values()]
    drawn = NUM_RANDOM if proposals == "slic" else 0
    found = study.curves(run, role, rankings, seed, name="table1", num_random=drawn)
    curves = {
        label: Curve(
            found.fractions,
            np.stack([found.mean(one.name, way) for way in DIRECTIONS]),
            one.reliability,
        )
        for label, one in zip(methods, rankings, strict=True)
    }
    if drawn:
        random = found.mean(RANDOM)
        curves[RANDOM_ORDER] = Curve(found.fractions, np.stack([random, random]))
    return curves


def _notes(study: Study, found: Found) -> list[str]:
    scale = study.scale
    trust = " and ".join(
        f"{np.mean([curve.reliability for curve in found[OURS, role]]):.2f} ({ROLES[role].title})"
        for role in PAPER_ROLES
    )
    return [
        f"CRIS with {scale.masks} masks (paper: 8,000 and 4,000), integrated gradients in "
        f"{scale.steps} steps, curves of {scale.points} steps. Concepts of {scale.videos} videos; "
        f"ranked and scored on {scale.scored} of them for TCOW and, for VideoMAE, two of each "
        "class, which has its own ranking. Another draw of as many masks would give an order of "
        f"VTCD's concepts that correlates with this one by {trust}.",
        "Gradients are those of the probability (VideoMAE) and of the soft IoU (TCOW), since "
        "accuracy and IoU are flat; all curves are of accuracy and IoU. The random order is "
        f"the mean of {NUM_RANDOM} a seed and has no direction. Crops leave tokens that no concept "
        "holds, so that their curves end elsewhere than those of SLIC.",
    ]


def _areas(found: Found, label: str, role: str, direction: str) -> list[float]:
    return [curve.area(direction) for curve in found[label, role]]


def _cells(found: Found, label: str) -> dict[str, Cell]:
    return {
        f"{role}, {direction}": Cell.of(
            _areas(found, label, role, direction), TABLE_1.get((label, role), {}).get(direction)
        )
        for role in PAPER_ROLES
        for direction in DIRECTIONS
    }


def _claims(found: Found) -> list[Claim]:
    """What the paper concludes from its Table 1 and Figure 4."""
    claims = []
    for role in PAPER_ROLES:
        for other in (*BEATEN, *([GRADIENTS] if role == "videomae" else [])):
            for direction in DIRECTIONS:
                mine, its = (_areas(found, label, role, direction) for label in (OURS, other))
                text = f"{ROLES[role].title}: the {direction} area of VTCD is {BETTER[direction]} "
                text += f"than that of “{other}”."
                claims.append(compare(text, mine, its, 3, lower=direction == "positive"))
    return claims


def draw(found: Found, path: Path) -> None:
    """Draw the curves of both models, positive above, negative below, seeds averaged."""
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
                lines = [np.interp(grid, one.fractions, one.scores[way]) for one in curves]
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
