"""Take the least important heads and neurons out of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.pruning.choice import Removed, UnitImportance, least_important

__all__ = ["prune"]

#: A head of a model: (layer, head).
Head = tuple[int, int]


def prune(
    model: Adapter,
    importance: UnitImportance | None = None,
    fraction: float = 1 / 3,
    *,
    heads: Iterable[Head] | None = None,
    neurons: Mapping[int, Iterable[int]] | None = None,
    of: str = "units",
    inplace: bool = False,
) -> Adapter:
    """Return a smaller model, without the heads, or hidden neurons, that matter least.

    The rows of queries, keys and values and the columns of the output projection that belong to a
    head go, and the row and the column of a neuron; so the model computes less, and its answer is
    that of the whole model with the outputs of these heads, and these neurons, set to zero, to
    rounding. Layers may lose different numbers, down to none: then the bias of the output
    projection is all that the attention adds, or that of its last layer all that the perceptron
    does.

    What stays keeps its number, and `removed_heads` and `removed_neurons` of the result say what
    went: what was ranked, discovered or masked before can be used on. The `.model` of the result is
    a plain module to train, compile or export.

    >>> import vtcd_ops
    >>> adapter = vtcd_ops.load_model("hf_videomae:mini")
    >>> smaller = vtcd_ops.prune(adapter, heads=[(0, 1), (0, 3), (2, 0)])
    >>> smaller.name, sorted(smaller.removed_heads)
    ('hf_videomae:mini (3 of 24 heads removed)', [(0, 1), (0, 3), (2, 0)])
    >>> vtcd_ops.prune(smaller, neurons={0: range(128), 5: range(256)}).name
    'hf_videomae:mini (3 of 24 heads and 384 of 3072 neurons removed)'

    Args:
        model: the model.
        importance: of its heads, neurons or both, from `rank(..., units="heads")`,
            `units="neurons"` or `units="heads+neurons"`.
        fraction: share that goes, in [0, 1).
        heads: in place of importance and fraction: the heads (layer, head) to take out.
        neurons: beside `heads`, or alone: the numbers of the neurons to take out of each layer.
        of: what `fraction` is a share of. "units": the heads and groups of neurons that the model
            has now, the least important ones, rounded to a whole number; "cost": the multiply-adds
            of a clip, and those go first whose importance is least for what they cost. One head,
            and one group of neurons, stays in any case.
        inplace: take them out of the model that is given instead of a copy, and return its adapter.

    Raises:
        InputError: a fraction outside [0, 1), or of the cost more than there is to save; an
            importance of another model or of concepts; heads or neurons that are not there; all
            heads; or a model whose heads or neurons cannot be found.
    """
    if not isinstance(model, AttentionAdapter):
        raise InputError(
            "prune: model expected an adapter derived from vtcd_ops.adapters.AttentionAdapter, "
            f"got {type(model).__name__}"
        )
    named = heads is not None or neurons is not None
    if (importance is None) != named:
        got = "both" if named else "neither"
        raise InputError(f"prune: expected either importance or heads and neurons, got {got}")
    if importance is not None:
        ranked = np.asarray(importance.units)[:, 1]
        _expect_known(model, "heads", bool((ranked >= 0).any()))
        _expect_known(model, "neurons", bool((ranked < 0).any()))
        gone = least_important(model, importance, fraction, of)
    else:
        _expect_known(model, "heads", heads is not None)
        gone = _checked_heads(model, heads or ()), _checked_neurons(model, neurons or {})
    return model.without(*gone, _name(model, gone), inplace=inplace)


def _expect_known(model: AttentionAdapter, what: str, wanted: bool) -> None:
    """Raise where heads, or neurons, are to go and a layer does not say where they are."""
    where = model.head_modules if what == "heads" else model.neuron_modules
    for layer in range(model.num_layers):
        if wanted and where(layer) is None:
            raise InputError(_unsupported(model, layer, what))


def _name(model: AttentionAdapter, gone: Removed) -> str:
    """What a model is called without some more heads and neurons."""
    heads, neurons = len(model.removed_heads | gone[0]), 0
    for layer in range(model.num_layers):
        neurons += len({*model.removed_neurons.get(layer, ()), *gone[1].get(layer, ())})
    pieces = []
    if heads or not neurons:
        pieces.append(f"{heads} of {counted(model.num_layers * model.num_heads, 'head')}")
    if neurons:
        total = sum(model.num_neurons(layer) for layer in range(model.num_layers))
        pieces.append(f"{neurons} of {counted(total, 'neuron')}")
    base = model.known_as[0] if model.known_as else model.name
    return f"{base} ({' and '.join(pieces)} removed)"


def _checked_heads(model: AttentionAdapter, heads: Iterable[Head]) -> set[Head]:
    """The heads that are named, if they are there."""
    removed = set()
    for one in heads:
        try:
            layer, head = (int(number) for number in one)
        except (TypeError, ValueError):
            raise InputError(f"prune: heads expected pairs (layer, head), got {one!r}") from None
        if not (0 <= layer < model.num_layers and 0 <= head < model.num_heads):
            raise InputError(
                f"prune: heads expected layers 0 to {model.num_layers - 1} and heads 0 to "
                f"{model.num_heads - 1}, got layer {layer} head {head}"
            )
        if (layer, head) in model.removed_heads:
            raise InputError(f"prune: layer {layer} head {head} was taken out before")
        removed.add((layer, head))
    total = model.num_layers * model.num_heads - len(model.removed_heads)
    if removed and len(removed) == total:
        raise InputError(f"prune: at least one head expected to stay, all {total} were named")
    return removed


def _checked_neurons(
    model: AttentionAdapter, neurons: Mapping[int, Iterable[int]]
) -> dict[int, set[int]]:
    """The neurons that are named, if they are there."""
    if not isinstance(neurons, Mapping):
        raise InputError(
            "prune: neurons expected a mapping from layers to the numbers of their neurons, "
            f"got {type(neurons).__name__}"
        )
    removed = {}
    for layer, its in neurons.items():
        if layer not in range(model.num_layers):
            raise InputError(
                f"prune: neurons expected layers 0 to {model.num_layers - 1}, got {layer!r}"
            )
        if model.neuron_modules(layer) is None:
            raise InputError(_unsupported(model, layer, "neurons"))
        try:
            removed[int(layer)] = {int(number) for number in its}
        except (TypeError, ValueError):
            raise InputError(
                f"prune: neurons of layer {layer} expected whole numbers, got {its!r}"
            ) from None
        total, gone = model.num_neurons(layer), model.removed_neurons.get(layer, ())
        for number in sorted(removed[int(layer)]):
            if not 0 <= number < total:
                raise InputError(
                    f"prune: neurons of layer {layer} expected from 0 to {total - 1}, got {number}"
                )
            if number in gone:
                raise InputError(f"prune: layer {layer} neuron {number} was taken out before")
    return removed


def _unsupported(model: AttentionAdapter, layer: int, what: str) -> str:
    return (
        f"prune: nothing says where the {what} of layer {layer} of {model.name} are; known are "
        "VideoMAE, ViViT, DINOv2, TimeSformer, V-JEPA 2, TCOW, InternVideo and what open_attention "
        "opens. For another model let head_modules(layer) and neuron_modules(layer) of "
        f"{type(model).__name__} return its vtcd_ops.adapters.HeadModules and NeuronModules "
        "(docs/pruning.md)"
    )
