"""What a model must offer to be interpreted.

An *adapter* wraps a video transformer without rewriting it. It says where the queries, keys, values
and outputs of every attention head come out, how the tokens are arranged, and how frames become the
model's input. Everything else in this package speaks to models through it.

Letters: B batch, A heads, N = t*h*w tokens in (t, h, w) order, P prefix tokens, C channels of a
head, T frames of a clip, (H', W') the frame size the model sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.samples import Sample

__all__ = [
    "PARTS",
    "Adapter",
    "Site",
    "Visitor",
    "heads_without_weights",
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


def model_device(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter.

    >>> import torch
    >>> model_device(torch.nn.Linear(2, 2))
    device(type='cpu')
    """
    tensor = next(model.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


def heads_without_weights(adapter: Adapter) -> frozenset[tuple[int, int]]:
    """Return the heads (layer, head) that were pruned from a model: their features are zeros."""
    removed: frozenset[tuple[int, int]] = getattr(adapter, "removed_heads", frozenset())
    return removed
