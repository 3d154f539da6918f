"""How many masks a ranking needs: estimators and designs on models whose effects are known.

Every model is a function of what is removed. Its true ranking is that of the mean drop given that a
unit is removed, what equation 6 of the paper estimates: known in closed form for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _harness import Column, threads, write

from vtcd_ops.estimates.mask_fits import AdditiveModel
from vtcd_ops.estimates.mask_means import means
from vtcd_ops.estimates.mask_scores import MaskScores, spearman
from vtcd_ops.ops import cris_sample

RATIO, OFFSET = 0.5, 20.0
COUNTS = (250, 500, 1000, 2000, 4000)
SEEDS = {100: 6, 800: 2}
MEANS = ("removed", "kept", "difference", "kept_sum")
DESIGNS = ("simple", "antithetic", "balanced")


@dataclass(frozen=True)
class Model:
    """Drops of the metric under masks, and the true importance."""

    drops: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # removed [M, U] -> [V, M]
    truth: np.ndarray  # [U]


def additive(units: int, noise: float, random: np.random.Generator) -> Model:
    """Heavy-tailed effects that add up, and noise of a share of the variance."""
    effects = random.standard_t(3, units)
    scale = np.sqrt((effects - effects.mean()) @ effects * 0.25)
    spread = scale * np.sqrt(noise / (1 - noise))
    return Model(
        lambda removed, rng: (removed @ effects + spread * rng.standard_normal(len(removed)))[None],
        effects,
    )


def interacting(units: int, share: float, random: np.random.Generator) -> Model:
    """Effects, and pairs of units whose joint removal does something of its own.

    `share` is that of the pairs' own variance, without what of it is additive.
    """
    effects = random.standard_normal(units)
    first, second = random.integers(0, units, (2, 10 * units))
    second = np.where(first == second, (second + 1) % units, second)
    weights = random.standard_normal(10 * units)
    # In signs s = 2 removed - 1 a pair is (1 + s_i + s_j + s_i s_j) / 4.
    spread = np.sqrt((weights**2).sum()) / 4
    weights *= np.sqrt(share / (1 - share)) * np.sqrt((effects**2).sum()) / 2 / spread
    own = effects.copy()
    np.add.at(own, first, -weights / 2)
    np.add.at(own, second, -weights / 2)  # so that additively a pair does nothing
    count = np.floor(RATIO * units + 0.5)
    both = (count - 1) / (units - 1)  # another unit is removed, given that one is
    neither = both * (count - 2) / (units - 2)
    truth = own * (1 - both)
    np.add.at(truth, first, weights * (both - neither))
    np.add.at(truth, second, weights * (both - neither))

    table = np.zeros((units, units))
    np.add.at(table, (first, second), weights)

    def drops(removed: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return (removed @ own + ((removed @ table) * removed).sum(1))[None]

    return Model(drops, truth)


def accuracy(units: int, random: np.random.Generator) -> Model:
    """Ten videos, each classified rightly or not: a threshold on effects that add up."""
    effects = np.abs(random.standard_t(3, units))
    scale = np.sqrt((effects - effects.mean()) @ effects * 0.25)
    levels = effects.sum() * RATIO + scale * np.linspace(-1.5, 1.5, 10)

    def drops(removed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        evidence = removed @ effects
        noise = 0.5 * scale * rng.standard_normal((10, len(removed)))
        return (evidence + noise > levels[:, None]).astype(float)

    return Model(drops, effects)


MODELS: dict[str, Callable[[int, np.random.Generator], Model]] = {
    "additive": lambda units, random: additive(units, 0.0, random),
    "additive, 15 % noise": lambda units, random: additive(units, 0.15, random),
    "additive, 70 % noise": lambda units, random: additive(units, 0.7, random),
    "15 % pairs": lambda units, random: interacting(units, 0.15, random),
    "70 % pairs": lambda units, random: interacting(units, 0.7, random),
    "0/1": accuracy,
}


def correlations(model: Model, units: int, design: str, seed: int) -> dict[tuple[str, int], float]:
    """Spearman correlation with the truth, by estimator and number of masks; R² under "r2"."""
    rng = np.random.default_rng(seed)
    keep = cris_sample(units, COUNTS[-1], RATIO, seed, design=design).numpy()
    drops = model.drops((~keep).astype(np.float64), rng)
    level = OFFSET * drops.mean(0).std()
    videos = len(drops)
    found = {}
    for count in COUNTS:
        data = MaskScores(
            drops[:, :count], np.full(videos, level), np.ones((videos, units), bool), RATIO, seed,
            design,
        )  # fmt: skip
        every = np.ones(count, dtype=bool)
        for name in MEANS:
            found[name, count] = spearman(means(data, name, every).mean(0), model.truth)
        fits = AdditiveModel(data)
        found["r2", count] = fits.held_out_r2()
        fitted = fits.by_video("regression", every).mean(0)
        found["regression", count] = spearman(fitted, model.truth)
        chosen = "regression" if found["r2", count] > 0 else "difference"
        found["auto", count] = found[chosen, count]
    return found


def measure_model(kind: str, units: int) -> dict[tuple[str, str, int], float]:
    """Average over models and masks: by design, estimator, number of masks."""
    results: dict[tuple[str, str, int], list[float]] = {}
    for seed in range(SEEDS[units]):
        model = MODELS[kind](units, np.random.default_rng(1000 + seed))
        for design in DESIGNS:
            for (name, count), value in correlations(model, units, design, seed).items():
                results.setdefault((design, name, count), []).append(value)
    return {key: float(np.mean(values)) for key, values in results.items()}


def row(kind: str, units: int, found: dict[tuple[str, str, int], float]) -> dict[str, Any]:
    """What the table shows of one model and one number of units."""
    return {
        "model": kind,
        "units": units,
        "r2": found["simple", "r2", 4000],
        "removed_1000": found["simple", "removed", 1000],
        "removed_4000": found["simple", "removed", 4000],
        "auto_1000": found["simple", "auto", 1000],
        "auto_4000": found["simple", "auto", 4000],
        "antithetic_1000": found["antithetic", "regression", 1000],
        "antithetic_4000": found["antithetic", "regression", 4000],
        "kept_sum_4000": found["simple", "kept_sum", 4000],
    }


def main() -> None:
    curves: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    gaps = []
    with threads(1):
        for units in SEEDS:
            for kind in MODELS:
                found = measure_model(kind, units)
                print(kind, units, flush=True)
                for design in DESIGNS:
                    for name in (*MEANS, "regression", "auto"):
                        scores = {f"m{m}": found[design, name, m] for m in COUNTS}
                        curves.append(
                            {"model": kind, "units": units, "design": design, "estimator": name}
                            | scores
                        )
                gaps += [found["simple", "auto", m] - found["simple", "removed", m] for m in COUNTS]
                rows.append(row(kind, units, found))
    torch.set_num_threads(2)
    about = (
        f"Spearman correlation with the true ranking, mean over {SEEDS[100]} random models of 100 "
        f"units and {SEEDS[800]} of 800; half of all units removed; an offset of {OFFSET:.0f} "
        "standard deviations in the metric."
    )
    write(
        "importance",
        rows,
        [
            Column("model", "drop of the metric"),
            Column("units", "U"),
            Column("r2", "held-out R²", "{:.2f}"),
            Column("removed_1000", "eq. 6, 1,000 masks", "{:.3f}"),
            Column("removed_4000", "eq. 6, 4,000", "{:.3f}"),
            Column("auto_1000", "default, 1,000", "{:.3f}"),
            Column("auto_4000", "default, 4,000", "{:.3f}"),
            Column("antithetic_1000", "antithetic regression, 1,000", "{:.3f}"),
            Column("antithetic_4000", "antithetic regression, 4,000", "{:.3f}"),
            Column("kept_sum_4000", "kept_sum, 4,000", "{:.3f}"),
        ],
        note=f"{about} R² is that of 4,000 masks. At equal numbers of masks (250 to 4,000) the "
        f"default is between {min(gaps):+.4f} and {max(gaps):+.4f} above equation 6.",
        details={"default_minus_equation_6": gaps},
    )
    write(
        "importance_curves",
        curves,
        [
            Column("model", "drop of the metric"),
            Column("units", "U"),
            Column("design", "design"),
            Column("estimator", "estimator"),
            *(Column(f"m{m}", f"{m:,} masks", "{:.3f}") for m in COUNTS),
        ],
        note=about,
    )


if __name__ == "__main__":
    main()
