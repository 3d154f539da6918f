"""What `auto` settles on: a prior is not dropped by chance, trees are not taken for prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from vtcd_ops.estimates.estimators import estimate
from vtcd_ops.ops import cris_sample

U = 60


def triples(removed: np.ndarray) -> np.ndarray:
    """A drop where all three units of a group are gone, groups of different weight."""
    return removed.reshape(len(removed), U // 3, 3).all(axis=2) @ np.linspace(1, 4, U // 3)


TRUTH = np.repeat(np.linspace(1, 4, U // 3), 3) / 4  # its Banzhaf values


@pytest.mark.parametrize("masks", [24, 40])
def test_few_masks_do_not_drop_a_prior_by_chance(masks: int) -> None:
    """The prior is right; held-out masks of so few say now this, now that."""
    prior = torch.from_numpy(TRUTH[None])
    correlations = []
    for seed in range(8):
        keep = cris_sample(U, masks, 0.5, seed).numpy()
        scores = torch.from_numpy(-triples(~keep)[None])
        found = estimate(scores, num_units=U, ratio=0.5, seed=seed, prior=prior, errors=False)
        assert found.estimator == "prior"
        correlations.append(spearmanr(found.value, TRUTH)[0])
    assert min(correlations) > 0.99


def test_a_prior_that_foretells_wrongly_is_dropped() -> None:
    """One that the first videos' scale takes for good, and other masks do not bear out."""
    keep = cris_sample(U, 400, 0.5, 3).numpy()
    rng = np.random.default_rng(0)
    effects = rng.standard_normal(U)
    scores = torch.from_numpy((keep @ effects)[None])
    useless = effects + 40 * rng.standard_normal(U)
    found = estimate(scores, num_units=U, ratio=0.5, seed=3, prior=torch.from_numpy(useless[None]))
    np.testing.assert_allclose(found.value - found.value.mean(), effects - effects.mean(), atol=0.1)


def test_trees_do_not_take_the_place_of_a_prior_that_is_right() -> None:
    """They foretell masks better, since they know of groups; its effects are exact already."""
    keep = cris_sample(U, 700, 0.5, 3).numpy()
    scores = torch.from_numpy(-triples(~keep)[None])
    asked = {"num_units": U, "ratio": 0.5, "seed": 3, "errors": False}
    prior = torch.from_numpy(TRUTH[None])
    found = estimate(scores, prior=prior, **asked)
    assert found.estimator == "prior"
    assert spearmanr(found.value, TRUTH)[0] > 0.99  # trees: .9


@pytest.mark.parametrize(("noise", "estimator"), [(0.02, "prior"), (2.0, "shrinkage")])
def test_masks_mend_a_prior_only_where_they_tell_more(noise: float, estimator: str) -> None:
    """A good prior is left alone by masks that are noisier than it, a poor one is not."""
    rng = np.random.default_rng(1)
    effects = rng.standard_normal(U)
    keep = cris_sample(U, 300, 0.5, 3).numpy()
    scores = torch.from_numpy((keep @ effects + 2.0 * rng.standard_normal(300))[None])
    prior = effects + noise * rng.standard_normal(U)
    asked = {"num_units": U, "ratio": 0.5, "seed": 3, "prior": torch.from_numpy(prior[None])}
    found = estimate(scores, **asked)
    assert found.estimator == estimator
    others = [estimate(scores, **asked, estimator=name) for name in ("prior", "shrinkage")]
    right = [spearmanr(one.value, effects)[0] for one in (found, *others)]
    assert right[0] == max(right)
    assert found.stderr_masks.isfinite().all()


def test_the_prior_alone_is_its_mean_over_the_videos() -> None:
    """In the unit of the scores, whatever their size, and whatever the masks say."""
    rng = np.random.default_rng(2)
    prior = rng.standard_normal((3, U))
    present = rng.random((3, U)) < 0.7
    present[0] |= ~present.any(axis=0)
    scores = torch.from_numpy(rng.standard_normal((3, 40)))
    expected = np.array([prior[present[:, unit], unit].mean() for unit in range(U)])
    for size in (1.0, 1e-30, 1e30):
        found = estimate(
            size * scores, num_units=U, ratio=0.5, seed=0, present=torch.from_numpy(present),
            prior=torch.from_numpy(size * prior), estimator="prior",
        )  # fmt: skip
        np.testing.assert_allclose(found.value, size * expected, rtol=1e-12)
