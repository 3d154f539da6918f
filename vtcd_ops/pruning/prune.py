"""Take the least important heads out of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.common.errors import InputError, counted

__all__ = ["HeadImportance", "prune"]

#: A head of a model: (layer, head).
Head = tuple[int, int]


class HeadImportance(Protocol):
    """What `prune` reads of an importance: what `rank(..., units="heads")` returns has it.

    Attributes:
        units: layer, head and -1 of each head, int [U, 3].
        order: rows of `units`, from the most to the least important, int [U].
    """

    @property
    def units(self) -> np.ndarray:
        """Layer, head and -1 of each head, int [U, 3]."""
        ...

    @property
    def order(self) -> np.ndarray:
        """Rows of `units`, from the most to the least important, int [U]."""
        ...


def prune(
    model: Adapter,
    importance: HeadImportance | None = None,
    fraction: float = 1 / 3,
    *,
    heads: Iterable[Head] | None = None,
    inplace: bool = False,
) -> Adapter:
    """Return a smaller model, without the heads that matter least.

    The rows of queries, keys and values and the columns of the output projection that belong to a
    head go; so the model computes less, and its answer is that of the whole model with the outputs
    of these heads set to zero, to rounding. Layers may lose different numbers of heads, down to
    none: then the bias of the output projection is all that the attention adds.

    The heads that stay keep their numbers, and `removed_heads` of the result says which went: what
    was ranked, discovered or masked before can be used on. The `.model` of the result is a plain
    module to train, compile or export.

    >>> import vtcd_ops
    >>> adapter = vtcd_ops.load_model("hf_videomae:mini")
    >>> smaller = vtcd_ops.prune(adapter, heads=[(0, 1), (0, 3), (2, 0)])
    >>> smaller.name, sorted(smaller.removed_heads)
    ('hf_videomae:mini (3 of 24 heads removed)', [(0, 1), (0, 3), (2, 0)])

    Args:
        model: the model.
        importance: of its heads, from `rank(..., units="heads")`.
        fraction: share of the heads it has now that goes, the least important ones, in [0, 1);
            rounded to a whole number, and at least one head stays.
        heads: in place of importance and fraction: the heads (layer, head) to take out.
        inplace: take them out of the model that is given instead of a copy, and return its adapter.

    Raises:
        InputError: a fraction outside [0, 1), an importance of another model or of concepts, heads
            that are not there, all heads, or a model whose heads cannot be found.
    """
    if not isinstance(model, AttentionAdapter):
        raise InputError(
            "prune: model expected an adapter derived from vtcd_ops.adapters.AttentionAdapter, "
            f"got {type(model).__name__}"
        )
    present = {
        (layer, head) for layer in range(model.num_layers) for head in model.kept_heads(layer)
    }
    if (importance is None) == (heads is None):
        got = "neither" if heads is None else "both"
        raise InputError(f"prune: expected either importance or heads, got {got}")
    if importance is not None:
        removed = _least_important(model, importance, fraction, present)
    else:
        removed = _checked_heads(model, heads, present)
    if removed == present:
        raise InputError(
            f"prune: at least one head expected to stay, all {len(present)} were named"
        )
    for layer in sorted({layer for layer, _ in removed}):
        if model.head_modules(layer) is None:
            raise InputError(_unsupported(model, layer))
    gone = len(model.removed_heads | removed)
    total = counted(model.num_layers * model.num_heads, "head")
    base = model.known_as[0] if model.known_as else model.name
    return model.without_heads(removed, f"{base} ({gone} of {total} removed)", inplace=inplace)


def _least_important(
    model: AttentionAdapter, importance: HeadImportance, fraction: float, present: set[Head]
) -> set[Head]:
    """The heads that matter least among those that are there."""
    real = isinstance(fraction, (int, float, np.number)) and not isinstance(fraction, bool)
    if not real or not 0 <= float(fraction) < 1:
        raise InputError(f"prune: fraction expected a number in [0, 1), got {fraction!r}")
    units = np.asarray(importance.units)
    if (units[:, 2] != -1).any():
        raise InputError(
            "prune: importance expected of heads, got one of concepts: "
            'rank with units="heads" (--units heads)'
        )
    ranked = [(int(layer), int(head)) for layer, head, _ in units[np.asarray(importance.order)]]
    _expect_same_model(model, importance, set(ranked), present)
    least = [head for head in reversed(ranked) if head in present]
    count = min(math.floor(float(fraction) * len(present) + 0.5), len(present) - 1)
    return set(least[:count])


def _expect_same_model(
    model: AttentionAdapter, importance: HeadImportance, ranked: set[Head], present: set[Head]
) -> None:
    """Raise where an importance is of another model, or of some of the heads."""
    settings: Any = getattr(importance, "settings", None)
    name = settings.get("model") if isinstance(settings, dict) else None
    if name is not None and name not in (model.name, *model.known_as):
        raise InputError(
            f"prune: importance expected of {model.name}, got one of {name}; where that is the "
            "same model under another name, name the heads instead (heads=)"
        )
    missing, unknown = (
        sorted(present - ranked),
        sorted(
            (layer, head)
            for layer, head in ranked
            if layer >= model.num_layers or head >= model.num_heads
        ),
    )
    if missing or unknown:
        layer, head = (missing or unknown)[0]
        what = "is missing" if missing else "is not in the model"
        raise InputError(
            f"prune: importance expected of every head of {model.name} and no other, but layer "
            f"{layer} head {head} {what}"
        )


def _checked_heads(
    model: AttentionAdapter, heads: Iterable[Head] | None, present: set[Head]
) -> set[Head]:
    """The heads that are named, if they are there."""
    removed = set()
    for one in heads or ():
        try:
            layer, head = (int(number) for number in one)
        except (TypeError, ValueError):
            raise InputError(f"prune: heads expected pairs (layer, head), got {one!r}") from None
        if not (0 <= layer < model.num_layers and 0 <= head < model.num_heads):
            raise InputError(
                f"prune: heads expected layers 0 to {model.num_layers - 1} and heads 0 to "
                f"{model.num_heads - 1}, got layer {layer} head {head}"
            )
        if (layer, head) not in present:
            raise InputError(f"prune: layer {layer} head {head} was taken out before")
        removed.add((layer, head))
    return removed


def _unsupported(model: AttentionAdapter, layer: int) -> str:
    return (
        f"prune: nothing says where the heads of layer {layer} of {model.name} are; known are "
        "VideoMAE, ViViT, DINOv2, TimeSformer, V-JEPA 2, TCOW, InternVideo and what open_attention "
        f"opens. For another model let head_modules(layer) of {type(model).__name__} return its "
        "vtcd_ops.adapters.HeadModules (docs/pruning.md)"
    )
