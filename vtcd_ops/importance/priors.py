"""What gradients say of each unit before scores are measured: the prior of a ranking.

The gradient of the score with respect to how much of each unit is kept comes for all units in one
backward. Where it is taken decides what it is worth. The effect of a unit, averaged over random
sets of the others removed, is the derivative of the score's multilinear extension where every unit
is kept with the probability that masks keep it (Owen 1972). A model that is given features kept by
that share instead of at random answers nearly so: `mean_mask`. Integrated gradients average the
derivative over all shares, which is another value (Aumann and Shapley's), and `gradient` takes it
where everything is kept, which tells of single units removed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError, first_line, warn
from vtcd_ops.importance.masking import MaskedModel, MaskedVideo
from vtcd_ops.metrics import Metric

__all__ = ["PRIORS", "prior_of", "settled_prior"]

PRIORS = ("mean_mask", "integrated_gradients", "gradient")
_STEPS = 8  # of integrated gradients


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


def prior_of(
    document: dict[str, Any], masked: MaskedModel
) -> Callable[[MaskedVideo], np.ndarray | None] | None:
    """Return what gives the effects of the units in a video, float64 [U].

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

    def effects(video: MaskedVideo) -> np.ndarray | None:
        nonlocal said
        try:
            with masked.in_full():
                rows = _rows(document).split(1)
                total = torch.stack([video.gradients(row)[0] for row in rows]).mean(dim=0)
        except InputError as error:
            if not said:
                warn(f"rank: no prior from gradients, masks alone decide: {first_line(error)}")
            said = True
            return None
        return np.where(video.present, total.numpy(), 0.0)

    return effects


def _rows(document: dict[str, Any]) -> Tensor:
    """Where gradients are taken: how much of each unit is kept, float32 [steps, U]."""
    strengths = {
        "mean_mask": [1 - document["ratio"]],
        "integrated_gradients": [(step + 0.5) / _STEPS for step in range(_STEPS)],
        "gradient": [1.0],
    }[document["prior"]]
    return torch.tensor(strengths)[:, None].expand(-1, document["num_units"]).contiguous()
