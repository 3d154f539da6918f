"""What a model must offer to be interpreted, and the two things done with it: `capture` and `edit`.

An *adapter* wraps a video transformer without rewriting it. It says where the queries, keys, values
and outputs of every attention head come out, how the tokens are arranged, and how frames become the
model's input. Everything else in this package speaks to models through it.

Letters: B batch, A heads, N = t*h*w tokens in (t, h, w) order, P prefix tokens, C channels of a
head, T frames of a clip, (H', W') the frame size the model sees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.lock import alone_in
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.samples import Sample

__all__ = [
    "PARTS",
    "Adapter",
    "Site",
    "Visitor",
    "capture",
    "edit",
    "evaluating",
    "model_device",
]

#: The tensors of an attention head that can be captured or edited, in the order they are computed.
PARTS = ("queries", "keys", "values", "outputs")

#: One place in a model: (part, layer).
Site = tuple[str, int]

#: Called with (part, layer, features [B, A, P+N, C]); what it returns goes on through the model.
Visitor = Callable[[str, int, Tensor], Tensor]


@runtime_checkable
class Adapter(Protocol):
    """What this package needs to know of a model (`isinstance(x, Adapter)` checks the names).

    Most models need no class of their own: see `vtcd_ops.adapters.ProjectionAdapter`, and
    `vtcd_ops.adapters.check_adapter` for the test kit.

    Attributes:
        name: what `load_model` finds the model by again, for example `"hf_videomae:mini-ssl"`.
        model: the wrapped module, untouched.
        num_layers, num_heads, head_dim: of the attention layers that can be captured.
        num_frames: frames of one clip; 1 for an image model, which takes any number, one by one.
        tubelet_size: frames per temporal token.
        token_grid: (t, h, w) tokens of one clip of the standard size.
        num_prefix_tokens: tokens before the first of the grid (a class token, say). `edit` sees
            them, `capture` drops them.
        sample_fields: the fields of a `Sample` that the model needs; `("video",)` for most.
        sampling_rate: the model was trained on every n-th frame of a video; None when unknown.
        metrics: names of `vtcd_ops.metrics` that suit the model, the default first; () if unknown.
        class_names: of a classifier, in the order of its logits; None when unknown.
    """

    name: str
    model: nn.Module
    num_layers: int
    num_heads: int
    head_dim: int
    num_frames: int
    tubelet_size: int
    token_grid: tuple[int, int, int]
    num_prefix_tokens: int
    sample_fields: tuple[str, ...]
    sampling_rate: int | None
    metrics: tuple[str, ...]
    class_names: tuple[str, ...] | None

    def preprocess(self, frames: np.ndarray | Tensor) -> Tensor:
        """Turn frames, uint8 [T, H, W, 3], into the model's input, float32 [T, 3, H', W']."""
        ...

    def display(self, clip: Tensor) -> np.ndarray:
        """Turn an input, float [T, 3, H', W'], back into frames, uint8 [T, H', W', 3]."""
        ...

    def grid_for(self, clips: Tensor) -> tuple[int, int, int]:
        """Return the token grid of clips [B, T, 3, H', W'], or raise for a shape it cannot take."""
        ...

    def mask_to_model(self, mask: Tensor) -> Tensor:
        """Bring masks of frames, bool [..., H, W], to what the model sees of them [..., H', W']."""
        ...

    def crop_of(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return what the model sees of frames of a size: (top, left, height, width), in pixels.

        It may lie beyond the edges, where black surrounds the frame.
        """
        ...

    def inputs(self, sample: Sample, clip: VideoClip[Any], start: int) -> dict[str, Tensor]:
        """Return what the model needs beside one window of a video, without the batch axis.

        The window is that of `adapter.num_frames` frames from the looked-at frame `start` on,
        which is frame `clip.indices[start]` of the video. Most models need nothing: {}.
        """
        ...

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Run the model on clips [B, T, 3, H', W'] and return whatever the model returns.

        `inputs` are those of `self.inputs`, stacked along a batch axis in front.
        """
        ...

    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the model on clips [B, T, 3, H', W'] and return its answer under standard names.

        Metrics read these: "logits" [B, classes] of a classifier; "reconstruction" and "pixels"
        [B, patches, P] of a masked autoencoder; "video_features" [B, D] of a video-text model;
        "masks" [B, n, T, H', W'], logits, of a segmenter; "features" [B, ..., D] of an encoder.
        Gradients flow.
        """
        ...

    def tap(self, sites: Collection[Site], visit: Visitor) -> AbstractContextManager[None]:
        """While open, passes the features of `sites` through `visit` in every forward.

        `visit(part, layer, features)` gets [B, A, P+N, C], prefix tokens first, then the grid in
        (t, h, w) order. Where it returns the tensor it was given, the model runs as if untouched.
        """
        ...


class _Stop(BaseException):
    """Ends a forward once everything asked for has been seen.

    Not an `Exception`, so that a model's own `except Exception` cannot swallow it.
    """


def model_device(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter.

    >>> import torch
    >>> model_device(torch.nn.Linear(2, 2))
    device(type='cpu')
    """
    tensor = next(model.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


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
    wanted_layers, wanted_parts = _check_request("capture", adapter, layers, parts)
    wanted_heads = _check_indices("capture", "head", heads, adapter.num_heads)
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


@contextlib.contextmanager
def edit(
    adapter: Adapter,
    fn: Visitor,
    layers: Sequence[int] | None = None,
    parts: Sequence[str] = ("keys",),
) -> Iterator[None]:
    """Change queries, keys, values or outputs inside the model for as long as it is open.

    Gradients flow through `fn`. Edits can be nested (the outer one comes first) and combined with
    `capture`, which then sees the edited features. When it closes, the model is as it was. Until
    then no other thread can use the adapter: it waits.

    >>> import torch, vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> adapter = example_adapter()
    >>> clips = torch.rand(1, 4, 3, 32, 32)
    >>> plain = adapter.forward(clips)
    >>> def silence_head_1(part, layer, features):  # features [B, A, P+N, C]
    ...     keep = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    ...     return features * keep
    >>> with vtcd_ops.edit(adapter, silence_head_1, layers=[0], parts=("outputs",)):
    ...     edited = adapter.forward(clips)
    >>> torch.equal(plain, edited), torch.equal(plain, adapter.forward(clips))
    (False, True)

    Args:
        adapter: the model.
        fn: `fn(part, layer, features [B, A, P+N, C])` returns what takes the place of the features,
            of the same shape and dtype. The `adapter.num_prefix_tokens` prefix tokens come first,
            the others follow in (t, h, w) order. Frames of an image model are its batch.
        layers: which layers, counted from 0; all by default.
        parts: any of "queries", "keys", "values", "outputs".

    Raises:
        InputError: an unknown part, a layer out of range, or `fn` returning another shape.
    """
    wanted_layers, wanted_parts = _check_request("edit", adapter, layers, parts)

    def visit(part: str, layer: int, features: Tensor) -> Tensor:
        edited = fn(part, layer, features)
        if not isinstance(edited, Tensor):
            raise InputError(
                f"edit: the function expected to return a tensor for the {part} of layer {layer}, "
                f"got {type(edited).__name__}"
            )
        if edited.shape != features.shape or edited.dtype != features.dtype:
            raise InputError(
                f"edit: the function expected to return {_describe(features)} for the {part} of "
                f"layer {layer}, got {_describe(edited)}"
            )
        return edited

    sites = {(part, layer) for part in wanted_parts for layer in wanted_layers}
    with alone_in(adapter.model), adapter.tap(sites, visit):
        yield


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


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


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without other threads, while open; then every module gets its own back."""
    with alone_in(model):
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _check_request(
    caller: str, adapter: Adapter, layers: Sequence[int] | None, parts: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Check adapter, layers and parts, and fills in the defaults."""
    if not isinstance(adapter, Adapter):
        raise InputError(
            f"{caller}: adapter expected an Adapter (load_model gives one, ProjectionAdapter wraps "
            f"an own model), got {type(adapter).__name__}"
        )
    names = [parts] if isinstance(parts, str) else list(parts)
    for part in names:
        if part not in PARTS:
            raise InputError(f"{caller}: part expected one of {', '.join(PARTS)}, got {part!r}")
    if not names:
        raise InputError(f"{caller}: parts expected at least one of {', '.join(PARTS)}, got none")
    return _check_indices(caller, "layer", layers, adapter.num_layers), names


def _check_indices(caller: str, what: str, indices: Sequence[int] | None, count: int) -> list[int]:
    """Check that indices lie in 0..count-1; None stands for all."""
    if indices is None:
        return list(range(count))
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise InputError(f"{caller}: {what} expected an integer, got {index!r}")
        if not 0 <= index < count:
            raise InputError(f"{caller}: {what} expected 0 to {count - 1}, got {index}")
    if len(indices) == 0:
        raise InputError(f"{caller}: {what}s expected at least one, got none")
    return [int(index) for index in indices]


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
            f"got {_describe(clips)}"
        )
    if clips.shape[0] == 0:
        raise InputError(f"capture: clips expected at least one clip, got {_describe(clips)}")
    return adapter.grid_for(clips)
