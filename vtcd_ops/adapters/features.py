"""Features of one video: what a model makes of all its windows, joined in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter, model_device
from vtcd_ops.adapters.capture import capture
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.clips import VideoClip, Window

_MAIN_MEMORY = torch.device("cpu")


def capture_video(
    clip: VideoClip[Adapter],
    layers: Sequence[int],
    parts: Sequence[str],
    heads: Sequence[int],
    *,
    batch_size: int = 1,
    on_clip: Callable[[Window, Tensor], None] | None = None,
    device: torch.device = _MAIN_MEMORY,
) -> dict[str, Tensor]:
    """Return the features of whole layers of one video, joined in time.

    Args:
        clip: the video's frames and the model.
        layers: layers wanted.
        parts: of "queries", "keys", "values", "outputs".
        heads: heads wanted.
        batch_size: windows of one forward.
        on_clip: called with each window and its preprocessed frames [T, 3, H', W'].
        device: where the features are to be.

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
        clips = _stacked([frames for _, frames in batch], model_device(adapter.model))
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
                features[part] = torch.empty(shape, device=device)
            for row, layer in enumerate(layers):
                tokens = captured[part].pop(layer)  # [B, A, t*h*w, C]
                for (window, _), one in zip(batch, tokens, strict=True):
                    _place(features[part][row], window, one, plane)
    for part, joined in features.items():
        _check_finite(adapter, part, layers, joined)
    return features


def stack_inputs(inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack what the model needs beside each window along a batch axis."""
    return {name: torch.stack([one[name] for one in inputs]) for name in inputs[0]}


def _place(joined: Tensor, window: Window, tokens: Tensor, plane: tuple[int, int]) -> None:
    """Write a window's new tokens [A, t*h*w, C] into the joined map [A, C, t, h, w]."""
    grid = tokens.unflatten(1, (-1, *plane))[:, window.skip :]  # [A, t, h, w, C]
    times = slice(window.first_token, window.first_token + grid.shape[1])
    joined[:, :, times] = grid.permute(0, 4, 1, 2, 3)


def _check_finite(adapter: Adapter, part: str, layers: Sequence[int], joined: Tensor) -> None:
    """Raise at the first layer with NaN or infinite features; the device is asked once."""
    finite = torch.stack([torch.isfinite(layer).all() for layer in joined]).tolist()
    for layer, is_finite in zip(layers, finite, strict=True):
        if not is_finite:
            raise InputError(f"the {part} of {adapter.name} at layer {layer} are NaN or infinite")


def _stacked(clips: list[Tensor], device: torch.device) -> Tensor:
    """Clips [T, 3, H', W'] as a batch on the model's device; pinned ones travel on their own."""
    first = clips[0].unsqueeze(0) if len(clips) == 1 else torch.stack(clips)
    return first.to(device, non_blocking=True)


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
