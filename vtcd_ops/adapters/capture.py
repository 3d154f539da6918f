"""Taking features out of a model: `capture`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.lock import evaluating
from vtcd_ops.adapters.requests import check_indices, check_request, describe
from vtcd_ops.common.errors import InputError

__all__ = ["capture"]


class _Stop(BaseException):
    """Ends a forward once everything asked for has been seen.

    Not an `Exception`, so that a model's own `except Exception` cannot swallow it.
    """


def capture(
    adapter: Adapter,
    clips: Tensor,  # [B, T, 3, H', W']
    layers: Sequence[int] | None = None,
    parts: Sequence[str] = ("keys",),
    heads: Sequence[int] | None = None,
    *,
    inputs: Mapping[str, Tensor] | None = None,
) -> dict[str, dict[int, Tensor]]:
    """Take queries, keys, values or outputs of attention heads in one forward.

    The forward stops as soon as the last thing asked for has been computed, the model runs in
    evaluation mode without gradients, and is left exactly as it was found, whatever happens.

    >>> import torch, vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> adapter = example_adapter()           # 3 layers of 2 heads, a 2x4x4 token grid
    >>> clips = torch.rand(5, 4, 3, 32, 32)   # [B, T, 3, H', W']
    >>> features = vtcd_ops.capture(adapter, clips, layers=[0, 2], parts=("keys", "outputs"))
    >>> sorted(features), sorted(features["keys"])
    (['keys', 'outputs'], [0, 2])
    >>> features["keys"][2].shape             # [B, A, t*h*w, C]
    torch.Size([5, 2, 32, 8])

    Args:
        adapter: the model.
        clips: a batch of preprocessed clips, [B, T, 3, H', W'] floating point. An image model takes
            any T and sees the frames one by one.
        layers: which layers, counted from 0; all by default.
        parts: any of "queries", "keys", "values", "outputs" (what a head hands to the output
            projection). Queries and keys come before any rotary position embedding.
        heads: which heads, in the order wanted; all by default.
        inputs: what else the model's forward takes, with a batch axis; see `Adapter.inputs`.

    Threads take turns in a model: while one captures, edits or runs it, the others wait.

    Returns:
        `features[part][layer]`, float32 [B, A, t*h*w, C] on the model's device: tokens in (t, h, w)
        order, prefix tokens dropped.

    Raises:
        InputError: an unknown part, a layer or head out of range, clips of another shape, or an
            object that is no adapter.
    """
    wanted_layers, wanted_parts = check_request("capture", adapter, layers, parts)
    wanted_heads = check_indices("capture", "head", heads, adapter.num_heads)
    all_heads = wanted_heads == list(range(adapter.num_heads))
    grid = _check_clips(adapter, clips)
    seen: dict[str, dict[int, Tensor]] = {part: {} for part in wanted_parts}
    missing = {(part, layer) for part in wanted_parts for layer in wanted_layers}

    def keep(part: str, layer: int, features: Tensor) -> Tensor:
        taken = _drop_prefix(adapter, features, clips.shape[0], grid)
        if not all_heads:
            taken = taken[:, wanted_heads]
        seen[part][layer] = taken.to(
            torch.float32, copy=True, memory_format=torch.contiguous_format
        )
        missing.discard((part, layer))
        if not missing:
            raise _Stop
        return features

    with (
        torch.no_grad(),
        evaluating(adapter.model),  # alone in it, too
        adapter.tap(set(missing), keep),
        contextlib.suppress(_Stop),
    ):
        adapter.forward(clips, **(inputs or {}))
    if missing:
        part, layer = min(missing)
        raise InputError(
            f"capture: {adapter.name} never computed the {part} of layer {layer}; "
            "does its forward run every layer of its adapter?"
        )
    return {part: dict(sorted(seen[part].items())) for part in wanted_parts}


def _drop_prefix(
    adapter: Adapter,
    features: Tensor,  # [B, A, P+N, C]; of an image model [B*T, A, P+h*w, C]
    batch: int,
    grid: tuple[int, int, int],
) -> Tensor:  # [B, A, t*h*w, C]
    """Drop prefix tokens and join the frames of an image model in time."""
    t, h, w = grid
    frames_in_batch = t if adapter.num_frames == 1 else 1
    num_tokens = t * h * w // frames_in_batch
    prefix = adapter.num_prefix_tokens
    expected = [batch * frames_in_batch, adapter.num_heads, prefix + num_tokens, adapter.head_dim]
    if list(features.shape) != expected:
        raise InputError(
            f"capture: {adapter.name} said its features would be [B, A, P+N, C] = {expected}, "
            f"got {list(features.shape)}{_more_tokens(expected, list(features.shape), prefix)}"
        )
    tokens = features[:, :, prefix:]
    if frames_in_batch == 1:
        return tokens
    # [B*T, A, h*w, C] -> [B, A, T, h*w, C] -> [B, A, T*h*w, C]
    return tokens.unflatten(0, (batch, t)).transpose(1, 2).flatten(2, 3)


def _more_tokens(expected: list[int], got: list[int], prefix: int) -> str:
    """Say what a few tokens more than expected may be."""
    if len(got) != 4 or expected[:2] + expected[3:] != got[:2] + got[3:]:
        return ""
    more = got[2] - expected[2]
    if 0 < more < max(expected[2] // 2, 8):
        return (
            f": {more} tokens more; num_prefix_tokens={prefix + more}? (what a model appends "
            "behind the others must be cut off in a tap of its own adapter)"
        )
    return ": is token_grid that of this model, and are all its layers of one kind?"


def _check_clips(adapter: Adapter, clips: Tensor) -> tuple[int, int, int]:
    """Check the shape of a batch of clips and gives its token grid."""
    if not isinstance(clips, Tensor):
        raise InputError(
            f"capture: clips expected a tensor [B, T, 3, H, W] as adapter.preprocess gives, "
            f"got {type(clips).__name__}"
        )
    if clips.dim() != 5 or clips.shape[2] != 3 or not clips.is_floating_point():
        raise InputError(
            f"capture: clips expected floating point [B, T, 3, H, W] as adapter.preprocess gives, "
            f"got {describe(clips)}"
        )
    if clips.shape[0] == 0:
        raise InputError(f"capture: clips expected at least one clip, got {describe(clips)}")
    return adapter.grid_for(clips)
