"""What gradients say of each unit before scores are measured: the prior of a ranking.

The gradient of the score with respect to how much of each unit is kept comes for all units in one
backward. Where it is taken decides what it is worth. The effect of a unit, averaged over random
sets of the others removed, is the derivative of the score's multilinear extension where every unit
is kept with the probability that masks keep it (Owen 1972). A model that is given features kept by
that share instead of at random answers nearly so: `mean_mask`. Integrated gradients average the
derivative over all shares, which is another value (Aumann and Shapley's), and `gradient` takes it
where everything is kept, which tells of single units removed.

`random_strengths` goes nearer. Every unit is kept by a random share of its own. Along one unit the
mean of the gradient over all shares from 0 to 1 is exactly what its removal costs, however the
model bends there; what the others are kept by meanwhile has the mean that masks give it, and
spreads. Every gradient tells of all units, where a mask's score is one number for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError, first_line, warn
from vtcd_ops.estimates.mask_seeds import mask_seed
from vtcd_ops.importance.masking import MaskedModel, MaskedVideo
from vtcd_ops.metrics import Metric

__all__ = ["PRIORS", "num_gradients", "prior_of", "random_strengths", "settled_prior"]

PRIORS = ("random_strengths", "mean_mask", "integrated_gradients", "gradient")
_STEPS = 8  # of integrated gradients
_MOST = 64  # gradients of random strengths; as many as masks where those are fewer


def settled_prior(prior: str | None, metric: Metric) -> str | None:
    """Return a prior; None, and say so, where the metric gives none.

    >>> from vtcd_ops.metrics import get_metric
    >>> from vtcd_ops.adapters import example_adapter
    >>> settled_prior("gradient", get_metric("probability", example_adapter()))
    'gradient'
    """
    if prior is None:
        return None
    why = ""
    if not metric.smooth:
        why = "flat almost everywhere"
    elif prior == "gradient" and getattr(metric, "peaks", False):
        why = "largest where nothing is removed, so that its gradient there is zero"
    if why:
        warn(f"rank: no prior from gradients, masks alone decide: metric {metric.name} is {why}")
    return None if why else prior


def num_gradients(prior: str | None, num_masks: int) -> dict[str, int]:
    """How many gradients a prior takes where their number is free, as it is stored.

    As many as masks, at most 64: a gradient tells more than a mask until there are very many.

    >>> num_gradients("random_strengths", 1000), num_gradients("mean_mask", 1000)
    ({'prior_gradients': 64}, {})
    """
    return {"prior_gradients": min(num_masks, _MOST)} if prior == "random_strengths" else {}


def prior_of(
    document: dict[str, Any], masked: MaskedModel
) -> Callable[[int, MaskedVideo], np.ndarray | None] | None:
    """Return what gives the effects of the units in a video, by its number, float64 [U].

    It gives None where there is no gradient, and says so once. Gradients are taken in the type of
    the model's weights, a step at a time: several at once would take as many times the memory and,
    on a CPU, as long.

    Args:
        document: the settings of the ranking.
        masked: the model.
    """
    if document.get("prior") is None:
        return None
    said = False

    def effects(index: int, video: MaskedVideo) -> np.ndarray | None:
        nonlocal said
        try:
            with masked.in_full():
                total = torch.zeros(document["num_units"], dtype=torch.float64)
                for row, weight in _places(document, index):
                    total += weight * video.gradients(row[None])[0]
        except InputError as error:
            if not said:
                warn(f"rank: no prior from gradients, masks alone decide: {first_line(error)}")
            said = True
            return None
        return np.where(video.present, total.numpy(), 0.0)

    return effects


def _places(document: dict[str, Any], video: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Where gradients are taken, and how they are weighed: float32 [U], float64 [U]."""
    num_units, prior = document["num_units"], document["prior"]
    if prior == "random_strengths":
        seed = mask_seed(document["seed"], document["videos"][video]["sha256"])
        strengths, weights = random_strengths(
            document["prior_gradients"], num_units, document["ratio"], seed
        )
    else:
        places = {
            "mean_mask": [1 - document["ratio"]],
            "integrated_gradients": [(step + 0.5) / _STEPS for step in range(_STEPS)],
            "gradient": [1.0],
        }[prior]
        strengths = np.repeat(np.array(places)[:, None], num_units, axis=1)
        weights = np.full_like(strengths, 1 / len(places))
    for one, weight in zip(strengths, weights, strict=True):
        yield torch.from_numpy(one.astype(np.float32)), torch.from_numpy(weight)


def random_strengths(
    count: int, num_units: int, ratio: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw by which shares units are kept, and how the gradients there are weighed.

    A share is u^g of a uniform u in [0, 1], or 1 - u^g where masks keep more than a half, with g
    such that its mean is 1 - ratio, what masks keep of a unit on average; weights make of the mean
    over u one over all shares alike. Of each unit the u lie one in each of `count` equal parts of
    [0, 1] (a Latin hypercube: McKay, Beckman and Conover 1979), so that the mean along a unit has
    little noise of its own.

    >>> strengths, weights = random_strengths(1000, 2, ratio=0.75, seed=0)
    >>> strengths.mean(axis=0).round(2).tolist()  # what is kept
    [0.25, 0.25]
    >>> (weights * 2 * strengths).sum(axis=0).round(2).tolist()  # x^2 rises by 1 from 0 to 1
    [1.0, 1.0]

    Args:
        count: of gradients.
        num_units: U.
        ratio: share of the units that a mask removes.
        seed: of the draw.

    Returns:
        Shares float64 [count, U], and weights float64 [count, U] that add up to 1 for each unit.
    """
    random = np.random.default_rng(seed)
    cells = random.permuted(np.tile(np.arange(count)[:, None], num_units), axis=0)
    uniform = (cells + random.random(cells.shape)) / count
    bend = max(ratio, 1 - ratio) / min(ratio, 1 - ratio)  # the mean of u^g is 1 / (1 + g)
    strengths = uniform**bend if ratio >= 0.5 else 1 - uniform**bend
    weights = uniform ** (bend - 1)  # du^g = g u^(g - 1) du
    return strengths, weights / weights.sum(axis=0)
