"""How few forwards a ranking takes: equation 6 and the default on games whose effects are known.

Beside the games of `bench_importance.py`: units that back each other up, and a random network,
which bends. Where a game has a gradient the default is measured with its prior too,
one gradient, which counts as 3 forwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from _harness import Column, threads, write
from bench_importance import MODELS

from vtcd_ops.estimates.estimators import estimate
from vtcd_ops.estimates.mask_scores import spearman
from vtcd_ops.ops import cris_sample

matplotlib.use("svg")
import matplotlib.pyplot as plt

UNITS, SEEDS = 100, 2
COUNTS = (32, 250, 500, 4000)  # forwards
FORWARDS_OF_PRIOR = 3  # a gradient takes 1.6 to 2.9 on the miniatures
GOALS = ((250, 4000), (32, 500))  # the default with the first reaches equation 6 with the second
IMAGE = Path(__file__).parents[1] / "docs/images/few_forwards.svg"
NAMES = {
    "removed": "equation 6", "regression": "regression", "auto": "default, no gradient",
    "prior": "default",
}  # fmt: skip


@dataclass(frozen=True)
class Game:
    """Drops under masks, the gradient of the score by what is kept, and the true effects."""

    drops: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # removed [M, U] -> [M]
    gradient: Callable[[np.ndarray], np.ndarray] | None  # removed [M, U] -> [M, U]
    truth: np.ndarray


def known(kind: str, random: np.random.Generator) -> Game:
    """A game of `bench_importance.py`; of several videos the mean drop, as far as they share it."""
    model = MODELS[kind](UNITS, random)
    return Game(lambda removed, rng: model.drops(removed, rng).mean(0), None, model.truth)


def redundant(random: np.random.Generator) -> Game:
    """A drop where all three units of a group are gone, and little where fewer are."""
    weights = np.abs(random.standard_t(3, UNITS // 3))
    members = random.permutation(UNITS)[: 3 * len(weights)].reshape(-1, 3)

    def drops(removed: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return removed[:, members].prod(2) @ weights

    def gradient(removed: np.ndarray) -> np.ndarray:
        found = np.zeros_like(removed)
        for place in range(3):
            others = np.delete(members, place, axis=1)
            found[:, members[:, place]] = removed[:, others].prod(2) * weights
        return found

    truth = np.zeros(UNITS)
    truth[members] = weights[:, None]
    return Game(drops, gradient, truth)


def network(random: np.random.Generator) -> Game:
    """The drop of a random network of two layers, whose units saturate."""
    first = random.standard_t(3, (UNITS, 48)) * (random.random((UNITS, 48)) < 0.2)
    second = random.standard_normal(48)
    level = first.sum(0) / 2

    def hidden(removed: np.ndarray) -> np.ndarray:
        return np.tanh(((1 - removed) @ first - level) / 2)

    def drops(removed: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return -hidden(removed) @ second

    def gradient(removed: np.ndarray) -> np.ndarray:
        return ((1 - hidden(removed) ** 2) / 2 * second) @ first.T

    masks = (~cris_sample(UNITS, 1500, 0.5, 12345).numpy()).astype(float)
    truth = np.zeros(UNITS)
    for unit in range(UNITS):
        with_, without = masks.copy(), masks.copy()
        with_[:, unit], without[:, unit] = 0, 1
        truth[unit] = (drops(without, random) - drops(with_, random)).mean()
    return Game(drops, gradient, truth)


GAMES: dict[str, Callable[[np.random.Generator], Game]] = {
    **{
        kind: lambda random, kind=kind: known(kind, random)
        for kind in ("additive, 15 % noise", "15 % pairs", "70 % pairs", "0/1")
    },
    "redundant triples": redundant,
    "random network": network,
}


def correlations(game: Game, seed: int) -> dict[tuple[str, int], float]:
    """Spearman correlation with the true effects, by estimator and number of forwards."""
    rng = np.random.default_rng(seed)
    keep = cris_sample(UNITS, COUNTS[-1], 0.5, seed)
    scores = torch.from_numpy(-game.drops((~keep).double().numpy(), rng))[None]
    asked: dict[str, Any] = {"num_units": UNITS, "ratio": 0.5, "seed": seed, "errors": False}
    prior = None
    if game.gradient is not None:
        prior = torch.from_numpy(game.gradient(np.full((1, UNITS), 0.5)))
    found = {}
    for count in COUNTS:
        for name in ("removed", "regression", "auto"):
            value = estimate(scores[:, :count], estimator=name, **asked).value.numpy()
            found[name, count] = spearman(np.nan_to_num(value), game.truth)
        if prior is not None:
            rest = scores[:, : count - FORWARDS_OF_PRIOR]
            value = estimate(rest, prior=prior, **asked).value.numpy()
            found["prior", count] = spearman(np.nan_to_num(value), game.truth)
    return found


def measure(kind: str) -> dict[tuple[str, int], float]:
    """Average over games."""
    every = [
        correlations(GAMES[kind](np.random.default_rng(1000 + seed)), seed) for seed in range(SEEDS)
    ]
    return {key: float(np.mean([one[key] for one in every])) for key in every[0]}


def draw(found: dict[str, dict[tuple[str, int], float]]) -> None:
    """Draw correlation against forwards, a panel a game."""
    plt.rcParams.update({"svg.hashsalt": "few", "svg.fonttype": "none", "font.size": 8})
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True)
    for panel, (kind, of_game) in zip(axes.ravel(), found.items(), strict=True):
        for number, (name, label) in enumerate(NAMES.items()):
            if (name, COUNTS[0]) in of_game:
                values = [of_game[name, count] for count in COUNTS]
                panel.semilogx(COUNTS, values, marker=".", color=f"C{number}", label=label)
        panel.set_title(kind)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("forwards")
    axes[0, 0].set_ylabel("Spearman")
    axes[1, 0].set_ylabel("Spearman")
    handles, labels = axes[-1, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(IMAGE, metadata={"Date": None})


def main() -> None:
    found, rows = {}, []
    with threads(1):
        for kind in GAMES:
            found[kind] = measure(kind)
            best = "prior" if ("prior", COUNTS[0]) in found[kind] else "auto"
            rows.append(
                {"game": kind, "estimator": NAMES[best]}
                | {f"{name}_{count}": value for (name, count), value in found[kind].items()}
                | {f"best_{count}": found[kind][best, count] for count in COUNTS}
                | {
                    f"goal_{few}": "yes"
                    if found[kind][best, few] >= found[kind]["removed", many]
                    else "no"
                    for few, many in GOALS
                }
            )
            print(rows[-1], flush=True)
    draw(found)
    write(
        "few_forwards",
        rows,
        [
            Column("game", "game"),
            Column("estimator", "measured"),
            *(Column(f"removed_{count}", f"eq. 6, {count:,}", "{:.2f}") for count in COUNTS),
            *(Column(f"best_{count}", f"default, {count:,}", "{:.2f}") for count in COUNTS),
            Column("goal_250", "250 reach eq. 6's 4,000"),
            Column("goal_32", "32 reach its 500"),
        ],
        note=f"Spearman correlation with the true effects of {UNITS} units, mean over {SEEDS} "
        "random games, by forwards; half of all units removed; one video. Of games with a "
        f"gradient the default takes one, counted as {FORWARDS_OF_PRIOR} forwards.",
    )


if __name__ == "__main__":
    main()
