"""Where the tokens of every patch stand in every attention layer, found by changing patches.

While every attention of the model is made to give nothing, a token hears of no other: it depends on
its own patch alone, in every layer. So halving tells how large the patch of a token is, and patches
changed by the bits of their numbers tell, in twice as many forwards as a number has bits,
which patch every token of every layer is of. A token that no patch moves is none of the grid (a
class token, a register, padding of a window).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vtcd_hf_video.auto.survey import Attention
from vtcd_hf_video.auto.tower import Tower
from vtcd_ops.adapters import TokenOrder
from vtcd_ops.adapters.huggingface import listening

__all__ = ["Box", "batched_order", "locate", "patch_box"]

#: Of a clip, what one token sees: frames, height, width in pixels.
Box = tuple[int, int, int]

# A token has moved when it moves more than this share of the one that moves most.
_MOVED = 1e-3


class _Seen(BaseException):
    """Ends a forward once the last layer asked for has been seen."""


class Local:
    """A model whose tokens hear nothing of each other; it hands out the values of its layers."""

    def __init__(self, tower: Tower, layers: Iterable[Attention]) -> None:
        self._tower, self._layers = tower, list(layers)

    def values(self, clips: Tensor) -> list[Tensor]:
        """Return the values [B', N', 8] of every layer for clips [B, T, 3, H', W'].

        Their channels are mixed at random into eight: that they change is all that matters, and a
        large model has many.
        """
        found: dict[int, Tensor] = {}
        model = self._tower.model
        modules = {
            id(model.get_submodule(each.name)): index for index, each in enumerate(self._layers)
        }

        def keep(index: int, flat: Tensor) -> None:
            if index not in found:
                found[index] = flat.float() @ _mixing(flat.shape[-1]).to(flat.device)
            if len(found) == len(self._layers):
                raise _Seen

        def listen(module: nn.Module, part: str, features: Tensor) -> Tensor:
            index = modules.get(id(module))
            if part == "values" and index is not None and self._layers[index].as_given:
                keep(index, features.transpose(1, 2).flatten(2))
            return torch.zeros_like(features) if part == "outputs" else features

        def hook(index: int, fused: bool) -> Callable[..., None]:
            def seen(module: nn.Module, args: Any, out: Tensor) -> None:
                flat = out.chunk(3, dim=-1)[2] if fused else out
                keep(index, flat if flat.dim() == 3 else flat.unsqueeze(0))

            return seen

        with contextlib.ExitStack() as hooks, contextlib.suppress(_Seen), torch.no_grad():
            for index, each in enumerate(self._layers):
                if each.projections is not None and not each.as_given:
                    module = each.projections.qkv or each.projections.values
                    assert module is not None
                    handle = module.register_forward_hook(
                        hook(index, module is each.projections.qkv)
                    )
                    hooks.callback(handle.remove)
            hooks.enter_context(listening(model, listen))
            self._tower.run(clips)
        return [found[index] for index in range(len(self._layers))]


def _mixing(channels: int) -> Tensor:
    """Return the numbers by which channels are mixed, [channels, 8]."""
    return torch.randn(channels, 8, generator=torch.Generator().manual_seed(channels))


def patch_box(local: Local, clips: Tensor) -> Box | None:
    """Return how much of a clip [1, T, 3, H', W'] a token of the one layer sees; None: nothing.

    Of one token that a change of everything moves, the first and the last frame, row and column
    whose change moves it are found by halving.
    """
    [plain] = local.values(clips)
    noise = _noise(clips)
    [changed] = local.values(clips + noise)
    places = _moved(plain, changed).flatten().nonzero().flatten()
    if not len(places):
        return None
    place = int(places[len(places) // 2])

    def moves(axis: int, start: int, stop: int) -> bool:
        part = torch.zeros_like(noise)
        part.narrow(axis, start, stop - start).copy_(noise.narrow(axis, start, stop - start))
        [after] = local.values(clips + part)
        return not torch.equal(after.flatten(0, 1)[place], plain.flatten(0, 1)[place])

    box = []
    for axis in (1, 3, 4):
        size = clips.shape[axis]
        first = _least(size, partial(_moves_up_to, moves, axis))
        behind = _least(size, partial(_moves_from_end, moves, axis, size))
        box.append(size - behind - first)
    return box[0], box[1], box[2]


def _moves_up_to(moves: Callable[[int, int, int], bool], axis: int, last: int) -> bool:
    return moves(axis, 0, last + 1)


def _moves_from_end(
    moves: Callable[[int, int, int], bool], axis: int, size: int, left: int
) -> bool:
    return moves(axis, size - 1 - left, size)


def _least(size: int, moves: Callable[[int], bool]) -> int:
    """Return the least number below size for which something holds that holds for all above it."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        if moves(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _noise(clips: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(clips.shape, generator=generator).to(clips)


