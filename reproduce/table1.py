# SPDX-License-Identifier: MIT
"""Table 1 and Figure 4: which ranking of concepts is the most faithful to the model?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reproduce.models import ROLES
from reproduce.published import TABLE_1
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row
from reproduce.study import Study
from vtcd_ops.curves import Curves

PAPER_ROLES = ("tcow", "videomae")
#: Label of a row: proposals, method of ranking.
METHODS = {
    "Random crops, occlusion": ("random_crops", "occlusion"),
    "Random crops, CRIS": ("random_crops", "cris"),
    "SLIC, CRIS (VTCD)": ("slic", "cris"),
    "SLIC, occlusion": ("slic", "occlusion"),
    "SLIC, gradient x concept": ("slic", "gradient"),
    "SLIC, integrated gradients": ("slic", "integrated_gradients"),
}
RANDOM_ORDER = "SLIC, random order"
DIRECTIONS = ("positive", "negative")
Areas = dict[tuple[str, str, str], list[float]]  #: of (row, role, direction), one a seed


@experiment("table1", roles=PAPER_ROLES)
def table1(study: Study) -> Result:
    """Return the areas below the attribution curves of all methods, and draw the curves."""
    areas: Areas = {}
    figures: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for role in PAPER_ROLES:
        for proposals in ("slic", "random_crops"):
            methods = {
                label: method for label, (kind, method) in METHODS.items() if kind == proposals
            }
            found = [curves_of(study, role, seed, proposals, methods) for seed in study.seeds]
            _add_areas(areas, role, methods, found)
            figures.setdefault(role, []).extend(_lines(methods, found))
    figure = "figure4.svg"
    draw(figures, study.folder / figure)
    labels = [*METHODS, RANDOM_ORDER]
    columns = {
        f"{role}, {direction}": f"{ROLES[role].title}, {direction}"
        for role in PAPER_ROLES
        for direction in DIRECTIONS
    }
    return Result(
        name="table1",
        title="Attribution curves",
        paper="Table 1 and Figure 4",
        unit="area below the curve: positive (most important first), the lower the better; "
        "negative (least important first), the higher the better",
        columns=columns,
        rows=[Row(label, _cells(areas, label)) for label in labels],
        claims=_claims(areas),
        notes=[
            "Gradients are taken of the probability (VideoMAE) or of the soft IoU (TCOW), since "
            "accuracy and IoU are flat; the curves are of accuracy and IoU for all. A random order "
            "has one curve, shown under positive.",
        ],
        figure=figure,
        setting={role: study.setting(role) for role in PAPER_ROLES},
    )


def curves_of(
    study: Study, role: str, seed: int, proposals: str, methods: dict[str, str]
) -> Curves:
    """Rank the concepts of one run by several methods, and follow all orders."""
    run = study.run(role, seed, proposals=proposals)
    names = [study.importance(run, role, seed, method).name for method in methods.values()]
    return study.curves(run, role, names, seed)


def _add_areas(areas: Areas, role: str, methods: dict[str, str], found: list[Curves]) -> None:
    for curves in found:
        names = list(curves.settings["rankings"])
        for label, name in zip(methods, names, strict=True):
            for direction in DIRECTIONS:
                area = curves.area(name, direction)
                areas.setdefault((label, role, direction), []).append(area)
        if "SLIC, CRIS (VTCD)" in methods:
            area = curves.area("random")
            areas.setdefault((RANDOM_ORDER, role, "positive"), []).append(area)


def _cells(areas: Areas, label: str) -> dict[str, Cell]:
    return {
        f"{role}, {direction}": Cell.of(
            areas[label, role, direction], TABLE_1.get((label, role), {}).get(direction)
        )
        for role in PAPER_ROLES
        for direction in DIRECTIONS
        if (label, role, direction) in areas
    }


def _claims(areas: Areas) -> list[Claim]:
    """What the paper concludes from its Table 1 and Figure 4."""
    claims = []
    ours = "SLIC, CRIS (VTCD)"
    for role in PAPER_ROLES:
        for other in ("Random crops, CRIS", "Random crops, occlusion", "SLIC, occlusion"):
            for direction, sign in (("positive", -1), ("negative", 1)):
                mine, its = (
                    float(np.mean(areas[label, role, direction])) for label in (ours, other)
                )
                better = "lower" if sign < 0 else "higher"
                claims.append(
                    Claim(
                        f"{ROLES[role].title}: the {direction} curve of VTCD is {better} than that "
                        f"of “{other}”.",
                        sign * (mine - its) > 0,
                        f"{mine:.3f} against {its:.3f}",
                    )
                )
    return claims


def _lines(
    methods: dict[str, str], found: list[Curves]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Label, fractions [P] and score [2, P] (positive, negative) of every curve, seeds averaged."""
    lines = []
    grid = np.linspace(0, 1, 21)
    for number, label in enumerate(methods):
        both = np.zeros((2, len(grid)))
        for curves in found:
            name = list(curves.settings["rankings"])[number]
            for way, direction in enumerate(DIRECTIONS):
                both[way] += np.interp(grid, curves.fractions, curves.mean(name, direction))
        lines.append((label, grid, both / len(found)))
    return lines


def draw(figures: dict[str, list[tuple[str, np.ndarray, np.ndarray]]], path: Path) -> None:
    """Draw the curves of both models, positive above, negative below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(figures), figsize=(5 * len(figures), 7), squeeze=False)
    for column, (role, lines) in enumerate(figures.items()):
        for way, direction in enumerate(DIRECTIONS):
            axis = axes[way, column]
            for label, fractions, scores in lines:
                width = 2.4 if "VTCD" in label else 1.2
                axis.plot(fractions, scores[way], label=label, linewidth=width)
            axis.set_title(f"{ROLES[role].title}, {direction}")
            axis.set_xlabel("share of the concepts removed")
            axis.set_ylabel(ROLES[role].metric)
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
