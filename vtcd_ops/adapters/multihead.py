"""`torch.nn.MultiheadAttention` with projections that can be captured and edited."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vtcd_ops.common.errors import InputError

__all__ = ["OpenAttention", "open_attention"]

Model = TypeVar("Model", bound=nn.Module)


def open_attention(model: Model) -> Model:
    """Return a copy of a model in which every `nn.MultiheadAttention` shows its projections.

    The copy computes the same numbers to rounding, also inside `nn.TransformerEncoder`.

    >>> from vtcd_ops.adapters import Projections, open_attention
    >>> layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    >>> model = open_attention(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval())
    >>> projections = [
    ...     Projections(queries=block.self_attn.queries, keys=block.self_attn.keys,
    ...                 values=block.self_attn.values, outputs=block.self_attn.out_proj)
    ...     for block in model.layers]

    Args:
        model: it is left alone; its attention takes batches first ([B, N, C]).

    Raises:
        InputError: there is no such attention in it, or one of a kind that cannot be opened.
    """
    opened = copy.deepcopy(model)
    found = 0
    for parent in list(opened.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(parent, name, OpenAttention(child))
                found += 1
    if found == 0:
        raise InputError(
            f"open_attention: {type(model).__name__} expected to hold a MultiheadAttention, "
            "got none"
        )
    return opened


class OpenAttention(nn.Module):
    """Attention as `nn.MultiheadAttention` computes it, with linear layers for its projections.

    Args:
        attention: whose weights are taken over.

    Attributes:
        queries, keys, values, out_proj: the linear layers.
    """

    # What nn.TransformerEncoderLayer reads to choose a fused kernel, which would pass by them.
    _qkv_same_embed_dim = False
    in_proj_bias = None

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        unknown = attention.bias_k is not None or attention.add_zero_attn
        if unknown or not attention.batch_first:
            raise InputError(
                "open_attention: MultiheadAttention expected with batch_first=True, without "
                f"add_bias_kv and add_zero_attn, got {attention}"
            )
        self.embed_dim, self.num_heads = attention.embed_dim, attention.num_heads
        self.batch_first, self.dropout = True, attention.dropout
        separate = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        weights = (
            separate if attention.in_proj_weight is None else attention.in_proj_weight.chunk(3)
        )
        bias = attention.in_proj_bias
        biases = (None, None, None) if bias is None else bias.chunk(3)
        self.queries, self.keys, self.values = map(_linear, weights, biases)
        self.out_proj = _linear(attention.out_proj.weight, attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,  # [B, N, C]
        key: Tensor,  # [B, M, C]
        value: Tensor,
        key_padding_mask: Tensor | None = None,  # [B, M]
        need_weights: bool = True,
        attn_mask: Tensor | None = None,  # [N, M] or [B*A, N, M]
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, see `torch.nn.MultiheadAttention`; a batch is expected."""
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, A, N, C/A]
            for project, x in ((self.queries, query), (self.keys, key), (self.values, value))
        )
        mask = _added(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            weights = (scores if mask is None else scores + mask).softmax(dim=-1)
            weights = functional.dropout(weights, dropout)
            out = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
        else:
            out = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        projected: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return projected, weights


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with a copy of these weights."""
    width_out, width_in = weight.shape
    layer = nn.Linear(width_in, width_out, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return layer


def _added(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
) -> Tensor | None:  # to [B, A, N, M]
    """Return both masks as numbers to add to the scores; True stands for minus infinity."""
    masks = []
    if attn_mask is not None:
        rows = attn_mask.dim() == 3
        masks.append(attn_mask.unflatten(0, query.shape[:2]) if rows else attn_mask)
    if key_padding_mask is not None:
        masks.append(key_padding_mask[:, None, None])
    total = None
    for mask in masks:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask, float("-inf"))
        total = mask if total is None else total + mask
    return total
