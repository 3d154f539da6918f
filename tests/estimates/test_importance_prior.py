"""Masks of each video's own, and regressions shrunk towards a prior, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from vtcd_ops.common.errors import InputError
from vtcd_ops.estimates.estimators import ESTIMATORS, estimate
from vtcd_ops.estimates.mask_seeds import mask_seed
from vtcd_ops.ops import cris_sample

U = 24


def splitmix64(state: int) -> int:
    """The next number of the generator, written out from the paper."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_a_videos_seed_is_a_step_of_splitmix64() -> None:
    """Seed s of content c is step s of the generator that starts at c: all bits but the last."""
    content = "0123456789abcdef" + "7" * 48
    start = int(content[:16], 16)
    for seed in (1, 2, 5, 2**31 - 1):
        state = (start + (seed - 1) * 0x9E3779B97F4A7C15) % 2**64
        assert mask_seed(seed, content) == splitmix64(state) >> 1
    many = {mask_seed(seed, f"{video:016x}") for seed in range(40) for video in range(40)}
    assert len(many) == 1600
    assert max(many) < 2**63


def problem(seeds: list[int], masks: int, noise: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Scores of videos whose effects differ somewhat, each under its own masks."""
    rng = np.random.default_rng(7)
    common = rng.standard_normal(U)
    effects = common + 0.5 * rng.standard_normal((len(seeds), U))
    keep = np.stack([cris_sample(U, masks, 0.5, seed).numpy() for seed in seeds])
    scores = np.einsum("vu,vmu->vm", effects, keep)
    scores += noise * rng.standard_normal(scores.shape)
    asked = {"scores": torch.from_numpy(scores), "seed": torch.tensor(seeds)}
    return effects, asked | {"num_units": U, "ratio": 0.5, "baseline": torch.tensor(effects.sum(1))}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_videos_are_estimated_from_their_own_masks(name: str) -> None:
    """With one penalty given by one video, each is what it is alone; then they are averaged."""
    _, asked = problem([11, 22, 33], 80, 1.0)
    found = estimate(**asked, estimator=name)
    order = [2, 0, 1]
    again = {
        key: asked[key][order] if key in ("scores", "seed", "baseline") else asked[key]
        for key in asked
    }
    np.testing.assert_allclose(estimate(**again, estimator=name).value, found.value, atol=1e-12)
    if name in ("removed", "kept", "difference", "kept_sum"):
        alone = [
            estimate(
                asked["scores"][v : v + 1], num_units=U, ratio=0.5, seed=int(asked["seed"][v]),
                baseline=asked["baseline"][v : v + 1], estimator=name,
            ).value
            for v in range(3)
        ]  # fmt: skip
        np.testing.assert_allclose(torch.stack(alone).mean(0), found.value, atol=1e-12)


def test_own_masks_average_out() -> None:
    """Twelve videos: the ranking is better than under masks that they share, as errors are."""
    seeds = list(range(100, 112))
    effects, own = problem(seeds, 60, 2.0)
    _, shared = problem([5] * 12, 60, 2.0)
    truth = effects.mean(0)
    errors = {}
    for name, asked in (("own", own), ("shared", shared)):
        found = estimate(**asked, estimator="difference")
        errors[name] = float(found.stderr_masks.mean())
        errors[f"{name} measured"] = float(np.std(found.value.numpy() - truth))
    assert errors["own"] < 0.6 * errors["shared"]
    assert errors["own measured"] < 0.8 * errors["shared measured"]


def by_hand(asked: dict[str, Any], prior: np.ndarray) -> np.ndarray:
    """Ridge around a scaled prior: scikit-learn's Ridge, penalty by minimising the criterion."""
    centred = []
    for v, seed in enumerate(asked["seed"].tolist()):
        x = (~cris_sample(U, asked["scores"].shape[1], 0.5, seed).numpy()).astype(float)
        y = -asked["scores"][v].numpy()
        x, y = x - x.mean(0), y - y.mean()
        foretold = x @ prior[v]
        scale = max(float(foretold @ y / (foretold @ foretold)), 0.0)
        centred.append((x, y - scale * foretold, scale))

    def criterion(log_penalty: float) -> float:
        total = 0.0
        for x, y, _ in centred:
            hat = x @ np.linalg.solve(x.T @ x + 10**log_penalty * np.eye(U), x.T)
            freedom = len(y) - 1 - np.trace(hat)
            total += float(np.log(((y - hat @ y) ** 2).sum() / freedom**2))
        return total

    coarse = min(np.linspace(-3, 4, 71), key=criterion)
    fine = minimize_scalar(criterion, bounds=(coarse - 0.1, coarse + 0.1), method="bounded").x
    fits = [
        Ridge(alpha=10**fine, fit_intercept=False).fit(x, y).coef_ + scale * prior[v]
        for v, (x, y, scale) in enumerate(centred)
    ]
    return np.mean(fits, axis=0)


def test_shrinkage_is_ridge_around_the_scaled_prior() -> None:
    effects, asked = problem([3, 4, 5, 6], 40, 3.0)
    rng = np.random.default_rng(1)
    prior = 7.0 * (effects + 0.5 * rng.standard_normal(effects.shape))
    prior[3] *= -1  # of a wrong sign: nothing of it is taken
    found = estimate(**asked, prior=torch.from_numpy(prior), estimator="shrinkage")
    expected = by_hand(asked, prior)
    # the penalties that are tried are a quarter of a decade apart
    np.testing.assert_allclose(found.value, expected, atol=0.03 * np.abs(expected).max())
    huge = estimate(**asked, prior=torch.from_numpy(prior * 1e200), estimator="shrinkage")
    np.testing.assert_allclose(huge.value, found.value, rtol=1e-9)


@pytest.mark.parametrize("quality", ["good", "useless", "none"])
def test_auto_takes_a_prior_that_predicts(quality: str) -> None:
    """Few masks: a good prior helps much, a useless one hurts hardly."""
    seeds = [1, 2, 3, 4, 5, 6]
    effects, asked = problem(seeds, 30, 6.0)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(effects.shape)
    given = {"good": effects + 0.5 * noise, "useless": noise, "none": np.zeros_like(noise)}
    found = estimate(**asked, prior=torch.from_numpy(given[quality]))
    plain = estimate(**asked)
    of = [spearmanr(one.value, effects.mean(0))[0] for one in (found, plain)]
    if quality == "good":
        assert found.estimator == "prior"  # thirty masks of thirty units do not mend it
        assert of[0] > of[1] + 0.1
    if quality == "useless":
        assert of[0] > of[1] - 0.1
    if quality == "none":
        assert found == plain
    assert found.reliability == pytest.approx(plain.reliability, abs=0.2)


def test_a_prior_that_does_not_fit() -> None:
    _, asked = problem([1, 2], 30, 1.0)
    with pytest.raises(InputError, match=r"prior expected finite \[2, 24\], got \[2, 3\]"):
        estimate(**asked, prior=torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"prior expected finite \[2, 24\], got .* with NaN"):
        estimate(**asked, prior=torch.full((2, U), float("nan")))
    with pytest.raises(InputError, match=r"seed expected a whole number or int64 \[2\], got int64"):
        estimate(**asked | {"seed": torch.tensor([1, 2, 3])})


def test_the_error_bar_of_shrinkage_is_its_spread() -> None:
    rng = np.random.default_rng(0)
    effects = rng.standard_normal(U)
    prior = torch.from_numpy((effects + 0.3 * rng.standard_normal(U))[None])
    values, errors = [], []
    for seed in range(60):
        keep = cris_sample(U, 100, 0.5, seed).numpy()
        scores = torch.from_numpy((keep @ effects + rng.standard_normal(100))[None])
        found = estimate(
            scores, num_units=U, ratio=0.5, seed=seed, prior=prior, estimator="shrinkage"
        )
        values.append(found.value.numpy())
        errors.append(found.stderr_masks.numpy())
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0, ddof=1)
    assert 0.75 < ratio.mean() < 1.35
