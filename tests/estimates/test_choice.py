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
        assert found.estimator == "shrinkage"
        correlations.append(spearmanr(found.value, TRUTH)[0])
    assert np.median(correlations) > 0.9  # its scale may be found to be 0


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
    assert found.estimator == "shrinkage"
    assert spearmanr(found.value, TRUTH)[0] > 0.97  # trees: .9
