"""What the estimator `auto` settles on: a prior, an additive model with it or without, trees."""

from __future__ import annotations

import numpy as np

from vtcd_ops.estimates.mask_fits import FOLDS, AdditiveModel
from vtcd_ops.estimates.mask_scores import MaskScores, average_over_videos
from vtcd_ops.estimates.tree_proxy import TreeProxy, have_trees

__all__ = ["FITTED", "Model", "best_additive", "choose"]

_NAN = float("nan")
FITTED = ("regression", "adjusted", "shrinkage")
_TREE_MASKS = 500  # below, trees find nothing that the regression does not
_TREE_R2 = 0.9  # above, they could find little
_TREE_GAIN = 0.02  # of R², that `auto` takes trees for
_DOUBT = 2.0  # standard errors by which masks are to be predicted better to doubt a prior
_FEW = 30  # masks, below which these errors are not known well enough for that

#: What effects are read from; None: from means.
Model = AdditiveModel | TreeProxy | None


def choose(
    data: MaskScores,
    prior: np.ndarray | None,
    estimator: str,
    *,
    fit: bool,
    trees: bool = True,
) -> tuple[str, Model, float]:
    """Settle what `auto` is: the estimator, what it is read from, and R² on held-out masks.

    Args:
        data: the scores.
        prior: [V, U].
        estimator: what was asked for.
        fit: whether R² is wanted also where the estimator does not need it.
        trees: whether `auto` may be trees.
    """
    if estimator == "trees" and data.num_blocks < 2 * FOLDS:
        estimator = "shrinkage"  # too few masks to grow any
    if estimator in ("shrinkage", "prior") and prior is None:
        estimator = "regression"
    if estimator in ("shrinkage", "trees", "prior"):
        guided = AdditiveModel(data, prior)
        if estimator == "prior":
            r2 = guided.held_out_r2(guided.foretold_predictions()) if fit else _NAN
            return estimator, guided, r2
        if estimator == "trees":
            proxy = TreeProxy.of(guided)
            return estimator, proxy, proxy.r2
        return estimator, guided, guided.held_out_r2() if fit else _NAN
    if estimator != "auto":
        model = AdditiveModel(data) if fit or estimator in FITTED else None
        return estimator, model, model.held_out_r2() if model and fit else _NAN
    name, model, r2 = best_additive(data, prior)
    if (
        trees
        and name != "prior"
        and have_trees()
        and data.num_masks >= _TREE_MASKS
        and r2 < _TREE_R2
    ):
        proxy = TreeProxy.of(model)
        # Predicting masks better is not enough: trees may learn what no unit's effect is made of,
        # and read off with noise what a prior had told exactly.
        if proxy.r2 > r2 + _TREE_GAIN and _stands_out(proxy) >= _stands_out(model):
            return "trees", proxy, proxy.r2
    return name, model, r2


def _stands_out(model: AdditiveModel | TreeProxy) -> float:
    """How far the effects of the units lie apart, in their standard errors."""
    if isinstance(model, TreeProxy):
        by_video, errors = model.value, model.errors()
    else:
        by_video = model.by_video("regression", np.ones(model.data.num_masks, dtype=bool))
        errors = model.jackknife("regression")
    value, _ = average_over_videos(by_video, model.data.present)
    noise = float(np.sqrt(np.nanmean(errors**2)))
    return float(np.nanstd(value)) / noise if noise > 0 else float("inf")


def best_additive(data: MaskScores, prior: np.ndarray | None) -> tuple[str, AdditiveModel, float]:
    """The additive model: with the prior, unless it predicts held-out masks clearly worse.

    It is the prior alone where masks add nothing clear to it. A regression of less than several
    masks a unit leaves more noise in the effects than a good prior errs by, which predictions of
    whole masks hardly show.
    """
    plain = AdditiveModel(data)
    r2 = plain.held_out_r2()
    if prior is not None:
        guided = AdditiveModel(data, prior)
        regressed, alone = guided.held_out_predictions(), guided.foretold_predictions()
        if _clearly_better(data, regressed, alone):
            name, said = "shrinkage", regressed
        else:
            name, said = "prior", alone
        if not _clearly_better(data, plain.held_out_predictions(), said):
            return name, guided, guided.held_out_r2(said)
    # below R² = 0 the additive model knows nothing that it could adjust
    return ("regression" if r2 > 0 else "difference"), plain, r2


def _clearly_better(data: MaskScores, said: np.ndarray, other: np.ndarray) -> bool:
    """Whether held-out masks are predicted better by one than by another, beyond noise.

    With few masks their R² differ by chance; the masks' squared errors are compared in pairs.
    """
    if data.num_blocks < _FEW:
        return False
    squares = [np.nansum((data.drops - one) ** 2, axis=0) for one in (other, said)]
    gain = squares[0] - squares[1]  # [M]
    return bool(gain.mean() > _DOUBT * gain.std(ddof=1) / np.sqrt(len(gain)))
