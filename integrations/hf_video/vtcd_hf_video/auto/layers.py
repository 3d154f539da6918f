"""The layers of a model that have a token for every patch, and how they are told in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vtcd_hf_video.auto.places import Box, Local, batched_order, locate, patch_box
from vtcd_hf_video.auto.survey import Attention, survey
from vtcd_hf_video.auto.tower import Tower
from vtcd_ops.adapters import InputError, TokenOrder

__all__ = ["grid_of", "in_words", "layers_of", "side_by_side"]


def layers_of(
    name: str, tower: Tower, clip: Tensor, grid: str | None
) -> tuple[list[Attention], list[TokenOrder], Box, dict[str, str]]:
    """Return the layers that have a token for every patch, where it stands, and why others not."""
    found = survey(tower, clip)
    skipped = {each.name: each.problem for each in found if each.problem is not None}
    left = [each for each in found if each.problem is None]
    kinds: dict[tuple[Box, int, int], list[tuple[Attention, TokenOrder]]] = {}
    while left:  # the layers whose tokens see as much as those of the first that is left
        box = patch_box(Local(tower, left[:1]), clip)
        problem = _problem_of(box, clip)
        if box is None or problem is not None:
            skipped[left.pop(0).name] = str(problem)
            continue
        places = locate(Local(tower, left), clip, grid_of(tower, box))
        if isinstance(first := places[0], str):
            skipped[left[0].name] = first
        for each, at in zip(left, places, strict=True):
            if isinstance(at, TokenOrder):
                kinds.setdefault((box, each.heads, each.head_dim), []).append((each, at))
        left = [each for each, at in zip(left[1:], places[1:], strict=True) if isinstance(at, str)]
    if grid is not None:
        kinds = {kind: layers for kind, layers in kinds.items()
                 if "x".join(map(str, grid_of(tower, kind[0])[1:])) == grid}  # fmt: skip
    if len(kinds) > 1:
        raise InputError(_several(name, tower, kinds))
    if not kinds:
        raise InputError(_refused(name, skipped))
    [((box, _, _), layers)] = kinds.items()
    chosen, orders = [each for each, _ in layers], [at for _, at in layers]
    if not all(each.as_given for each in chosen) and any(not each.projections for each in chosen):
        raise InputError(
            f"{name}: some layers can only be taken at the attention interface and others "
            "only at their projections; an adapter of its own is needed"
        )
    return chosen, orders, box, skipped


def grid_of(tower: Tower, box: Box) -> tuple[int, int, int]:
    """Return the tokens of a clip, (t, h, w), each of which sees a box."""
    return tower.frames // box[0], tower.size[0] // box[1], tower.size[1] // box[2]


def _problem_of(box: Box | None, clip: Tensor) -> str | None:
    """Say what is wrong with what a token sees; None: nothing."""
    if box is None:
        return (
            "with attention switched off no patch reaches its tokens, so they are none of patches"
        )
    sizes = (clip.shape[1], *clip.shape[3:])
    told = "x".join(map(str, box))
    if box[1:] == sizes[1:]:
        return f"one of its tokens sees whole frames ({told}) with attention switched off"
    if any(size % side for size, side in zip(sizes, box, strict=True)):
        return f"one of its tokens sees {told} pixels, which do not divide {sizes}: they overlap"
    return None


def _several(name: str, tower: Tower, kinds: Mapping[tuple[Box, int, int], Sequence[Any]]) -> str:
    told = [
        f"{len(layers)} layers of {'x'.join(map(str, grid_of(tower, box)[1:]))} tokens, "
        f"{heads} heads of {channels} channels"
        for (box, heads, channels), layers in kinds.items()
    ]
    return (
        f"{name}: a run holds layers of one token grid and one number of heads, got "
        f"{'; '.join(told)}: say which, grid='8x8'"
    )


def _refused(name: str, skipped: Mapping[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for layer, reason in skipped.items():
        reasons.setdefault(reason, []).append(layer)
    told = "; ".join(f"{layers[0]}{' and others' if len(layers) > 1 else ''}: {reason}"
                     for reason, layers in reasons.items())  # fmt: skip
    return f"{name}: no attention layer whose tokens stand for patches: {told or 'none'}"


def side_by_side(
    name: str,
    tower: Tower,
    chosen: Sequence[Attention],
    orders: Sequence[TokenOrder],
    clips: Tensor,
    grid: tuple[int, int, int],
) -> list[TokenOrder]:
    """Return the orders of several clips in one forward, all layers with as many prefix tokens."""
    local = Local(tower, chosen)
    with torch.no_grad():
        together, *alone = (local.values(part) for part in (clips, clips[:1], clips[1:]))
    most = max(len(order.others) for order in orders)
    found = []
    for layer, order in enumerate(orders):
        one = [each[layer].unsqueeze(1) for each in alone]
        batched = batched_order(order, together[layer].unsqueeze(1), one, grid)
        if batched is None:
            raise InputError(
                f"{name}: two clips in one forward stand side by side in {chosen[layer].name}"
                f" in a way that is not known, {list(together[layer].shape[:2])} tokens"
            )
        found.append(replace(batched, missing=most - len(order.others)))
    return found


def in_words(order: TokenOrder, grid: tuple[int, int, int]) -> str:
    """Say how the tokens of a layer stand."""
    layout = order.as_layout(grid)
    if layout is None:
        rows = "one row of all clips" if order.batched == "tokens" else f"{order.rows} rows"
        told = f"tokens in an order of their own (blocks or windows), in {rows}"
    else:
        sizes = dict(zip("thw", grid, strict=True))
        tokens = [axis for axis in layout.token_axes if sizes[axis] > 1]
        outside = [axis for axis in layout.batch_axes if sizes[axis] > 1]
        told = f"tokens of {', '.join(tokens)}"
        told += f", {', '.join(outside)} in the batch" if outside else ""
    before = sum(place % order.length < min(at % order.length for at in order.grid)
                 for place in order.others)  # fmt: skip
    for count, where in ((before, "in front"), (len(order.others) - before, "elsewhere")):
        a_row, left = divmod(count, order.rows)
        if count:
            told += f"; {count} others {where}" if left else f"; {a_row} {where} in every row"
    return told
