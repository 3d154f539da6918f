"""How a model arranges the tokens of a clip, and how they are brought to (t, h, w) order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError

__all__ = ["TokenLayout"]


@dataclass(frozen=True)
class TokenLayout:
    """The arrangement of tokens in a model's attention layers.

    A model attends over `token_axes`; any other axis of the grid stands in its batch dimension.

    >>> TokenLayout()                                   # joint attention, the usual order
    TokenLayout(token_axes='thw', batch_axes='', num_prefix_tokens=0)
    >>> spatial = TokenLayout("hw", "t", num_prefix_tokens=1)   # each frame with its class token
    >>> import torch
    >>> raw = torch.randn(2 * 4, 6, 1 + 9, 8)           # [B*t, A, 1 + h*w, C]
    >>> spatial.to_tokens(raw, (4, 3, 3)).shape         # [B, A, t + t*h*w, C]
    torch.Size([2, 6, 40, 8])
    >>> bool((spatial.from_tokens(spatial.to_tokens(raw, (4, 3, 3)), (4, 3, 3)) == raw).all())
    True

    Attributes:
        token_axes: order of the grid's axes along the token dimension, for example "thw" or "hwt".
        batch_axes: order of the grid's axes inside the batch dimension, after the batch itself.
        num_prefix_tokens: tokens before the others in every row of the batch.
    """

    token_axes: str = "thw"
    batch_axes: str = ""
    num_prefix_tokens: int = 0

    def __post_init__(self) -> None:
        if sorted(self.token_axes + self.batch_axes) != ["h", "t", "w"]:
            raise ValueError(
                "TokenLayout: token_axes and batch_axes expected to name t, h and w once each, "
                f"got {self.token_axes!r} and {self.batch_axes!r}"
            )

    def total_prefix_tokens(self, grid: tuple[int, int, int]) -> int:
        """Return the prefix tokens of a whole clip: one set for each row of the batch axes."""
        return self.num_prefix_tokens * math.prod(self._sizes(self.batch_axes, grid))

    def to_tokens(self, raw: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Bring a model's tensor [B', A, N', C] to [B, A, P+t*h*w, C], prefix tokens first."""
        if self.token_axes == "thw":
            return raw
        self._check(raw, grid)
        batch_sizes = self._sizes(self.batch_axes, grid)
        rows = raw.unflatten(0, (-1, *batch_sizes)).movedim(len(batch_sizes) + 1, 1)
        # rows: [B, A, *batch_axes, N', C]
        prefix = rows[..., : self.num_prefix_tokens, :].flatten(2, -2)
        tokens = rows[..., self.num_prefix_tokens :, :]
        tokens = tokens.unflatten(-2, self._sizes(self.token_axes, grid))
        tokens = tokens.permute(0, 1, *self._to_thw(), 5).flatten(2, 4)
        return _join(prefix, tokens)

    def from_tokens(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Undo `to_tokens`: [B, A, P+t*h*w, C] to the model's own [B', A, N', C]."""
        if self.token_axes == "thw":
            return tokens
        batch_sizes = self._sizes(self.batch_axes, grid)
        num_prefix = self.total_prefix_tokens(grid)
        prefix = tokens[:, :, :num_prefix].unflatten(2, (*batch_sizes, self.num_prefix_tokens))
        inner = tokens[:, :, num_prefix:].unflatten(2, grid)
        order = (2 + "thw".index(axis) for axis in self.batch_axes + self.token_axes)
        inner = inner.permute(0, 1, *order, 5)
        inner = inner.flatten(2 + len(batch_sizes), 4)  # [B, A, *batch_axes, token_axes, C]
        rows = _join(prefix, inner)
        return rows.movedim(1, len(batch_sizes) + 1).flatten(0, len(batch_sizes))

    def _check(self, raw: Tensor, grid: tuple[int, int, int]) -> None:
        """Refuse tokens that are not arranged so, in words that help."""
        rows = math.prod(self._sizes(self.batch_axes, grid))
        tokens = self.num_prefix_tokens + math.prod(self._sizes(self.token_axes, grid))
        if raw.shape[0] % rows or raw.shape[2] != tokens:
            raise InputError(
                f"TokenLayout({self.token_axes!r}, {self.batch_axes!r}, {self.num_prefix_tokens}): "
                f"a layer expected [B*{rows}, A, {tokens}, C] on a grid of "
                f"{'x'.join(map(str, grid))} tokens, got {list(raw.shape)}. Layers of two kinds "
                "(over space and over time) need an adapter each; attention in windows (Swin) has "
                "no such arrangement"
            )

    def _sizes(self, axes: str, grid: tuple[int, int, int]) -> tuple[int, ...]:
        return tuple(grid["thw".index(axis)] for axis in axes)

    def _to_thw(self) -> tuple[int, int, int]:
        """Dimensions of t, h and w in [B, A, *batch_axes, *token_axes, C]."""
        order = self.batch_axes + self.token_axes
        return (2 + order.index("t"), 2 + order.index("h"), 2 + order.index("w"))


def _join(prefix: Tensor, tokens: Tensor) -> Tensor:
    """Put prefix tokens before the others; without any, nothing is copied."""
    return torch.cat([prefix, tokens], dim=-2) if prefix.shape[-2] else tokens
