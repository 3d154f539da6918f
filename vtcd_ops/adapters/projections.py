"""The adapter for models whose attention is made of projection modules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import PARTS, Site, Visitor
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.heads import HeadModules, linear_heads
from vtcd_ops.adapters.multihead import OpenAttention
from vtcd_ops.common.errors import InputError

__all__ = ["ProjectionAdapter", "Projections"]


_HIDING = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


@dataclass(frozen=True)
class Projections:
    """The modules of one attention layer between which its features travel.

    Attributes:
        outputs: takes the heads' outputs [..., A*C] as its first argument (the output projection).
        queries, keys, values: each returns [..., A*C], heads outermost.
        qkv: in place of the three, returns [..., 3*A*C]: queries, keys, values, heads outermost.
    """

    outputs: nn.Module
    queries: nn.Module | None = None
    keys: nn.Module | None = None
    values: nn.Module | None = None
    qkv: nn.Module | None = None

    def __post_init__(self) -> None:
        separate = [self.queries, self.keys, self.values]
        given = [module is not None for module in separate]
        if (self.qkv is None and not all(given)) or (self.qkv is not None and any(given)):
            raise InputError(
                "Projections: expected either qkv or all of queries, keys and values; "
                f"got qkv={type(self.qkv).__name__}, "
                f"{', '.join(type(module).__name__ for module in separate)}"
            )
        named = [module for module in (self.outputs, self.qkv, *separate) if module is not None]
        if len({id(module) for module in named}) < len(named):
            raise InputError("Projections: expected different modules, got one of them twice")
        for module in (self.outputs, self.qkv, *separate):
            if module is not None and not isinstance(module, nn.Module):
                raise InputError(f"Projections: expected modules, got {type(module).__name__}")
            if isinstance(module, _HIDING):
                raise InputError(
                    f"Projections: {type(module).__name__} hides its projections: "
                    "vtcd_ops.adapters.open_attention(model) gives a copy of the model in which "
                    "they are modules, named queries, keys, values and out_proj"
                )


class ProjectionAdapter(AttentionAdapter):
    """Adapter for any model whose attention is made of projection modules, as most are.

    Features are read and edited where the projections return them, so rotary embeddings come later.
    Attention that hides its projections (`torch.nn.MultiheadAttention`) has no such modules:
    `open_attention` gives it some.

    >>> from torch.nn import Linear, ModuleDict
    >>> from vtcd_ops.adapters import FrameTransform, ProjectionAdapter, Projections
    >>> block = ModuleDict({"qkv": Linear(16, 48), "proj": Linear(16, 16)})
    >>> adapter = ProjectionAdapter(
    ...     block, name="mine", projections=[Projections(qkv=block["qkv"], outputs=block["proj"])],
    ...     num_heads=2, num_frames=4, tubelet_size=2, token_grid=(2, 4, 4),
    ...     frames=FrameTransform(size=(32, 32)))
    >>> adapter
    ProjectionAdapter('mine', 1 layers x 2 heads x 8 channels, 2x4x4 tokens)

    Args:
        model: the model; its forward takes clips [B, T, 3, H', W'] (override `forward` otherwise).
        projections: one entry a layer, in the order the layers run.
        head_dim: worked out from the projections when one of the first layer's is an `nn.Linear`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        projections: Sequence[Projections],
        num_heads: int,
        head_dim: int | None = None,
        **attributes: Any,
    ) -> None:
        if len(projections) == 0:
            raise InputError(
                "ProjectionAdapter: expected attention layers, found none in "
                f"{type(model).__name__}; is it a transformer?"
            )
        if head_dim is None:
            width = _width(projections[0])
            if not isinstance(width, int) or width % num_heads:
                raise InputError(
                    "ProjectionAdapter: head_dim expected when the projections' width "
                    f"({width}) is no multiple of {num_heads} heads"
                )
            head_dim = width // num_heads
        super().__init__(
            model,
            num_layers=len(projections),
            num_heads=num_heads,
            head_dim=head_dim,
            **attributes,
        )
        # Names, not modules: they hold for a copy of the model too.
        names = {id(module): name for name, module in model.named_modules()}
        self._module_names = [
            _names_of(layer, entry, names) for layer, entry in enumerate(projections)
        ]

    def identity(self) -> dict[str, Any]:
        """Return what features depend on: also the modules between which they are read."""
        return {**super().identity(), "taps": self._module_names}

    @contextlib.contextmanager
    def tap(self, sites: Collection[Site], visit: Visitor) -> Iterator[None]:
        """While open, passes the features of `sites` through `visit` in every forward."""
        with contextlib.ExitStack() as hooks:
            for layer in sorted({layer for _, layer in sites}):
                parts = [part for part in PARTS if (part, layer) in sites]
                for handle in self._hook(layer, parts, visit):
                    hooks.callback(handle.remove)
            yield

    def _hook(self, layer: int, parts: list[str], visit: Visitor) -> Iterator[Any]:
        """Hook one layer; yields the handles."""
        if not self.kept_heads(layer):
            yield from self.hook_empty(layer, parts, visit)
            return
        visit = self.padded(visit)
        names = self._module_names[layer]
        inputs = [part for part in parts if part != "outputs"]
        if "qkv" in names and inputs:
            hook = self._after_fused(layer, inputs, visit)
            yield self._module(names["qkv"]).register_forward_hook(hook)
        elif inputs:
            for part in inputs:
                hook = self._after(part, layer, visit)
                yield self._module(names[part]).register_forward_hook(hook)
        if "outputs" in parts:
            before = self._before(layer, visit)
            yield self._module(names["outputs"]).register_forward_pre_hook(before)

    def head_modules(self, layer: int) -> HeadModules | None:
        """Return where the heads of a layer are; here of what `open_attention` gives alone."""
        names = self._module_names[layer]
        attention = names["outputs"].rpartition(".")[0]
        if self.kept_heads(layer) and not isinstance(self._module(attention), OpenAttention):
            return None
        return HeadModules(
            attention,
            linear_heads(*(names[role] for role in ("queries", "keys", "values"))),
            names["outputs"],
            ((f"{attention}.num_heads", 1),),
            returns="pair",
        )

    def _module(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)

    def _visited(self, part: str, layer: int, flat: Tensor, visit: Visitor) -> Tensor:
        """Show `visit` one part [B', N', A*C]; gives the same object back if it changed nothing."""
        self._check(part, layer, flat)
        # [B', A, N', C]; some models put all clips of a batch into one row and leave its axis out
        split = flat.unflatten(-1, (len(self.kept_heads(layer)), self.head_dim))
        raw = (split if flat.dim() == 3 else split.unsqueeze(0)).transpose(1, 2)
        layout = self.layout_of(layer)
        features = layout.to_tokens(raw, self.token_grid)
        edited = visit(part, layer, features)
        if edited is features:
            return flat
        back = layout.from_tokens(edited, self.token_grid).transpose(1, 2).flatten(2)
        return back if flat.dim() == 3 else back.squeeze(0)

    def _check(self, part: str, layer: int, flat: Any, parts: int = 1) -> None:
        """Refuse what no projection of heads returns, or takes."""
        num_heads = len(self.kept_heads(layer))
        width = parts * num_heads * self.head_dim
        if not isinstance(flat, Tensor) or flat.dim() not in (2, 3) or flat.shape[-1] != width:
            got = list(flat.shape) if isinstance(flat, Tensor) else f"a {type(flat).__name__}"
            raise InputError(
                f"{self.name}: the module named for the {part} of layer {layer} expected to hand "
                f"on [B, N, {width}], {num_heads} heads of {self.head_dim} channels"
                f"{' three times' if parts == 3 else ''}, got {got}"
            )

    def _after(self, part: str, layer: int, visit: Visitor) -> Callable[..., Tensor | None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            changed = self._visited(part, layer, output, visit)
            return None if changed is output else changed

        return hook

    def _after_fused(self, layer: int, parts: list[str], visit: Visitor) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            self._check("queries, keys and values", layer, output, parts=3)
            thirds = list(output.chunk(3, dim=-1))
            changed = [
                self._visited(part, layer, third, visit) if part in parts else third
                for part, third in zip(PARTS, thirds, strict=False)
            ]
            if all(new is old for new, old in zip(changed, thirds, strict=True)):
                return None
            return torch.cat(changed, dim=-1)

        return hook

    def _before(self, layer: int, visit: Visitor) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            changed = self._visited("outputs", layer, args[0], visit)
            return None if changed is args[0] else (changed, *args[1:])

        return hook


def _width(entry: Projections) -> int | None:
    """Return the channels of all heads together, if one of the projections is a linear layer."""
    for module, name, parts in (
        (entry.outputs, "in_features", 1),
        (entry.queries, "out_features", 1),
        (entry.qkv, "out_features", 3),
    ):
        width = getattr(module, name, None)
        if isinstance(width, int):
            return width // parts
    return None


def _names_of(layer: int, entry: Projections, names: dict[int, str]) -> dict[str, str]:
    """The names, inside the model, of the modules of one layer."""
    found = {}
    for role in ("queries", "keys", "values", "qkv", "outputs"):
        module = getattr(entry, role)
        if module is None:
            continue
        if id(module) not in names:
            raise InputError(
                f"ProjectionAdapter: the {role} projection of layer {layer} is no part of the model"
            )
        found[role] = names[id(module)]
    return found
