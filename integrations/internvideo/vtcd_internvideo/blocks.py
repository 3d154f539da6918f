"""Attention and transformer blocks, with the parameters that CLIP and InternVideo publish."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Attention", "AttentionBlock", "TemporalDecoderLayer"]


class Attention(nn.Module):
    """Multi-head attention with the fused projection of `torch.nn.MultiheadAttention`.

    Unlike there, the queries, keys and values of the heads can be hooked: they pass through modules
    of their own, `queries`, `keys` and `values`, and the heads' outputs are what `out_proj` takes.

    Args:
        width: channels, C.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.queries, self.keys, self.values = nn.Identity(), nn.Identity(), nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as `torch.nn.MultiheadAttention` does."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Tensor,  # [B, N, C]
        context: Tensor | None = None,  # [B, M, C]; x itself when None
        causal: bool = False,
    ) -> Tensor:  # [B, N, C]
        """Attend from x to the context; if causal, no token sees those after it."""
        if context is None:
            thirds = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            weights, biases = self.in_proj_weight, self.in_proj_bias
            query = functional.linear(x, weights[:width], biases[:width])
            thirds = (
                query,
                *functional.linear(context, weights[width:], biases[width:]).chunk(2, dim=-1),
            )
        query, key, value = (
            module(third).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, A, N, C / A]
            for module, third in zip((self.queries, self.keys, self.values), thirds, strict=True)
        )
        out = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        projected: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return projected


class AttentionBlock(nn.Module):
    """A block of CLIP: attention and a perceptron, each behind its norm and beside its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = _perceptron(width, 4 * width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:  # [B, N, C] -> [B, N, C]
        """Run the block."""
        x = x + self.attn(self.ln_1(x), causal=causal)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class TemporalDecoderLayer(nn.Module):
    """One look of the video's token at the tokens of all its frames.

    Its attention and its perceptron begin at zero, as upstream's do.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = _perceptron(width, hidden, [nn.Dropout(dropout)])
        self.ln_2 = nn.LayerNorm(width)
        self.ln_3 = nn.LayerNorm(width)
        for last in (self.attn.out_proj, self.mlp[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        summary: Tensor,  # [B, 1, C]
        tokens: Tensor,  # [B, T * (1 + h*w), C]
    ) -> Tensor:  # [B, 1, C]
        """Add to the summary what it finds in the tokens."""
        summary = summary + self.attn(self.ln_1(summary), self.ln_3(tokens))
        out: Tensor = summary + self.mlp(self.ln_2(summary))
        return out


class _QuickGELU(nn.Module):
    """CLIP's approximation of the Gaussian error linear unit."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _perceptron(width: int, hidden: int, between: Sequence[nn.Module] = ()) -> nn.Sequential:
    layers = [("c_fc", nn.Linear(width, hidden)), ("gelu", _QuickGELU())]
    layers += [("dropout", module) for module in between]
    return nn.Sequential(OrderedDict([*layers, ("c_proj", nn.Linear(hidden, width))]))
