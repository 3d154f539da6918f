"""How few forwards a ranking takes, on games whose effects are known.

Beside the games of `bench_importance.py`: units that back each other up, and a random network,
which bends. Where a game has a gradient the default is measured with its prior too, whose
gradients count as 3 forwards each. `bench_few_forwards_models.py` is the same of models.
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
from vtcd_ops.importance.priors import random_strengths
from vtcd_ops.ops import cris_sample

matplotlib.use("svg")
import matplotlib.pyplot as plt

UNITS, SEEDS = 100, 2
COUNTS = (8, 16, 32, 64, 128, 250, 500, 1000, 2000, 4000)  # forwards
MOST_GRADIENTS = 64  # of the default
OF_GRADIENT, STEPS = 3, 8  # forwards that a gradient counts for; of integrated gradients
GOALS = ((250, 4000), (32, 500))  # the default with the first reaches equation 6 with the second
IMAGES = Path(__file__).parents[1] / "docs/images"
TREES = (128, 250)  # forwards from which trees are tried, where the default takes none yet
NAMES = {
    "removed": "equation 6", "former": "former default: ridge without a prior",
    "gradient": "gradient", "integrated": "integrated gradients (8)",
    "mean_mask": "former default: one gradient, at the mean mask",
    "strengths": "the default's gradients alone", "default": "default",
    "antithetic": "antithetic pairs, regression", "trees": "trees",
}  # fmt: skip


def gradients_and_masks(count: int) -> tuple[int, int]:
    """What the default makes of a number of forwards: as many gradients as masks, at most 64.

    >>> gradients_and_masks(8), gradients_and_masks(1000)
    ((2, 2), (64, 808))
    """
    number = min(count // (OF_GRADIENT + 1), MOST_GRADIENTS)
    return number, count - OF_GRADIENT * number


#: Correlation by method and forwards.
Found = dict[tuple[str, int], float]


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


def correlations(game: Game, seed: int) -> Found:
    """Spearman correlation with the true effects, by method and number of forwards."""
    found: Found = {}

    def put(name: str, count: int, value: Any) -> None:
        found[name, count] = spearman(np.nan_to_num(np.asarray(value)), game.truth)

    priors: dict[int, torch.Tensor] = {}
    if game.gradient is not None:
        for count in COUNTS:
            number = gradients_and_masks(count)[0]
            kept, weights = random_strengths(number, UNITS, 0.5, seed)
            prior = (weights * game.gradient(1 - kept)).sum(axis=0)
            priors[count] = torch.from_numpy(prior[None])
            put("strengths", count, prior)
        at_mean = torch.from_numpy(game.gradient(np.full((1, UNITS), 0.5)))
        middles = ((np.arange(STEPS) + 0.5) / STEPS)[:, None] * np.ones(UNITS)
        alone = {
            ("gradient", OF_GRADIENT): game.gradient(np.zeros((1, UNITS)))[0],
            ("integrated", OF_GRADIENT * STEPS): game.gradient(middles).mean(0),
        }
        for (name, cost), value in alone.items():
            for count in (count for count in COUNTS if count >= cost):
                put(name, count, value)
    rng = np.random.default_rng(seed)
    asked: dict[str, Any] = {"num_units": UNITS, "ratio": 0.5, "seed": seed, "errors": False}
    for design in ("simple", "antithetic"):
        keep = cris_sample(UNITS, COUNTS[-1], 0.5, seed, design=design)
        scores = torch.from_numpy(-game.drops((~keep).double().numpy(), rng))[None]
        asked["design"] = design
        for count in COUNTS:
            of = {
                name: estimate(scores[:, :count], estimator=name, **asked).value
                for name in ("removed", "regression")
                if design == "simple" or name == "regression"
            }
            if design == "antithetic":
                put("antithetic", count, of["regression"])
                continue
            put("removed", count, of["removed"])
            put("former", count, of["regression"])
            prior = priors.get(count)
            masks = count if prior is None else gradients_and_masks(count)[1]
            rest = scores[:, :masks]
            put("default", count, estimate(rest, prior=prior, **asked).value)
            if prior is not None:
                rest_of_one = scores[:, : count - OF_GRADIENT]
                put("mean_mask", count, estimate(rest_of_one, prior=at_mean, **asked).value)
            if count in TREES:
                put("trees", count, estimate(rest, prior=prior, estimator="trees", **asked).value)
    return found


def measure(kind: str) -> Found:
    """Average over games."""
    every = [
        correlations(GAMES[kind](np.random.default_rng(1000 + seed)), seed) for seed in range(SEEDS)
    ]
    return {key: float(np.mean([one[key] for one in every])) for key in every[0]}


def table(found: dict[str, Found], of: str) -> tuple[list[dict[str, Any]], list[Column]]:
    """A row a method of each game or model, and the columns; `of`: what the first one holds."""
    rows = []
    for kind, one in found.items():
        for name in (name for name in NAMES if any(key[0] == name for key in one)):
            row: dict[str, Any] = {of: kind, "method": NAMES[name]}
            for count in COUNTS:
                value = one.get((name, count), float("nan"))
                row[str(count)] = None if np.isnan(value) else value
            for few, many in GOALS:
                row[f"goal_{few}"] = None
                if name == "default" and ("removed", many) in one:
                    reached = one["default", few] >= one["removed", many]
                    row[f"goal_{few}"] = "yes" if reached else "no"
            rows.append(row)
    columns = [Column(of, of), Column("method", "method")]
    columns += [Column(str(count), f"{count:,}", "{:.2f}") for count in COUNTS]
    columns += [Column(f"goal_{few}", f"{few} reach eq. 6's {many:,}") for few, many in GOALS]
    return rows, columns


def draw(found: dict[str, Found], image: str, across: int) -> None:
    """Draw correlation against forwards, a panel a game or model."""
    plt.rcParams.update({"svg.hashsalt": "few", "svg.fonttype": "none", "font.size": 8})
    down = -(-len(found) // across)
    shown = [name for name in NAMES if any(name == key for one in found.values() for key, _ in one)]
    columns = 2 if across < 3 else 3
    below = 0.2 * -(-len(shown) // columns) + 0.3  # inches
    height = 2.3 * down + below
    figure, axes = plt.subplots(
        down, across, figsize=(3.2 * across, height), sharex=True, sharey=True, squeeze=False
    )
    for panel, (kind, one) in zip(axes.ravel(), found.items(), strict=False):
        for number, name in enumerate(shown):
            label = NAMES[name]
            counts = [count for count in COUNTS if np.isfinite(one.get((name, count), np.nan))]
            values = [one[name, count] for count in counts]
            style = {"marker": ".", "color": f"C{number}", "label": label}
            panel.semilogx(counts, values, **style, linewidth=2.2 if name == "default" else 1)
        panel.set_title(kind)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("forwards of a video")
    for panel in axes[:, 0]:
        panel.set_ylabel("Spearman")
    lines = {line.get_label(): line for panel in axes.ravel() for line in panel.get_lines()}
    names = [NAMES[name] for name in shown]
    figure.legend([lines[name] for name in names], names, loc="lower center", ncols=columns,
                  frameon=False)  # fmt: skip
    figure.tight_layout(rect=(0, below / height, 1, 1))
    figure.savefig(IMAGES / image, metadata={"Date": None})


def main() -> None:
    found = {}
    with threads(1):
        for kind in GAMES:
            found[kind] = measure(kind)
            print(kind, {f"{name} {count}": round(x, 2) for (name, count), x in found[kind].items()
                         if count in (32, 250, 500, 4000)}, flush=True)  # fmt: skip
    draw(found, "few_forwards.svg", 3)
    rows, columns = table(found, "game")
    write(
        "few_forwards",
        rows,
        columns,
        note=f"Spearman correlation with the true effects of {UNITS} units, mean over {SEEDS} "
        "random games, by forwards of a video; half of all units removed; one video. Of games with "
        f"a gradient the default takes as many as masks, at most {MOST_GRADIENTS}, counted as "
        f"{OF_GRADIENT} forwards each.",
    )


if __name__ == "__main__":
    main()
