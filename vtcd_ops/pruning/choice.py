"""Which heads and neurons go: those that matter least, or least for what they cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.weights import weights_sha256
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_one_of
from vtcd_ops.pruning.cost import UnitCosts, count_unit_costs

__all__ = ["OF", "UnitImportance", "least_important"]

#: What `fraction` is a share of.
OF = ("units", "cost")


class UnitImportance(Protocol):
    """What `prune` reads of an importance: what `rank(..., units="heads")` returns has it.

    Attributes:
        units: layer, head and -1 of each head; layer, -1 and its number of a group of neurons,
            int [U, 3].
        order: rows of `units`, from the most to the least important, int [U].
        value: how important each is, float [U]; read where the cost is looked at alone.
        settings: `neurons_per_group`, where there are neurons; `weights`, the fingerprint of the
            model's weights, and `model`, its name, by which that of another model is refused.
            All may be missing.
    """

    @property
    def units(self) -> np.ndarray:
        """Layer, head and -1; layer, -1 and group; int [U, 3]."""
        ...

    @property
    def order(self) -> np.ndarray:
        """Rows of `units`, from the most to the least important, int [U]."""
        ...


@dataclass(frozen=True)
class _Unit:
    """A head, or a group of neurons, as far as the model has it."""

    layer: int
    head: int  #: -1 of neurons
    neurons: tuple[int, ...]
    value: float
    cost: float = 0.0


Removed = tuple[set[tuple[int, int]], dict[int, set[int]]]


def least_important(
    model: AttentionAdapter, importance: UnitImportance, fraction: float, of: str
) -> Removed:
    """Return the heads, and the neurons by layer, that matter least among those that are there.

    Args:
        model: the model.
        importance: of its heads, its neurons, or both.
        fraction: share that goes, in [0, 1).
        of: "units": of the heads and groups of neurons; "cost": of the model's multiply-adds.

    Raises:
        InputError: see :func:`vtcd_ops.prune`.
    """
    real = isinstance(fraction, (int, float, np.number)) and not isinstance(fraction, bool)
    if not real or not 0 <= float(fraction) < 1:
        raise InputError(f"prune: fraction expected a number in [0, 1), got {fraction!r}")
    expect_one_of("prune", "of", of, OF)
    if (np.asarray(importance.units)[:, 1:] >= 0).all(axis=1).any():
        raise InputError(
            "prune: importance expected of heads or neurons, got one of concepts: "
            'rank with units="heads", "neurons" or "heads+neurons" (--units)'
        )
    _expect_same_model(model, importance)
    least = _present(model, importance)
    if of == "cost":
        costs = count_unit_costs(model)
        gone = _up_to_cost(_with_costs(least, costs), float(fraction), costs.total)
    else:
        gone = _stopping(least)[: math.floor(float(fraction) * len(least) + 0.5)]
    heads = {(unit.layer, unit.head) for unit in gone if unit.head >= 0}
    neurons: dict[int, set[int]] = {}
    for unit in gone:
        if unit.head < 0:
            neurons.setdefault(unit.layer, set()).update(unit.neurons)
    return heads, neurons


def _present(model: AttentionAdapter, importance: UnitImportance) -> list[_Unit]:
    """The units that the model has, the least important first; raise where some are not ranked."""
    settings: Any = getattr(importance, "settings", None) or {}
    size = settings.get("neurons_per_group", 0)
    values: Any = getattr(importance, "value", np.zeros(len(importance.units)))
    there = {layer: set(model.kept_neurons(layer)) for layer in range(model.num_layers)}
    found: list[_Unit] = []
    heads: set[tuple[int, int]] = set()
    numbers: dict[int, set[int]] = {layer: set() for layer in there}
    for row in np.asarray(importance.order)[::-1].tolist():
        layer, head, group = (int(number) for number in importance.units[row])
        if layer >= model.num_layers or head >= model.num_heads:
            raise _other(model, f"layer {layer} head {head} is not in the model")
        if head >= 0:
            heads.add((layer, head))
            if (layer, head) not in model.removed_heads:
                found.append(_Unit(layer, head, (), float(values[row])))
            continue
        if not size:
            raise InputError(
                "prune: importance of neurons expected settings with neurons_per_group, got none"
            )
        group_numbers = range(group * size, (group + 1) * size)
        if group * size >= max(model.num_neurons(layer), 1):
            raise _other(model, f"layer {layer} neuron {group * size} is not in the model")
        numbers[layer].update(group_numbers)
        left = tuple(number for number in group_numbers if number in there[layer])
        if left:
            found.append(_Unit(layer, -1, left, float(values[row])))
    every = {(n, a) for n in range(model.num_layers) for a in model.kept_heads(n)}
    if heads and (missing := sorted(every - heads)):
        raise _other(model, "layer {} head {} is missing".format(*missing[0]))
    for layer, kept in there.items():
        if size and (lost := sorted(kept - numbers[layer])):
            raise _other(model, f"layer {layer} neuron {lost[0]} is missing")
    return found


def _other(model: AttentionAdapter, what: str) -> InputError:
    return InputError(
        f"prune: importance expected of every head or neuron of {model.name} and no other, but "
        f"{what}"
    )


def _expect_same_model(model: AttentionAdapter, importance: UnitImportance) -> None:
    """Raise where an importance says that it is of another model: by its weights, else its name."""
    settings: Any = getattr(importance, "settings", None)
    if not isinstance(settings, dict):
        return
    name, weights = settings.get("model"), settings.get("weights")
    if weights is not None:
        if weights not in model.known_weights and weights != weights_sha256(model.model):
            raise InputError(
                f"prune: importance expected of {model.name}, got one of {name}, whose weights "
                "are others; rank this model, or name what goes instead (heads=, neurons=)"
            )
    elif name is not None and name not in (model.name, *model.known_as):
        raise InputError(
            f"prune: importance expected of {model.name}, got one of {name}; where that is the "
            "same model under another name, name the heads instead (heads=)"
        )


def _with_costs(least: list[_Unit], costs: UnitCosts) -> list[_Unit]:
    """The units with their costs, the least important for what it costs first."""
    found = []
    for unit in least:
        each = costs.head[unit.layer] if unit.head >= 0 else costs.neuron[unit.layer]
        cost = each if unit.head >= 0 else each * len(unit.neurons)
        found.append(_Unit(unit.layer, unit.head, unit.neurons, unit.value, cost))
    known = [-math.inf if math.isnan(unit.value) else unit.value / unit.cost for unit in found]
    return [found[place] for place in np.argsort(known, kind="stable").tolist()]


def _up_to_cost(least: list[_Unit], fraction: float, total: int) -> list[_Unit]:
    """As few of the first as cost that share of all together."""
    gone: list[_Unit] = []
    cost = 0.0
    for unit in _stopping(least):
        if cost >= fraction * total:
            return gone
        gone.append(unit)
        cost += unit.cost
    if cost < fraction * total:
        raise InputError(
            f"prune: fraction expected at most {math.floor(1000 * cost / total) / 1000:g} of the "
            f"cost, which is what all heads and neurons that were ranked take but one, "
            f"got {fraction:g}"
        )
    return gone


def _stopping(least: list[_Unit]) -> list[_Unit]:
    """The units without the most important head and the most important group: those stay."""
    kept = [[u for u in least if (u.head >= 0) == is_head][-1:] for is_head in (True, False)]
    stay = {id(unit) for units in kept for unit in units}
    return [unit for unit in least if id(unit) not in stay]