def locate(local: Local, clips: Tensor, grid: tuple[int, int, int]) -> list[TokenOrder | str]:
    """Return where the tokens of a grid stand in each layer, or why that cannot be said.

    Args:
        local: of the model.
        clips: one clip, [1, T, 3, H', W'].
        grid: the tokens of the clip, (t, h, w).
    """
    plain = local.values(clips)
    count = grid[0] * grid[1] * grid[2]
    numbers = torch.arange(1, count + 1).view(grid)
    for axis, size in enumerate((clips.shape[1], *clips.shape[3:])):
        numbers = numbers.repeat_interleave(size // grid[axis], dim=axis)
    noise = _noise(clips)
    codes = [torch.zeros(each.shape[:2], dtype=torch.long) for each in plain]
    answers = [torch.zeros(each.shape[:2], dtype=torch.long) for each in plain]
    bits = count.bit_length()
    for bit in range(bits):
        for value in (0, 1):  # a patch is changed in one of the two runs, never in both
            chosen = ((numbers >> bit) & 1) == value
            changed = clips + noise * chosen[None, :, None].to(clips)
            for index, each in enumerate(local.values(changed)):
                moved = _moved(plain[index], each)
                answers[index] += moved.long()
                codes[index] += (moved.long() * value) << bit
    return [_order(code, answer, bits, count) for code, answer in zip(codes, answers, strict=True)]


def _moved(before: Tensor, after: Tensor) -> Tensor:
    """Which tokens [R, N] moved."""
    by = (before - after).float().norm(dim=-1).cpu()
    return by > _MOVED * by.max()


def _order(code: Tensor, answer: Tensor, bits: int, count: int) -> TokenOrder | str:
    """Read the numbers of the patches that tokens [R, N] are of."""
    flat, answered = code.flatten(), answer.flatten()
    mixed = int(((answered != bits) & (answered != 0)).sum())
    if mixed:
        return (
            f"{mixed} of its {len(flat)} tokens see more than one patch, or none, even with "
            "attention switched off: something else mixes them (a convolution, a norm over tokens)"
        )
    places = torch.full((count + 1,), -1, dtype=torch.long)
    own = answered == bits
    patches = flat[own]
    if len(patches) != count or len(patches.unique()) != count or int(patches.max()) > count:
        return f"{len(patches.unique())} of {count} patches have a token, {len(patches)} tokens"
    places[patches] = own.nonzero().flatten()
    return TokenOrder(
        rows=code.shape[0],
        length=code.shape[1],
        grid=tuple(places[1:].tolist()),
        others=tuple((~own).nonzero().flatten().tolist()),
    )


def batched_order(
    order: TokenOrder, together: Tensor, alone: list[Tensor], grid: tuple[int, int, int]
) -> TokenOrder | None:
    """Return the order with how clips stand side by side, from their features [B', A, N', C].

    Args:
        order: of one clip.
        together: the features of two clips in one forward.
        alone: those of each.
        grid: the tokens of a clip.
    """
    for batched in ("rows", "tokens"):
        candidate = replace(order, batched=batched)
        rows, length = together.shape[0], together.shape[2]
        expected = (2 * order.rows, order.length) if batched == "rows" else (
            order.rows, 2 * order.length)  # fmt: skip
        if (rows, length) != expected:
            continue
        clips = candidate.to_tokens(together, grid)
        scale = float(clips.abs().max())
        if all(
            torch.allclose(clips[index], order.to_tokens(one, grid)[0], rtol=0, atol=1e-3 * scale)
            for index, one in enumerate(alone)
        ):
            return candidate
    return None
