"""What pairs of units do together, from the same scores that single units are ranked by.

The interaction of units i and j is the mean, over random sets of the others removed, of the drop of
both removed, less the drops of either alone, plus that of neither (for masks that remove a half the
Banzhaf interaction index). Above zero the two back each other up: one makes up for the other, and
only without both much is lost. Below zero they need each other: without one the other is worth
little.

There are far more pairs than masks. So pairs are screened on one half of the masks, by the mean
product of what an additive model leaves of the drops with the removals of both; and those that
stand out are regressed side by side on the other half, which the choice has not seen, so that
values and errors are not those of a winner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vtcd_ops.common.errors import InputError
from vtcd_ops.estimates.mask_fits import AdditiveModel
from vtcd_ops.estimates.mask_regression import one_thread
from vtcd_ops.estimates.mask_scores import MaskScores

__all__ = ["PairEffects", "pair_effects"]

_FEWEST = 40  # masks; with fewer a half cannot be regressed
_CANDIDATES = 3  # times as many pairs as are asked for are regressed


@dataclass(frozen=True, eq=False)
class PairEffects:
    """Pairs of units, the strongest interaction first.

    Args:
        pairs: int64 [n, 2], units.
        value: float64 [n].
        stderr: float64 [n], from the masks.
    """

    pairs: np.ndarray
    value: np.ndarray
    stderr: np.ndarray


def pair_effects(data: MaskScores, model: AdditiveModel, top: int) -> PairEffects:
    """Estimate the strongest interactions of pairs of units.

    Args:
        data: the scores.
        model: of their drops, additive.
        top: most pairs to return.

    Raises:
        InputError: fewer than 40 masks.
    """
    if data.num_masks < _FEWEST:
        raise InputError(
            f"interactions: at least {_FEWEST} masks a video expected, got {data.num_masks}: rank "
            "with more"
        )
    with one_thread():
        left = data.drops - model.held_out_predictions()
        screened = data.groups(2) == 0
        strength = _screen(data, left, screened)
        upper = np.triu_indices(data.num_units, 1)
        known = np.nan_to_num(strength[upper], nan=-1.0)
        count = min(_CANDIDATES * top, int((~screened).sum()) // 10, int((known >= 0).sum()))
        chosen = np.argsort(-known, kind="stable")[: max(count, 1)]
        pairs = np.stack([one[chosen] for one in upper], axis=1)
        value, stderr = _regress(data, left, ~screened, pairs)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.nan_to_num(np.abs(value / stderr), posinf=0.0)
    order = np.argsort(-apart, kind="stable")[:top]
    order = order[np.isfinite(stderr[order])]
    return PairEffects(pairs[order], value[order], stderr[order])


def _removals(data: MaskScores, seed: int) -> np.ndarray:
    """The removals of the masks of a seed, less their mean, float64 [M, U]."""
    removed = [(~keep).double().numpy() for _, keep in data.chunks(seed)]
    return np.concatenate(removed) - data.num_removed / data.num_units


def _screen(data: MaskScores, left: np.ndarray, used: np.ndarray) -> np.ndarray:
    """How far each pair's mean product is from zero, in standard errors: float64 [U, U]."""
    total = np.zeros((data.num_units, data.num_units))
    squares = np.zeros_like(total)
    for seed, videos in data.sharing():
        removed = torch.from_numpy(_removals(data, seed)[used])
        for video in videos[np.isfinite(left[videos]).all(1)]:
            rest = torch.from_numpy(left[video, used] - left[video, used].mean())
            scale = rest.square().mean().sqrt()
            if scale == 0:
                continue
            rest = rest / scale  # videos whose scores vary little tell as much
            here = torch.where(torch.from_numpy(data.present[video]), removed, 0.0)
            total += (here.T @ (here * rest[:, None])).numpy()
            squares += (here.square().T @ (here * rest[:, None]).square()).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        strength: np.ndarray = np.abs(total) / np.sqrt(squares)
    return strength


def _regress(
    data: MaskScores, left: np.ndarray, used: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Regress what is left on the products of all pairs side by side: value, standard error [n].

    Averaged over the videos in which both units of a pair occur.
    """
    value, variance, count = np.zeros((3, len(pairs)))
    for seed, videos in data.sharing():
        removed = _removals(data, seed)[used]
        for video in videos[np.isfinite(left[videos]).all(1)]:
            here = np.flatnonzero(data.present[video][pairs].all(1))
            products = removed[:, pairs[here, 0]] * removed[:, pairs[here, 1]]
            design = products - products.mean(0)
            target = left[video, used] - left[video, used].mean()
            inverse = np.linalg.pinv(design.T @ design)
            found = inverse @ (design.T @ target)
            freedom = max(len(target) - 1 - len(here), 1)
            noise = float(((target - design @ found) ** 2).sum()) / freedom
            value[here] += found
            variance[here] += noise * np.diag(inverse)
            count[here] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return value / count, np.sqrt(variance) / count
