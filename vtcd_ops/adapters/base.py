"""What the adapters of this package share."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import model_device
from vtcd_ops.adapters.colours import warn_of_colours
from vtcd_ops.adapters.layout import TokenLayout
from vtcd_ops.adapters.lock import serialised
from vtcd_ops.adapters.prunable import PrunableAdapter
from vtcd_ops.adapters.weights import moved
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.frames import Crop, FrameTransform
from vtcd_ops.video.samples import Sample

__all__ = ["CLASSIFIER_METRICS", "AttentionAdapter"]

#: Metrics of a classifier, the default first.
CLASSIFIER_METRICS = ("probability", "accuracy", "logit", "loss")

#: Fields of a model's output that are its answer, the first that is there, and their names here.
_ANSWERS = (
    ("logits", "logits"),
    ("pooler_output", "features"),
    ("last_hidden_state", "features"),
)

_JOINT = TokenLayout()

_DRAWING = torch.device("cpu")


class AttentionAdapter(PrunableAdapter):
    """Base class: the attributes of `vtcd_ops.Adapter` and the parts that seldom differ.

    A subclass says where the attention is, in `tap`. Args are those attributes, and
        frames: resizing, cropping and normalising of frames.
        layout: how the model arranges its tokens.
        model_types: `model_type` entries of the config.json files that this family reads.
    """

    model_types: tuple[str, ...] = ()
    #: Share of the units that a mask of `rank` removes, where the caller does not say (optional).
    cris_ratio: float = 0.5

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a subclass's own `forward` and `predict` run in one thread at a time."""
        super().__init_subclass__(**kwargs)
        for name in ("forward", "predict"):
            if name in vars(cls):
                setattr(cls, name, serialised(vars(cls)[name]))

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        num_layers: int,
        num_heads: int,
        head_dim: int,
        num_frames: int,
        tubelet_size: int,
        token_grid: tuple[int, int, int],
        frames: FrameTransform,
        layout: TokenLayout = _JOINT,
        sampling_rate: int | None = None,
        sample_fields: tuple[str, ...] = ("video",),
        metrics: tuple[str, ...] = (),
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.num_frames = num_frames
        self.tubelet_size = tubelet_size
        self.token_grid = token_grid
        self.frames = frames
        self.layout = layout
        self.num_prefix_tokens = layout.total_prefix_tokens(token_grid)
        self.sampling_rate = sampling_rate
        self.sample_fields = sample_fields
        self.metrics = metrics
        self.class_names = class_names
        warn_of_colours(model, frames, name)

    def __repr__(self) -> str:
        t, h, w = self.token_grid
        return (
            f"{type(self).__name__}({self.name!r}, {self.num_layers} layers x {self.num_heads} "
            f"heads x {self.head_dim} channels, {t}x{h}x{w} tokens)"
        )

    def identity(self) -> dict[str, Any]:
        """Return what features depend on beside the weights: how frames and tokens are treated.

        It is stored with what is made of them, as JSON; a subclass adds what it has of its own.
        """
        return {
            "frames": asdict(self.frames),
            "layout": asdict(self.layout),
            **self.removed_identity(),
        }

    def answer_identity(self) -> dict[str, Any]:
        """Return what answers depend on beside weights and features: the names of the classes."""
        return {"class_names": self.class_names}

    def preprocess(self, frames: np.ndarray | Tensor) -> Tensor:
        """Turn frames, uint8 [T, H, W, 3], into the model's input, float32 [T, 3, H', W']."""
        return self.frames(frames)

    @property
    def frame_by_frame(self) -> bool:
        """Whether `preprocess` treats each frame alone, so that a clip may be read frame by frame.

        An override may look at the whole clip; a subclass whose override does not can say so here.
        """
        return (
            type(self).preprocess is AttentionAdapter.preprocess
            and type(self.frames).__call__ is FrameTransform.__call__
        )

    def display(self, clip: Tensor) -> np.ndarray:
        """Turn an input, float [T, 3, H', W'], back into frames, uint8 [T, H', W', 3]."""
        return self.frames.display(clip)

    def grid_for(self, clips: Tensor) -> tuple[int, int, int]:
        """Return the token grid of clips [B, T, 3, H', W'], or raise for a shape it cannot take."""
        expected = (self.num_frames, 3, *self.frames.size)
        if tuple(clips.shape[1:]) != expected:
            sizes = ", ".join(map(str, expected))
            raise InputError(
                f"{self.name}: clips expected [B, T, 3, H, W] = [B, {sizes}], "
                f"got {list(clips.shape)}"
            )
        return self.token_grid

    def mask_to_model(self, mask: Tensor) -> Tensor:
        """Bring masks of frames, bool [..., H, W], to what the model sees of them [..., H', W']."""
        return self.frames.mask_to_model(mask)

    def crop_of(self, height: int, width: int) -> Crop:
        """Return what the model sees of frames of a size: (top, left, height, width), in pixels."""
        return self.frames.crop_of(height, width)

    def inputs(self, sample: Sample, clip: VideoClip[Any], start: int) -> dict[str, Tensor]:
        """Return what the model needs beside one window of a video: nothing."""
        return {}

    @serialised
    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Run the model on clips [B, T, 3, H', W'] and return whatever the model returns."""
        return self.model(self.to_model(clips), **inputs)

    @serialised
    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the model on clips [B, T, 3, H', W'] and return its answer by name.

        Returns:
            "logits" [B, classes] of a classifier, else "features" of an encoder: its pooled ones
            [B, D], or those of all tokens [B, N, D].
        """
        output = self.forward(clips, **inputs)
        if isinstance(output, Tensor):
            return {"logits" if output.dim() == 2 else "features": output}
        for field, name in _ANSWERS:
            if isinstance(found := getattr(output, field, None), Tensor):
                return {name: found}
        raise InputError(
            f"{self.name}: its output, a {type(output).__name__}, holds no logits and no features, "
            "so nothing says what it answers; a subclass with predict(clips) can"
        )

    def to_model(self, clips: Tensor) -> Tensor:
        """Bring clips to the model's device and floating point type."""
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), None)
        return clips.to(device=model_device(self.model), dtype=dtype)

    def with_model(self, model: nn.Module, name: str) -> AttentionAdapter:
        """Return the same adapter around a copy of its model (see `randomize_weights`)."""
        adapter = copy.copy(self)
        adapter.model = model
        adapter.name = name
        adapter.known_weights = ()
        return adapter

    def untrained_model(self) -> nn.Module:
        """Return a copy of the model with fresh weights, drawn from torch's global generator.

        They are drawn in main memory, so that they are the same wherever the model is.

        Every module draws its weights as its `reset_parameters` does. Parameters held outside such
        a module (a class token, a position table) are drawn from a normal distribution with the
        mean and standard deviation of the trained ones.
        """
        device = model_device(self.model)
        model = moved(copy.deepcopy(self.model), _DRAWING)
        fresh: set[int] = set()
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                fresh.update(id(parameter) for parameter in module.parameters(recurse=False))
        with torch.no_grad():
            for parameter in model.parameters():
                if id(parameter) not in fresh and parameter.is_floating_point():
                    spread = parameter.std(correction=0).item()
                    parameter.normal_(parameter.mean().item(), spread)
        return moved(model, device)
