"""Effects read off boosted trees against every set of units, and what trees are for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapiq
import torch
from scipy.stats import spearmanr

from vtcd_ops.estimates.estimators import estimate
from vtcd_ops.estimates.tree_proxy import fit_trees, tree_effects
from vtcd_ops.ops import cris_sample

U = 8


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_effects_of_trees_are_exact(share: float) -> None:
    """By enumeration: all 2^8 sets, of which each unit is removed with a probability."""
    rng = np.random.default_rng(0)
    seen = rng.random((400, U)) < 0.5
    drops = 3.0 * (seen[:, 0] & seen[:, 1]) + seen[:, 2] + 0.1 * rng.standard_normal(400)
    trees = fit_trees(seen, drops)
    every = np.array(list(itertools.product([False, True], repeat=U)))
    value = trees.predict(every.astype(np.float32))
    chance = np.where(every, share, 1 - share)
    expected = np.zeros(U)
    for unit in range(U):
        others = np.delete(chance, unit, axis=1).prod(axis=1)  # twice each set of the others
        expected[unit] = (np.where(every[:, unit], value, -value) * others).sum()
    np.testing.assert_allclose(tree_effects(trees, U, share), expected, atol=1e-9)


def test_effects_of_trees_are_shapiqs_banzhaf_values() -> None:
    """Of the trees as a game, exactly; and of a game that trees and the rest are to find."""
    rng = np.random.default_rng(1)
    table = rng.standard_normal(2**U)

    def game(removed: np.ndarray) -> np.ndarray:
        return table[removed.astype(int) @ (1 << np.arange(U))]

    every = np.array(list(itertools.product([False, True], repeat=U)))
    trees = fit_trees(every, game(every))
    of_trees = shapiq.ExactComputer(
        game=lambda removed: trees.predict(np.atleast_2d(removed).astype(np.float32)), n_players=U
    )
    exact = of_trees("BV", 1).get_n_order_values(1)
    np.testing.assert_allclose(tree_effects(trees, U, 0.5), exact, atol=1e-9)
    wanted = shapiq.ExactComputer(game=game, n_players=U)("BV", 1).get_n_order_values(1)
    padded = 40  # units that do nothing: each mask then removes any number of the eight
    keep = cris_sample(padded, 1500, 0.5, 2).numpy()
    scores = torch.from_numpy(-game(~keep[:, :U])[None])
    for name in ("difference", "trees"):
        found = estimate(scores, num_units=padded, ratio=0.5, seed=2, estimator=name)
        wrong = found.value.numpy()[:U] - wanted
        assert (np.abs(wrong) < 4 * found.stderr_masks.numpy()[:U] + 0.02).all()


def redundant(removed: np.ndarray) -> np.ndarray:
    """A drop where all three units of a group are gone, groups of different weight."""
    groups = removed[:, :30].reshape(len(removed), 10, 3).all(axis=2)
    return groups @ np.linspace(1, 4, 10)


def test_auto_takes_trees_for_units_that_back_each_other_up() -> None:
    keep = cris_sample(40, 1000, 0.5, 3).numpy()
    scores = torch.from_numpy(-redundant(~keep)[None])
    truth = np.concatenate([np.repeat(np.linspace(1, 4, 10), 3), np.zeros(10)])
    asked = {"num_units": 40, "ratio": 0.5, "seed": 3}
    found = {name: estimate(scores, estimator=name, **asked) for name in ("auto", "regression")}
    assert found["auto"].estimator == "trees"
    assert found["auto"].r2 > found["regression"].r2 + 0.02
    of = {name: spearmanr(one.value, truth)[0] for name, one in found.items()}
    assert of["auto"] > of["regression"]
    # The others of a group are both gone in a quarter of the masks. Masks remove 20 units each, so
    # that what all effects have in common is not seen.
    value, expected = found["auto"].value.numpy(), truth / 4
    wrong = np.abs(value - value.mean() - expected + expected.mean())
    assert np.median(wrong / found["auto"].stderr_masks.numpy()) < 1
    again = estimate(scores, estimator="auto", **asked)
    assert torch.equal(again.value, found["auto"].value)


def test_auto_takes_no_trees_where_effects_add_up() -> None:
    keep = cris_sample(20, 600, 0.5, 3).numpy()
    rng = np.random.default_rng(0)
    scores = keep @ rng.standard_normal(20) + 2 * rng.standard_normal(600)
    found = estimate(torch.from_numpy(scores[None]), num_units=20, ratio=0.5, seed=3)
    assert found.estimator == "regression"
