"""How a model arranges the tokens of a clip, and how they are brought to (t, h, w) order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError

__all__ = ["TokenLayout", "TokenOrder"]


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


@dataclass(frozen=True)
class TokenOrder:
    """Where every token of a clip stands in one attention layer, told place by place.

    It says what `TokenLayout` cannot: attention in windows, blocks of merged patches, tokens behind
    the others. The places of one clip are counted row by row, `rows` of `length` tokens each.

    >>> raw = torch.tensor([0.0, 11.0, 12.0, 21.0, 22.0, 9.0]).view(1, 1, 6, 1)
    >>> order = TokenOrder(1, 6, grid=(1, 3, 2, 4), others=(0, 5))  # a token in front, one behind
    >>> order.to_tokens(raw, (1, 2, 2)).flatten().tolist()
    [0.0, 9.0, 11.0, 21.0, 12.0, 22.0]
    >>> torch.equal(order.from_tokens(order.to_tokens(raw, (1, 2, 2)), (1, 2, 2)), raw)
    True

    Attributes:
        rows: of the batch that one clip takes.
        length: tokens of a row.
        grid: the places of the tokens of the grid, in (t, h, w) order.
        others: the places of all other tokens; they come first, as prefix tokens.
        missing: prefix tokens that other layers have and this one has not: shown as zeros, and what
            is put in their place is dropped.
        batched: how clips stand side by side: "rows", a clip's rows one after the other, or
            "tokens", one behind the other in the same row.
    """

    rows: int
    length: int
    grid: tuple[int, ...]
    others: tuple[int, ...] = ()
    missing: int = 0
    batched: str = "rows"

    def to_tokens(self, raw: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Bring a layer's tensor [B', A, N', C] to [B, A, P+t*h*w, C], prefix tokens first."""
        if self.rows == 1 and self.batched == "rows" and not self.missing and self._in_order:
            return raw
        tokens = self._clips(raw).index_select(2, _on(raw.device, self._places))
        if not self.missing:
            return tokens
        batch, heads, _, channels = tokens.shape
        return torch.cat([tokens.new_zeros(batch, heads, self.missing, channels), tokens], dim=2)

    def from_tokens(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Undo `to_tokens`: [B, A, P+t*h*w, C] to the model's own [B', A, N', C]."""
        if self.rows == 1 and self.batched == "rows" and not self.missing and self._in_order:
            return tokens
        back = [0] * len(self._places)
        for index, place in enumerate(self._places):
            back[place] = index
        places = tokens[:, :, self.missing :].index_select(2, _on(tokens.device, tuple(back)))
        places = places.unflatten(2, (self.rows, self.length))  # [B, A, R, N', C]
        if self.batched == "tokens":
            return places.permute(2, 1, 0, 3, 4).flatten(2, 3)
        return places.transpose(1, 2).flatten(0, 1)

    def as_layout(self, grid: tuple[int, int, int]) -> TokenLayout | None:
        """Return the arrangement in axes that is the same, if there is one, other tokens aside."""
        left = torch.ones(self.rows * self.length, dtype=torch.bool)
        left[list(self.others)] = False
        counts = left.view(self.rows, self.length).sum(dim=1)
        if self.batched != "rows" or int(counts.max()) != int(counts.min()):
            return None
        mine = (left.cumsum(dim=0) - 1)[list(self.grid)]  # places, were there no others
        numbers = torch.arange(len(mine)).view(self.rows, 1, -1, 1)
        for axes in ("thw", "hwt", "twh", "htw", "wth", "wht"):
            for cut in (3, 2, 1):
                if math.prod(grid["thw".index(axis)] for axis in axes[cut:]) == self.rows:
                    layout = TokenLayout(axes[:cut], axes[cut:])
                    if torch.equal(layout.to_tokens(numbers, grid).flatten(), mine):
                        return layout
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, as JSON holds it."""
        return {**vars(self), "grid": list(self.grid), "others": list(self.others)}

    @property
    def _in_order(self) -> bool:
        return self._places == tuple(range(self.length))

    @property
    def _places(self) -> tuple[int, ...]:
        return (*self.others, *self.grid)

    def _clips(self, raw: Tensor) -> Tensor:  # [B', A, N', C] -> [B, A, R*N', C]
        first, length = (raw.shape[0], raw.shape[2])
        if self.batched == "tokens":
            fits = first == self.rows and length % self.length == 0
            clips = raw.unflatten(2, (-1, self.length)) if fits else raw
            clips = clips.permute(2, 1, 0, 3, 4) if fits else raw
        else:
            fits = first % self.rows == 0 and length == self.length
            clips = raw.unflatten(0, (-1, self.rows)).transpose(1, 2) if fits else raw
        if not fits:
            raise InputError(
                f"TokenOrder: a layer expected {self.rows} rows of {self.length} tokens a clip, "
                f"got {list(raw.shape)}"
            )
        return clips.flatten(2, 3)


_placed: dict[tuple[torch.device, tuple[int, ...]], Tensor] = {}


def _on(device: torch.device, places: tuple[int, ...]) -> Tensor:
    """Return places on a device, where they are sent once: a recorded CUDA graph sends nothing."""
    if torch.compiler.is_compiling():
        return torch.tensor(places, device=device)
    if (device, places) not in _placed:
        with torch.inference_mode(False):  # gradients may be asked for later
            _placed[device, places] = torch.tensor(places, device=device)
    return _placed[device, places]


def _join(prefix: Tensor, tokens: Tensor) -> Tensor:
    """Put prefix tokens before the others; without any, nothing is copied."""
    return torch.cat([prefix, tokens], dim=-2) if prefix.shape[-2] else tokens
