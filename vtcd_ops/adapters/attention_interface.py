"""Adapter for Hugging Face models that compute their attention through `AttentionInterface`.

It needs transformers, so only `vtcd_ops.adapters.huggingface` imports it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from vtcd_ops.adapters.adapter import PARTS, Site, Visitor
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.heads import HeadModules, linear_heads
from vtcd_ops.adapters.pretrained import HuggingFaceMixin
from vtcd_ops.common.errors import InputError

__all__ = ["AttentionInterfaceAdapter", "Listener", "attention_layers", "listening"]

# Must not contain the name of another implementation: transformers looks for "sdpa" and "flash".
_IMPLEMENTATION = "vtcd_tap"


#: Sees (module, part, features [B', A, N', C]); what it returns goes on through the model.
Listener = Callable[[nn.Module, str, Tensor], Tensor]


class _OpenTap:
    """What is listening to one model (all taps of a model share it)."""

    def __init__(self, implementation: str) -> None:
        self.implementation = implementation
        self.listeners: list[Listener] = []

    def show(self, module: nn.Module, part: str, features: Tensor) -> Tensor:
        for listener in self.listeners:
            features = listener(module, part, features)
        return features


# Keyed by id of the configuration that names the attention function; empty when none is open.
_open_taps: dict[int, _OpenTap] = {}


def _attention(
    module: nn.Module,
    query: Tensor,  # [B, A, N, C], as are key and value
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that models run while tapped: the one they had, with visits."""
    tap = _open_taps[id(module.config)]
    query = tap.show(module, "queries", query)
    key = tap.show(module, "keys", key)
    value = tap.show(module, "values", value)
    attend = _implementation(module, tap.implementation)
    output, weights = attend(module, query, key, value, attention_mask, **kwargs)
    features = output.transpose(1, 2)  # [B, N, A, C] -> [B, A, N, C]
    edited = tap.show(module, "outputs", features)
    return (output if edited is features else edited.transpose(1, 2)), weights


def _implementation(module: nn.Module, name: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The attention function a module would have run."""
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    found: Callable[..., tuple[Tensor, Tensor | None]]
    found = AttentionInterface().get_interface(name, eager)  # type: ignore[arg-type]
    return found


AttentionInterface.register(_IMPLEMENTATION, _attention)


class AttentionInterfaceAdapter(HuggingFaceMixin, AttentionAdapter):
    """Adapter for Hugging Face models that go through `AttentionInterface`, as most now do.

    One function, registered once, takes the place of the attention function while something is
    captured or edited; the one the model had does the work, so the numbers stay the same bits.

    Args:
        model: the model.
        attentions: the modules that call the attention function, one a layer; by default those
            that `attention_layers` finds.
        **attributes: see `AttentionAdapter`; `head_dim` by default from the configuration.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        attentions: Sequence[nn.Module] | None = None,
        **attributes: Any,
    ) -> None:
        if not model._can_set_attn_implementation():
            raise InputError(
                f"AttentionInterfaceAdapter: {type(model).__name__} does not compute its attention "
                "through transformers' AttentionInterface"
            )
        if attentions is None:
            attentions = attention_layers(model)
        if "head_dim" not in attributes:
            config = model.config
            attributes["head_dim"] = config.hidden_size // config.num_attention_heads
        super().__init__(model, num_layers=len(attentions), **attributes)
        # Names, not modules: they hold for a copy of the model too.
        names = {id(module): name for name, module in model.named_modules()}
        self._attention_names = [names[id(module)] for module in attentions]

    def head_modules(self, layer: int) -> HeadModules | None:
        """Return where the heads of a layer are, under the names transformers gives them."""
        inner = self._attention_names[layer]
        outer = inner.rpartition(".")[0]
        names = {name for name, _ in self.model.named_modules()}
        if not self.kept_heads(layer):  # the names below are gone with the last head
            inside = inner in names
            return HeadModules(inner if inside else outer, (), "")
        for projections, output, attention, returns in (
            (("q_proj", "k_proj", "v_proj"), f"{inner}.o_proj", inner, "pair"),
            (("query", "key", "value"), f"{outer}.output.dense", outer, "tensor"),
        ):
            rows = [f"{inner}.{name}" for name in projections]
            if {*rows, output} <= names:
                counts = {"num_attention_heads": 1, "all_head_size": self.head_dim}
                module = self.model.get_submodule(inner)
                counted = [(f"{inner}.{k}", n) for k, n in counts.items() if hasattr(module, k)]
                return HeadModules(attention, linear_heads(*rows), output, tuple(counted), returns)
        return None

    @contextlib.contextmanager
    def tap(self, sites: Collection[Site], visit: Visitor) -> Iterator[None]:
        """While open, passes the features of `sites` through `visit` in every forward."""
        modules = {
            layer: self.model.get_submodule(name)
            for layer, name in enumerate(self._attention_names)
            if self.kept_heads(layer)
        }
        layer_of = {id(module): layer for layer, module in modules.items()}
        wanted, padded = frozenset(sites), self.padded(visit)

        def listen(module: nn.Module, part: str, raw: Tensor) -> Tensor:
            layer = layer_of.get(id(module))
            if layer is None or (part, layer) not in wanted:
                return raw
            layout = self.layout_of(layer)
            features = layout.to_tokens(raw, self.token_grid)
            edited = padded(part, layer, features)
            return raw if edited is features else layout.from_tokens(edited, self.token_grid)

        with listening(self.model, listen), contextlib.ExitStack() as hooks:
            for layer in sorted({layer for _, layer in sites} - modules.keys()):
                parts = [part for part in PARTS if (part, layer) in sites]
                for handle in self.hook_empty(layer, parts, visit):
                    hooks.callback(handle.remove)
            yield


