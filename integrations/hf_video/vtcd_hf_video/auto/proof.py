"""The proof of what was worked out: by `check_adapter`, and that clips of a batch stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vtcd_ops.adapters import AttentionAdapter, InputError, check_adapter

__all__ = ["prove"]

# Of the largest number: what a batch may change by rounding.
_NEAR = 1e-3


def prove(adapter: Any, names: Sequence[str], clips: Tensor) -> None:
    """Check what was worked out: by `check_adapter`, and that clips of a batch stay apart.

    The layers of one class whose tokens stand alike run the same code, so the first and the last of
    each such kind are checked.
    """
    kinds: dict[Any, list[int]] = {}
    for layer, each in enumerate(names):
        module = type(adapter.model.get_submodule(each))
        kinds.setdefault((module, adapter.orders[layer]), []).append(layer)
    layers = sorted({layer for its in kinds.values() for layer in (its[0], its[-1])})
    try:
        check_adapter(adapter.of_layers(layers))
    except InputError as error:
        raise InputError(f"{adapter.name} could not be proved: {error}") from error
    together = _outputs(adapter, clips)
    for index in range(len(clips)):
        for layer, one in _outputs(adapter, clips[index : index + 1]).items():
            if not _close(together[layer][index : index + 1], one):
                raise InputError(
                    f"{adapter.name} could not be proved: clip {index} of a batch gets other "
                    f"features than alone in {names[layer]}"
                )
    _settle_answer(adapter, clips)


def _outputs(adapter: AttentionAdapter, clips: Tensor) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}

    def keep(part: str, layer: int, features: Tensor) -> Tensor:
        found[layer] = features.clone()
        return features

    sites = [("outputs", layer) for layer in range(adapter.num_layers)]
    with torch.no_grad(), adapter.tap(sites, keep):
        adapter.forward(clips)
    return found


def _settle_answer(adapter: Any, clips: Tensor) -> None:
    """Find out how the answers of several clips stand in one tensor."""
    for clips_innermost in (False, True):
        adapter.clips_innermost = clips_innermost
        try:
            with torch.no_grad():
                [(_, together)] = adapter.predict(clips).items()
                [(_, alone)] = adapter.predict(clips[1:]).items()
        except InputError:  # no answer that has a name: it can be discovered in, and not ranked
            return
        if together[1:].shape == alone.shape and _close(together[1:], alone):
            return
    raise InputError(f"{adapter.name}: the answer of a clip depends on the others of a batch")


def _close(one: Tensor, other: Tensor) -> bool:
    scale = float(other.abs().max())
    return torch.allclose(one, other, rtol=0, atol=_NEAR * scale)
