"""What adapters share of taking heads and neurons out of a model, and of showing the others."""

from __future__ import annotations

import abc
import contextlib
import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from vtcd_ops.adapters.adapter import Site, Visitor
from vtcd_ops.adapters.heads import HeadModules, cut_heads
from vtcd_ops.adapters.layout import TokenLayout, TokenOrder
from vtcd_ops.adapters.lock import alone_in
from vtcd_ops.adapters.neurons import NeuronModules, cut_neurons, find_neurons, to_intervals
from vtcd_ops.adapters.weights import weights_sha256
from vtcd_ops.common.errors import InputError

__all__ = ["NeuronVisitor", "PrunableAdapter"]

#: Called with (layer, the neurons that are left, [B', N', H]); what it returns goes on.
NeuronVisitor = Callable[[int, Tensor], Tensor]


class PrunableAdapter(abc.ABC):
    """The part of `AttentionAdapter` that knows what was taken out of its model."""

    #: Heads (layer, head) that were taken out of the model. They keep their numbers: features of
    #: them are zero, and what an edit returns for them is dropped.
    removed_heads: frozenset[tuple[int, int]] = frozenset()
    #: Hidden neurons of the perceptrons that were taken out, by layer, ascending; the others keep
    #: their numbers.
    removed_neurons: Mapping[int, tuple[int, ...]] = {}  # never changed in place
    #: Names, and fingerprints of the weights, that the model had before something was taken out.
    known_as: tuple[str, ...] = ()
    known_weights: tuple[str, ...] = ()

    model: Any
    name: str
    num_layers: int
    num_heads: int
    head_dim: int
    token_grid: tuple[int, int, int]
    layout: TokenLayout

    @abc.abstractmethod
    def tap(self, sites: Collection[Site], visit: Visitor) -> AbstractContextManager[None]:
        """While open, passes the features of `sites` through `visit` in every forward."""

    def layout_of(self, layer: int) -> TokenLayout | TokenOrder:
        """Return how a layer arranges its tokens: as all of them do, unless a subclass knows."""
        return self.layout

    def removed_identity(self) -> dict[str, Any]:
        """Return what was taken out, as JSON; nothing of a whole model."""
        heads = {"removed_heads": sorted(self.removed_heads)} if self.removed_heads else {}
        neurons = {str(layer): to_intervals(its) for layer, its in self.removed_neurons.items()}
        return {**heads, **({"removed_neurons": neurons} if neurons else {})}

    def head_modules(self, layer: int) -> HeadModules | None:
        """Return where the heads of a layer are, so that they can be taken out; None: unknown."""
        return None

    def kept_heads(self, layer: int) -> list[int]:
        """Return the heads that a layer has, by their own numbers."""
        return [head for head in range(self.num_heads) if (layer, head) not in self.removed_heads]

    def without(
        self,
        heads: Iterable[tuple[int, int]],
        neurons: Mapping[int, Iterable[int]],
        name: str,
        *,
        inplace: bool = False,
    ) -> Self:
        """Return the adapter of a smaller model, without some more of its heads and neurons.

        Args:
            heads: which (layer, head), by their own numbers; their `head_modules` are known.
            neurons: which of each layer, by their own numbers; its `neuron_modules` are known.
            name: of the smaller model.
            inplace: take them out of this model instead of a copy, and return this adapter.
        """
        removed = self.removed_heads | set(heads)
        gone = {layer: set(its) for layer, its in self.removed_neurons.items()}
        for layer, its in neurons.items():
            gone[layer] = gone.get(layer, set()) | set(its)
        with alone_in(self.model):
            before = _fingerprint(self.model)
            cuts = [*self._head_cuts(removed), *self._neuron_cuts(gone)]  # all, before the first
            model = self.model if inplace else copy.deepcopy(self.model)
            for cut in cuts:
                cut(model)
        adapter = self if inplace else copy.copy(self)
        adapter.known_as = (*self.known_as, self.name)
        adapter.known_weights = (*self.known_weights, *before)
        adapter.model, adapter.name, adapter.removed_heads = model, name, frozenset(removed)
        adapter.removed_neurons = {n: tuple(sorted(gone[n])) for n in sorted(gone) if gone[n]}
        return adapter

    def _head_cuts(self, removed: Collection[tuple[int, int]]) -> Iterator[Callable[..., None]]:
        """What takes the heads out that are still there, layer by layer."""
        for layer in sorted({layer for layer, _ in set(removed) - self.removed_heads}):
            modules, had = self.head_modules(layer), self.kept_heads(layer)
            if modules is None:
                raise InputError(f"{self.name}: nothing says where the heads of {layer} are")
            kept = [place for place, head in enumerate(had) if (layer, head) not in removed]
            yield partial(cut_heads, modules=modules, kept=kept, head_dim=self.head_dim)

    def _neuron_cuts(self, gone: Mapping[int, Collection[int]]) -> Iterator[Callable[..., None]]:
        """What takes the neurons out that are still there, layer by layer."""
        for layer, its in sorted(gone.items()):
            modules, had = self.neuron_modules(layer), self.kept_neurons(layer)
            if modules is None:
                raise InputError(f"{self.name}: nothing says where the neurons of {layer} are")
            kept = [place for place, number in enumerate(had) if number not in its]
            if len(kept) < len(had):
                yield partial(cut_neurons, modules=modules, kept=kept)

    def padded(self, visit: Visitor) -> Visitor:
        """Return a visitor of the features of the heads that are left; `visit` sees all heads."""
        if not self.removed_heads:
            return visit

        def show(part: str, layer: int, features: Tensor) -> Tensor:  # [B, heads left, P+N, C]
            kept = self.kept_heads(layer)
            if len(kept) == self.num_heads:
                return visit(part, layer, features)
            places = torch.tensor(kept, device=features.device)
            batch, _, tokens, channels = features.shape
            whole = features.new_zeros(batch, self.num_heads, tokens, channels)
            whole = whole.index_copy(1, places, features)
            edited = visit(part, layer, whole)
            return features if edited is whole else edited.index_select(1, places)

        return show

    def hook_empty(self, layer: int, parts: Collection[str], visit: Visitor) -> Iterator[Any]:
        """Hook a layer without heads, whose features are zeros; yields the handle."""
        modules = self.head_modules(layer)
        assert modules is not None
        hook = self._show_zeros(layer, parts, visit)
        attention = self.model.get_submodule(modules.attention)
        yield attention.register_forward_pre_hook(hook, with_kwargs=True)

    def _show_zeros(
        self, layer: int, parts: Collection[str], visit: Visitor
    ) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tokens: Tensor = (*args, *kwargs.values())[0]  # [B', N', D]
            batch, count, _ = tokens.shape
            zeros = tokens.new_zeros(batch, self.num_heads, count, self.head_dim)
            features = self.layout_of(layer).to_tokens(zeros, self.token_grid)
            for part in parts:
                visit(part, layer, features)

        return hook

    def neuron_modules(self, layer: int) -> NeuronModules | None:
        """Return where the hidden neurons of a layer's perceptron are; None: unknown.

        Found by the names that perceptrons have in the block of the layer's attention.
        """
        modules = self.head_modules(layer)
        return None if modules is None else find_neurons(self.model, modules.attention)

    def num_neurons(self, layer: int) -> int:
        """Return how many neurons a layer of the whole model has; 0 where they are unknown."""
        modules = self.neuron_modules(layer)
        if modules is None:
            return 0
        left: int = self.model.get_submodule(modules.columns).in_features
        return left + len(self.removed_neurons.get(layer, ()))

    def kept_neurons(self, layer: int) -> list[int]:
        """Return the neurons that a layer has, by their own numbers."""
        gone = set(self.removed_neurons.get(layer, ()))
        return [number for number in range(self.num_neurons(layer)) if number not in gone]

    @contextlib.contextmanager
    def tap_neurons(self, layers: Iterable[int], visit: NeuronVisitor) -> Iterator[None]:
        """While open, passes the neurons of some layers through `visit` in every forward.

        It sees those that are left, [B', N', H], at every token, prefix tokens included; frames of
        an image model, or of one that looks at each frame alone, are in the batch, clip by clip.
        """
        with contextlib.ExitStack() as hooks:
            for layer in layers:
                modules = self.neuron_modules(layer)
                if modules is None:
                    raise InputError(f"{self.name}: nothing says where the neurons of {layer} are")
                output = self.model.get_submodule(modules.columns)
                handle = output.register_forward_pre_hook(_visiting(layer, visit))
                hooks.callback(handle.remove)
            yield


def _fingerprint(model: nn.Module) -> list[str]:
    """The fingerprint of a model's weights; none where they have no values."""
    if any(one.is_meta for one in model.parameters()):
        return []
    return [weights_sha256(model)]


def _visiting(layer: int, visit: NeuronVisitor) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        edited = visit(layer, args[0])
        return None if edited is args[0] else (edited, *args[1:])

    return hook
