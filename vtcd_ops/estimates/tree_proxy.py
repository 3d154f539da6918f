"""Boosted trees fitted to what an additive model leaves of metric drops, and their exact effects.

Units that back each other up do something only together, which no sum over units foretells. Trees
do, and the effect of a unit in a tree is known in closed form, so nothing is sampled to read it
off. As in RegressionMSR (arXiv 2506.11849) the proxy is cross-fitted: each fold of masks is
foretold by fits that have not seen it, and what is still left there is regressed on the removals
again, so that what the trees get wrong is put right as masks grow.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from vtcd_ops.common.errors import InputError
from vtcd_ops.estimates.mask_fits import FOLDS, AdditiveModel, r2_of
from vtcd_ops.estimates.mask_means import block_errors
from vtcd_ops.estimates.mask_scores import MaskScores

__all__ = ["TreeProxy", "fit_trees", "have_trees", "tree_effects"]

_SETTINGS = {
    "max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 16, "min_samples_leaf": 10,
    "l2_regularization": 1.0, "early_stopping": False, "random_state": 0,
}  # fmt: skip


def have_trees() -> bool:
    """Whether scikit-learn, which grows the trees, is installed."""
    return importlib.util.find_spec("sklearn") is not None


def fit_trees(removed: np.ndarray, drops: np.ndarray) -> Any:
    """Fit boosted trees to drops [M] on indicators of removal [M, u], on one thread."""
    if not have_trees():
        raise InputError(
            "estimate: estimator trees needs scikit-learn: pip install 'vtcd-ops[trees]'"
        )
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(**_SETTINGS)
    with threadpool_limits(limits=1):
        return model.fit(removed.astype(np.float32), drops)


def tree_effects(model: Any, num_units: int, share: float) -> np.ndarray:
    """Return the exact effect of removing each unit in an ensemble of trees, float64 [u].

    It is the mean move of the prediction when the unit is removed, over all sets of the others,
    each of which is removed with probability `share`: for a half the Banzhaf value. A leaf adds to
    the units on its way: its value times the probability of the others' conditions, plus where it
    lies behind the unit's removal, minus where it lies behind its being kept.

    Args:
        model: of :func:`fit_trees`.
        num_units: u.
        share: of the units that a mask removes.
    """
    effects = np.zeros(num_units)
    for [tree] in model._predictors:  # no public name reaches the nodes
        nodes = tree.nodes
        open_nodes: list[tuple[int, tuple[tuple[int, bool], ...]]] = [(0, ())]
        while open_nodes:
            index, way = open_nodes.pop()
            node = nodes[index]
            if not node["is_leaf"]:
                unit = int(node["feature_idx"])
                open_nodes.append((int(node["left"]), (*way, (unit, False))))
                open_nodes.append((int(node["right"]), (*way, (unit, True))))
                continue
            count = sum(removed for _, removed in way)
            chance = share**count * (1 - share) ** (len(way) - count)
            for unit, removed in way:
                of_others = chance / (share if removed else share - 1)
                effects[unit] += float(node["value"]) * of_others
    return effects


@dataclass(frozen=True, eq=False)
class TreeProxy:
    """An additive model, trees on the rest, and a regression on what is left then.

    Args:
        data: the scores.
        value: float64 [V, U], NaN where a unit does not occur.
        r2: of held-out masks.
        left: what held-out fits leave of the drops.
    """

    data: MaskScores
    value: np.ndarray
    r2: float
    left: MaskScores

    @classmethod
    def of(cls, model: AdditiveModel) -> TreeProxy:
        """Fit one on top of an additive model."""
        data = model.data
        fold = data.groups(FOLDS)
        predicted = np.full_like(data.drops, np.nan)
        value = np.where(data.present, 0.0, np.nan)
        for videos, units, removed, fits in model.held_out_fits():
            for i, coefficients in fits:  # [u, v]
                used = fold != i
                for row, video in enumerate(videos):
                    drops, said = data.drops[video], removed @ coefficients[:, row]
                    level = float((drops - said)[used].mean())
                    trees = fit_trees(removed[used], (drops - said)[used] - level)
                    more = trees.predict(removed[~used].astype(np.float32))
                    predicted[video, ~used] = said[~used] + level + more
                    share = data.num_removed / data.num_units
                    effects = coefficients[:, row] + tree_effects(trees, len(units), share)
                    value[video, units] += effects / FOLDS
        left = replace(data, drops=np.nan_to_num(data.drops - predicted))
        every = np.ones(data.num_masks, dtype=bool)
        value += AdditiveModel(left).by_video("regression", every)
        return cls(data, value, r2_of(data, predicted), left)

    def errors(self) -> np.ndarray:
        """Standard errors [U] from the masks: of the difference of means of what is left.

        The regression of what is left varies no more than that.
        """
        return block_errors(self.left, "difference")
