"""How much each unit matters, estimated from the scores of videos under random masks.

Everything here is a pure function of the scores and of what the masks are drawn from (number of
units, ratio, seed, design), of which units occur in which video, and of the scores without a mask.
Sums run over the masks in their order, so that it does not matter in which batches, processes or
sittings the scores were computed.

Letters: V videos, M masks, U units. The drop of a video's metric D under mask m is
``d_m = D(without a mask) - D(mask m)``. A unit that does not occur in a video is neither removed
nor kept there; every estimate is an average over the videos in which the unit occurs.

    removed     mean drop of the masks that remove the unit: equation 6 of the paper
    kept        minus the mean drop of the masks that keep it
    difference  the one plus the other: mean drop removed minus mean drop kept
    kept_sum    sum of D over the masks that keep it, as the authors' code does; for comparison
                only: an offset in D makes it rank how often a unit happened to be kept
    regression  coefficient of a ridge regression of the drop on the removals
    adjusted    the same quantity as `removed`, with what the other units removed by the same masks
                contribute taken out by the regression
    shrinkage   the regression shrunk towards a prior instead of towards zero: effects that
                something cheaper than masks, such as gradients, tells of each video, times a
                number >= 0 of the video. Without a prior it is `regression`
    prior       the prior alone, whatever the masks say; without one it is `regression`
    trees       the regression (shrunk towards a prior, where there is one), boosted trees fitted to
                what it leaves, their exact effects, and a regression on what is left then; needs
                scikit-learn
    auto        where there is a prior, `shrinkage` if it predicts held-out masks clearly better
                (two standard errors) than the prior alone, else `prior`; but neither if masks
                without it predict them clearly better. Without a prior `regression` where it
                predicts them at all, else `difference`; `trees` where scikit-learn is installed,
                trees add at least .02 to the R² of 500 masks or more, and their effects lie no less
                far apart in their standard errors. In one video these rank as `adjusted` and
                `removed` do; but those carry the mean drop of the videos in which a unit occurs, so
                that over videos they also rank which videos a unit occurs in
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError
from vtcd_ops.estimates.choice import FITTED, Model, best_additive, choose
from vtcd_ops.estimates.interactions import PairEffects, pair_effects
from vtcd_ops.estimates.mask_fits import AdditiveModel
from vtcd_ops.estimates.mask_means import block_errors, means
from vtcd_ops.estimates.mask_regression import one_thread
from vtcd_ops.estimates.mask_scores import (
    BLOCK_LENGTH,
    MaskScores,
    average_over_videos,
    from_unit_scale,
    spearman,
    to_unit_scale,
)
from vtcd_ops.estimates.tree_proxy import TreeProxy

__all__ = ["DESIGNS", "ESTIMATORS", "Estimate", "estimate", "reliability"]

#: The first is the default.
ESTIMATORS = (
    "auto", "removed", "kept", "kept_sum", "difference", "regression", "adjusted", "shrinkage",
    "trees", "prior",
)  # fmt: skip
DESIGNS = tuple(BLOCK_LENGTH)


@dataclass(frozen=True, eq=False)
class Estimate:
    """The importance of units, and how far it can be trusted.

    Args:
        value: float64 [U], larger is more important; NaN for a unit that occurs in no video or that
            no mask removed.
        stderr_masks: float64 [U], standard error from the design's independent blocks of masks.
        stderr_videos: float64 [U], standard error from the spread over videos; NaN for one video.
        reliability: how well two halves of the masks agree, brought to the full number of masks:
            Spearman correlation, corrected by Spearman and Brown; NaN below four blocks. A prior,
            which would make both halves alike, is left out: with it the order is better than that.
        r2: share of the variance of held-out masks' drops that removals explain additively; NaN
            below ten blocks.
        estimator: which one it was.
    """

    value: Tensor
    stderr_masks: Tensor
    stderr_videos: Tensor
    reliability: float
    r2: float
    estimator: str

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content

    @property
    def order(self) -> Tensor:
        """Units from the most to the least important, int64 [U]; those without a value last."""
        return torch.from_numpy(np.argsort(-self.value.numpy(), kind="stable"))


def estimate(
    scores: Tensor,
    *,
    num_units: int,
    ratio: float,
    seed: int | Tensor,
    design: str = "simple",
    present: Tensor | None = None,
    baseline: Tensor | None = None,
    prior: Tensor | None = None,
    estimator: str = "auto",
    errors: bool = True,
) -> Estimate:
    """Estimate the importance of units from the scores of masks.

    >>> from vtcd_ops.ops import cris_sample
    >>> effects = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    >>> keep = cris_sample(num_units=4, num_masks=100, ratio=0.5, seed=0)
    >>> scores = (keep.double() @ effects)[None]  # one video
    >>> found = estimate(scores, num_units=4, ratio=0.5, seed=0, baseline=effects.sum()[None])
    >>> found.order.tolist(), round(found.r2, 6)
    ([3, 2, 1, 0], 1.0)

    Args:
        scores: floating [V, M], the metric of each video under masks 0 to M - 1 of
            ``cris_sample(num_units, M, ratio, seed, design=design)``, seed being the video's.
        num_units: U.
        ratio: share of the units that a mask removes.
        seed: of the masks of all videos, or int64 [V], of each video's.
        design: of the masks, one of `DESIGNS`.
        present: bool [V, U]; by default every unit occurs in every video.
        baseline: floating [V], the metric of each video without a mask; 0 by default.
        prior: floating [V, U], effects of each unit in each video from elsewhere, in any unit; that
            of the scores, where the values are to be so under `prior`.
        estimator: one of `ESTIMATORS`.
        errors: compute standard errors, reliability and R² too; they are NaN otherwise.

    Returns:
        An :class:`Estimate`.

    Raises:
        InputError: shapes that do not fit, NaN or Inf, an unknown estimator, or a result beyond
            float64.
        ValueError: a ratio, a number of units or a design that no mask has.
    """
    data, exponent = _mask_scores(scores, num_units, ratio, seed, design, present, baseline)
    _check_estimator(estimator)
    with one_thread():
        name, model, r2 = choose(data, _prior(prior, data, exponent), estimator, fit=errors)
        every = np.ones(data.num_masks, dtype=bool)
        value, by_videos = average_over_videos(_by_video(data, model, name, every), data.present)
        back = partial(from_unit_scale, exponent=exponent, what=name)
        if not errors:
            nothing = torch.full((num_units,), _NAN, dtype=torch.float64)
            return Estimate(torch.from_numpy(back(value)), nothing, nothing, _NAN, r2, name)
        by_masks = _mask_errors(data, model, name)
        agreement = _split_half(data, model, name)
    found = [torch.from_numpy(back(one)) for one in (value, by_masks, by_videos)]
    return Estimate(found[0], found[1], found[2], agreement, r2, name)


def reliability(
    scores: Tensor,
    *,
    num_units: int,
    ratio: float,
    seed: int | Tensor,
    design: str = "simple",
    present: Tensor | None = None,
    baseline: Tensor | None = None,
    prior: Tensor | None = None,
    estimator: str = "auto",
) -> float:
    """Tell how well two halves of the masks rank alike, brought to all masks.

    >>> noise = torch.randn(1, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> abs(reliability(noise, num_units=50, ratio=0.5, seed=0)) < 0.5
    True

    Takes the arguments of :func:`estimate`, and returns what is `Estimate.reliability` there.
    """
    data, exponent = _mask_scores(scores, num_units, ratio, seed, design, present, baseline)
    _check_estimator(estimator)
    with one_thread():
        chosen = {"trees": "shrinkage"}.get(estimator, estimator)  # which agree as much
        name, model, _ = choose(data, _prior(prior, data, exponent), chosen, fit=False, trees=False)
        return _split_half(data, model, name)


def effects_by_video(
    scores: Tensor,
    *,
    num_units: int,
    ratio: float,
    seed: int | Tensor,
    design: str = "simple",
    present: Tensor | None = None,
    baseline: Tensor | None = None,
    prior: Tensor | None = None,
    estimator: str = "auto",
) -> np.ndarray:
    """Estimate the importance of units in each video: float64 [V, U], NaN where one is absent.

    Takes the arguments of :func:`estimate`, whose values are the means over the videos.
    """
    data, exponent = _mask_scores(scores, num_units, ratio, seed, design, present, baseline)
    _check_estimator(estimator)
    with one_thread():
        name, model, _ = choose(data, _prior(prior, data, exponent), estimator, fit=False)
        found = _by_video(data, model, name, np.ones(data.num_masks, dtype=bool))
    return from_unit_scale(np.where(data.present, found, np.nan), exponent, name)


def pairs_of(
    scores: Tensor,
    *,
    num_units: int,
    ratio: float,
    seed: int | Tensor,
    design: str = "simple",
    present: Tensor | None = None,
    baseline: Tensor | None = None,
    prior: Tensor | None = None,
    top: int = 20,
) -> PairEffects:
    """Estimate what pairs of units do together; arguments as of :func:`estimate`.

    Args:
        top: most pairs to return; see :func:`vtcd_ops.estimates.interactions.pair_effects`.
    """
    data, exponent = _mask_scores(scores, num_units, ratio, seed, design, present, baseline)
    with one_thread():
        _, model, _ = best_additive(data, _prior(prior, data, exponent))
    found = pair_effects(data, model, top)
    scaled = [from_unit_scale(x, exponent, "interactions") for x in (found.value, found.stderr)]
    return PairEffects(found.pairs, *scaled)


_NAN = float("nan")
_FURTHEST_PRIOR = 200  # powers of two from the drops


def _check_estimator(estimator: str) -> None:
    if estimator not in ESTIMATORS:
        raise InputError(
            f"estimate: estimator expected one of {', '.join(ESTIMATORS)}, got {estimator}"
        )


def _prior(prior: Tensor | None, data: MaskScores, exponent: int) -> np.ndarray | None:
    """Check a prior, and divide it as the drops are; None where it says nothing.

    Where it is of quite another size than they are it keeps a scale of its own.
    """
    if prior is None:
        return None
    values = np.asarray(prior, dtype=np.float64)
    if values.shape != data.present.shape or not np.isfinite(values).all():
        raise InputError(
            f"estimate: prior expected finite {list(data.present.shape)}, got {list(values.shape)}"
            + ("" if values.shape != data.present.shape else " with NaN or infinity")
        )
    own, [values] = to_unit_scale(values)
    if abs(own - exponent) < _FURTHEST_PRIOR:  # so that sums of squares are far from infinity and 0
        values = np.ldexp(values, own - exponent)
    return values if values.any() else None


def _mask_scores(
    scores: Tensor,  # [V, M]
    num_units: int,
    ratio: float,
    seed: int | Tensor,
    design: str,
    present: Tensor | None,  # [V, U]
    baseline: Tensor | None,  # [V]
) -> tuple[MaskScores, int]:
    """Check what a ranking is computed from; return it divided by a power of two."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"estimate: scores expected [V, M], got {list(values.shape)}")
    if not np.isfinite(values).all():
        video, mask = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"estimate: scores expected finite numbers, got {values[video, mask]} for video "
            f"{video} under mask {mask}"
        )
    videos = values.shape[0]
    levels = np.zeros(videos) if baseline is None else np.asarray(baseline, dtype=np.float64)
    if levels.shape != (videos,) or not np.isfinite(levels).all():
        raise InputError(
            f"estimate: baseline expected finite [{videos}], got {list(levels.shape)}"
            + ("" if levels.shape != (videos,) else " with NaN or infinity")
        )
    occurs = np.ones((videos, num_units), bool) if present is None else np.asarray(present)
    if occurs.shape != (videos, num_units) or occurs.dtype != bool:
        raise InputError(
            f"estimate: present expected bool [{videos}, {num_units}], "
            f"got {occurs.dtype} {list(occurs.shape)}"
        )
    first, (values, levels) = to_unit_scale(values, levels)
    second, [drops] = to_unit_scale(levels[:, None] - values)
    levels = np.ldexp(levels, -second)
    seeds = np.asarray(seed)
    if seeds.shape not in ((), (videos,)) or seeds.dtype.kind not in "iu":
        raise InputError(
            f"estimate: seed expected a whole number or int64 [{videos}], "
            f"got {seeds.dtype} {list(seeds.shape)}"
        )
    return MaskScores(drops, levels, occurs, ratio, seeds, design), first + second