@contextlib.contextmanager
def listening(model: PreTrainedModel, listener: Listener) -> Iterator[None]:
    """Show a function what every attention module of a model is given and gives, while open.

    It is called with (module, part, features [B', A, N', C]) in every call of the attention
    function, and what it returns goes on; the features as the model has them, rotated or not.
    """
    with _tapped(model) as tap:
        tap.listeners.append(listener)
        try:
            yield
        finally:
            tap.listeners.remove(listener)


@contextlib.contextmanager
def _tapped(model: PreTrainedModel) -> Iterator[_OpenTap]:
    """Switch a model to the tapping attention function, unless it is, and back at the end."""
    configs = {id(each.config): each.config for each in model.modules() if hasattr(each, "config")}
    before = model.config._attn_implementation
    tap = _open_taps.get(id(model.config))
    if tap is not None:
        yield tap
        return
    tap = _OpenTap(before)
    _open_taps.update(dict.fromkeys(configs, tap))
    try:
        model.set_attn_implementation(_IMPLEMENTATION)
        yield tap
    finally:
        model.set_attn_implementation(before)
        for key in configs:
            del _open_taps[key]


def attention_layers(model: PreTrainedModel) -> list[nn.Module]:
    """Find the attention module of each encoder layer by what it is, not by its name.

    The encoder is the first list of `config.num_hidden_layers` blocks in the base model; the
    attention module of a block is the first inside it that knows its number of heads.

    Raises:
        InputError: the model has no such list.
    """
    wanted = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            found = [_first_attention(block) for block in module]
            if all(attention is not None for attention in found):
                return [attention for attention in found if attention is not None]
    raise InputError(
        f"{type(model).__name__}: expected {wanted} attention layers, found none; "
        "is it a transformer?"
    )


def _first_attention(block: nn.Module) -> nn.Module | None:
    for module in block.modules():
        heads = getattr(module, "num_attention_heads", getattr(module, "num_heads", None))
        if (
            isinstance(heads, int)
            and module is not block
            and any(isinstance(child, nn.Linear) for child in module.children())
        ):
            return module
    return None
