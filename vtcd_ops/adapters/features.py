"""Features of one video: what a model makes of all its windows, joined in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.capture import capture
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.clips import VideoClip, Window


def capture_video(
    clip: VideoClip[Adapter],
    layers: Sequence[int],
    parts: Sequence[str],
    heads: Sequence[int],
    *,
    batch_size: int = 1,
    on_clip: Callable[[Window, Tensor], None] | None = None,
) -> dict[str, Tensor]:
    """Return the features of whole layers of one video, joined in time.

    Args:
        clip: the video's frames and the model.
        layers: layers wanted.
        parts: of "queries", "keys", "values", "outputs".
        heads: heads wanted.
        batch_size: windows of one forward.
        on_clip: called with each window and its preprocessed frames [T, 3, H', W'].

    Returns:
        For each part the features, float32 [layers, heads, C, t, h, w].

    Raises:
        InputError: a feature is NaN or infinite.
    """
    adapter = clip.adapter
    features: dict[str, Tensor] = {}
    for batch in _batches(zip(clip.windows, clip.clips(), strict=True), batch_size):
        if on_clip is not None:
            for window, frames in batch:
                on_clip(window, frames)
        clips = torch.stack([frames for _, frames in batch])  # [B, T, 3, H', W']
        captured = capture(
            adapter,
            clips,
            layers=list(layers),
            parts=tuple(parts),
            heads=list(heads),
            inputs=stack_inputs([clip.inputs(window) for window, _ in batch]),
        )
        plane = adapter.grid_for(clips)[1:]
        for part in parts:
            if part not in features:
                shape = (len(layers), len(heads), adapter.head_dim, clip.num_steps, *plane)
                features[part] = torch.empty(shape)
            for row, layer in enumerate(layers):
                tokens = captured[part][layer]  # [B, A, t*h*w, C]
                _check_finite(adapter, part, layer, tokens)
                for (window, _), one in zip(batch, tokens, strict=True):
                    _place(features[part][row], window, one, plane)
    return features


def stack_inputs(inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack what the model needs beside each window along a batch axis."""
    return {name: torch.stack([one[name] for one in inputs]) for name in inputs[0]}


def _place(joined: Tensor, window: Window, tokens: Tensor, plane: tuple[int, int]) -> None:
    """Write a window's new tokens [A, t*h*w, C] into the joined map [A, C, t, h, w]."""
    grid = tokens.unflatten(1, (-1, *plane))[:, window.skip :]  # [A, t, h, w, C]
    times = slice(window.first_token, window.first_token + grid.shape[1])
    joined[:, :, times] = grid.permute(0, 4, 1, 2, 3)


def _check_finite(adapter: Adapter, part: str, layer: int, tokens: Tensor) -> None:
    if not bool(torch.isfinite(tokens).all()):
        raise InputError(f"the {part} of {adapter.name} at layer {layer} are NaN or infinite")


def _batches(
    items: Iterable[tuple[Window, Tensor]], size: int
) -> Iterator[list[tuple[Window, Tensor]]]:
    batch: list[tuple[Window, Tensor]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