def _by_video(data: MaskScores, model: Model, name: str, used: np.ndarray) -> np.ndarray:
    """Estimate from the used masks [M], video by video: float64 [V, U]."""
    if isinstance(model, TreeProxy):
        return model.value
    if name == "prior" and model is not None and model.prior is not None:
        return np.where(data.present, model.prior, np.nan)
    if model is not None and name in FITTED:
        return model.by_video(name, used)
    return means(data, name, used)


def _mask_errors(data: MaskScores, model: Model, name: str) -> np.ndarray:
    """Standard errors from the masks, [U]."""
    if isinstance(model, TreeProxy):
        return model.errors()
    if name == "prior" and model is not None:
        return model.jackknife("shrinkage")  # of what masks would make of it, so not below its own
    if model is not None and name in FITTED:
        return model.jackknife(name)
    return block_errors(data, name)


def _split_half(data: MaskScores, model: Model, name: str) -> float:
    """Spearman correlation of two halves of the blocks, corrected by Spearman and Brown."""
    if data.num_blocks < 4:
        return _NAN
    if name in ("shrinkage", "trees", "prior"):
        name, model = "regression", AdditiveModel(data)
    half = data.groups(2)
    first, second = (
        average_over_videos(_by_video(data, model, name, half == i), data.present)[0]
        for i in range(2)
    )
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2:
        return _NAN
    correlation = spearman(first[both], second[both])
    return 2 * correlation / (1 + correlation) if correlation > -1 else -1.0
