"""Taking attention heads out of a model: which weights are theirs, and what stays without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "RETURNS",
    "ConstantAttention",
    "HeadModules",
    "cut_heads",
    "cut_weights",
    "linear_heads",
    "replace_parameter",
]

#: What an attention module returns: its output alone, in a tuple of one, or before None.
RETURNS = ("tensor", "single", "pair")


@dataclass(frozen=True)
class HeadModules:
    """Where the heads of one attention layer are in a model; everything is named from its top.

    Args:
        attention: the module that takes the tokens [B, N, D] and returns what the output projection
            makes of all heads; another takes its place where no head is left.
        rows: parameters whose rows belong to heads, heads outermost, and how often the heads are
            repeated in them: 1, or 3 of fused queries, keys and values. Those that a module has not
            (None) are left out.
        columns: the output projection, a linear layer whose columns belong to heads.
        counts: attributes that count heads, and how much one head adds to each.
        returns: what `attention` returns, of `RETURNS`.
    """

    attention: str
    rows: tuple[tuple[str, int], ...]
    columns: str
    counts: tuple[tuple[str, int], ...] = ()
    returns: str = "tensor"


def linear_heads(*projections: str, fused: bool = False) -> tuple[tuple[str, int], ...]:
    """Return the `rows` of `HeadModules` for linear layers.

    >>> linear_heads("attn.qkv", fused=True)
    (('attn.qkv.weight', 3), ('attn.qkv.bias', 3))
    """
    repeated = 3 if fused else 1
    return tuple((f"{name}.{end}", repeated) for name in projections for end in ("weight", "bias"))


class ConstantAttention(nn.Module):
    """What is left of an attention layer without heads: the bias of its output projection.

    Args:
        bias: of the output projection, [D]; None: it has none, and nothing is added.
        like: whose dtype and device a missing bias has.
        width: channels of a token, D.
        returns: of `RETURNS`.
    """

    # What nn.TransformerEncoderLayer reads to choose a fused kernel, which would pass by this.
    batch_first, num_heads, in_proj_bias, _qkv_same_embed_dim = True, 0, None, False

    def __init__(self, bias: nn.Parameter | None, like: Tensor, width: int, returns: str) -> None:
        super().__init__()
        self.returns = returns
        if bias is None:
            self.register_buffer("bias", like.new_zeros(width))
        else:
            self.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)

    def forward(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the bias for every token [B, N, D], as the attention would return it."""
        out = self.bias.expand(*tokens.shape[:-1], -1)
        if self.returns == "tensor":
            return out
        return (out,) if self.returns == "single" else (out, None)


def cut_weights(
    model: nn.Module,
    rows: Sequence[tuple[str, int]],
    columns: str,
    kept: Sequence[int],
    width: int,
) -> None:
    """Leave some units in the weights that make them and in the projection that reads them.

    Args:
        model: the model.
        rows: parameters whose rows make the units, and how many times over.
        columns: the linear layer whose columns read them.
        kept: places of those to keep among those that there are now, ascending.
        width: rows, and columns, of one unit.
    """
    output: Any = model.get_submodule(columns)
    index = torch.tensor(list(kept), dtype=torch.long, device=output.weight.device)
    for name, repeated in rows:
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        old = getattr(module, attribute)
        if old is None:
            continue
        parts = old.detach().unflatten(0, (repeated, -1, width)).index_select(1, index)
        replace_parameter(module, attribute, old, parts.flatten(0, 2))
        if isinstance(module, nn.Linear):
            module.out_features = len(getattr(module, attribute))
    weight = output.weight.detach().unflatten(1, (-1, width)).index_select(1, index)
    replace_parameter(output, "weight", output.weight, weight.flatten(1, 2))
    output.in_features = output.weight.shape[1]


def cut_heads(model: nn.Module, modules: HeadModules, kept: Sequence[int], head_dim: int) -> None:
    """Keep some of the heads that a layer has, in place.

    Args:
        model: the model.
        modules: where the layer's heads are.
        kept: places of the heads to keep among those that the layer has now, ascending.
        head_dim: channels of a head.
    """
    output: Any = model.get_submodule(modules.columns)
    if not kept:
        constant = ConstantAttention(
            output.bias, output.weight, output.weight.shape[0], modules.returns
        )
        constant.train(output.training)
        parent, _, name = modules.attention.rpartition(".")
        setattr(model.get_submodule(parent), name, constant)
        return
    cut_weights(model, modules.rows, modules.columns, kept, head_dim)
    for name, each in modules.counts:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, each * len(kept))


def replace_parameter(module: nn.Module, attribute: str, old: nn.Parameter, values: Tensor) -> None:
    """Put a parameter in the place of another, to be trained or not as that was."""
    setattr(module, attribute, nn.Parameter(values, requires_grad=old.requires_grad))
