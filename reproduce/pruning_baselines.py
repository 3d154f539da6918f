# SPDX-License-Identifier: MIT
"""What pruning by CRIS is compared to, and the memory of a forward."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.pruning.batches import ClipBatch


@dataclass(frozen=True)
class Order:
    """An importance of heads, as `vtcd_ops.prune` reads it."""

    units: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, adapter: AttentionAdapter, value: np.ndarray) -> Order:
        """Return that of all heads, layer by layer."""
        heads = [(n, a, -1) for n in range(adapter.num_layers) for a in range(adapter.num_heads)]
        return cls(np.array(heads), np.asarray(value, dtype=float))

    @property
    def order(self) -> np.ndarray:
        """Rows, the most important first."""
        return np.argsort(-self.value, kind="stable")


def by_magnitude(adapter: AttentionAdapter) -> Order:
    """Rank heads by the Euclidean norm of all their weights."""
    squares = _per_head(adapter, lambda weight: weight.detach().square())
    return Order.of(adapter, np.sqrt(squares))


def by_gradient(adapter: AttentionAdapter, batches: Iterable[ClipBatch]) -> Order:
    """Rank heads by |sum of gradient x weight|, of the loss of a clip, averaged over clips.

    To first order that is by how much the loss changes where the head's weights become zero.
    """
    total, count = np.zeros(adapter.num_layers * adapter.num_heads), 0
    for batch in batches:
        assert batch.labels is not None
        for clip, label in zip(batch.clips, batch.labels, strict=True):
            adapter.model.zero_grad()
            logits = adapter.predict(clip[None])["logits"]
            functional.cross_entropy(logits, label[None]).backward()
            total += np.abs(_per_head(adapter, _gradient_times_weight))
            count += 1
    adapter.model.zero_grad()
    return Order.of(adapter, total / count)


def _gradient_times_weight(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad * weight.detach()


def _per_head(adapter: AttentionAdapter, measure: Callable[[Tensor], Tensor]) -> np.ndarray:
    """The sum of what is measured over the weights of each head, float64 [L * A]."""
    found = []
    for layer in range(adapter.num_layers):
        modules = adapter.head_modules(layer)
        assert modules is not None
        total = torch.zeros(adapter.num_heads, dtype=torch.float64)
        for name, repeated in modules.rows:
            owner, _, attribute = name.rpartition(".")
            weight = getattr(adapter.model.get_submodule(owner), attribute)
            if weight is not None:
                parts = (
                    measure(weight).double().flatten(1)
                    if weight.dim() > 1
                    else (measure(weight).double()[:, None])
                )
                total += parts.view(repeated, adapter.num_heads, -1).sum((0, 2))
        output: Any = adapter.model.get_submodule(modules.columns)
        columns = measure(output.weight).double().view(len(output.weight), adapter.num_heads, -1)
        found.append(total + columns.sum((0, 2)))
    return torch.cat(found).numpy()


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive."""

    def __init__(self, beside: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = {one.untyped_storage()._cdata for one in beside}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor):
                self._add(one.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def peak_bytes(model: nn.Module, forward: Callable[[], object]) -> int:
    """Return the bytes of a model's weights and the most that a forward holds beside them."""
    weights = [*model.parameters(), *model.buffers()]
    with _Held(weights) as held:
        forward()
    return sum(one.nbytes for one in weights) + held.most
