"""The adapter for DINOv2, with or without registers, as Hugging Face transformers implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor

from vtcd_ops.adapters import FrameTransform, InputError, TokenLayout
from vtcd_ops.adapters.huggingface import AttentionInterfaceAdapter, tokens_of_patches


class Dinov2Adapter(AttentionInterfaceAdapter):
    """DINOv2, an *image* model: each frame is one clip, and nothing is shared between frames.

    Its class token (and registers) are prefix tokens. Frames of any size that the patch divides are
    taken; DINOv2 interpolates its position table.

    >>> from transformers import Dinov2Config, Dinov2Model
    >>> config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    >>> adapter = Dinov2Adapter(Dinov2Model(config).eval(), image_size="56x112")
    >>> adapter
    Dinov2Adapter('dinov2', 2 layers x 4 heads x 8 channels, 1x4x8 tokens)
    >>> import torch, vtcd_ops
    >>> clips = torch.rand(1, 3, 3, 56, 112)  # three frames
    >>> vtcd_ops.capture(adapter, clips, layers=[0])["keys"][0].shape  # [B, A, 3*4*8, C]
    torch.Size([1, 4, 96, 8])

    Args:
        model: Dinov2Model or a classifier on it.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; only its colours and its resampling are used.
        image_size: side of the square, or ``"HxW"``, that frames are brought to, in pixels and
            multiples of the patch. 448 gives 32x32 tokens with patches of 14.
        fit: ``"stretch"`` the whole frame to that size, or keep the aspect ratio and ``"crop"``.
    """

    family = "hf_dinov2"
    model_types = ("dinov2", "dinov2_with_registers")
    classes = (
        "Dinov2Model",
        "Dinov2ForImageClassification",
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersForImageClassification",
    )
    # It takes part in training alone; published checkpoints differ in having it.
    optional_weights = ("mask_token",)

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        *,
        name: str = "dinov2",
        preprocessor_config: Mapping[str, Any] | None = None,
        image_size: int | str | tuple[int, int] = 448,
        fit: str = "stretch",
    ) -> None:
        config = model.config
        self.patch_size = int(config.patch_size)
        size = self._frame_size(name, image_size)
        frames = _transform(name, preprocessor_config or {}, size, fit)
        super().__init__(
            model,
            name=name,
            layout=TokenLayout(num_prefix_tokens=1 + getattr(config, "num_register_tokens", 0)),
            **tokens_of_patches(model, frames, 1, (1, self.patch_size, self.patch_size)),
        )

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        image_size: int | str | tuple[int, int] = 448,
        fit: str = "stretch",
    ) -> Dinov2Adapter:
        """Load a directory or a Hub id such as ``"facebook/dinov2-small"``.

        Args:
            name: the directory or Hub id.
            device: where the model runs.
            dtype: of its weights and activations; features are captured in float32 in any case.
            image_size, fit: see the class.

        Raises:
            InputError: nothing to load, weights that do not fit, or an impossible size.
        """
        if isinstance(image_size, (tuple, list)):
            image_size = "x".join(map(str, image_size))
        return cls.load(name, device, dtype, image_size=image_size, fit=fit)

    def constructor_options(self) -> dict[str, Any]:
        """Return the size of a frame, to which the class does not default."""
        return {"image_size": list(self.frames.size)}

    def grid_for(self, clips: Tensor) -> tuple[int, int, int]:
        """Return the token grid of clips [B, T, 3, H', W']: (T, H'/patch, W'/patch)."""
        frames, _, height, width = clips.shape[1:]
        if height % self.patch_size or width % self.patch_size or not height or not width:
            raise InputError(
                f"{self.name}: clips expected a height and width that are multiples of "
                f"{self.patch_size}, got {list(clips.shape)}"
            )
        return frames, height // self.patch_size, width // self.patch_size

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Run the model on every frame of clips [B, T, 3, H', W'] as a batch of B*T images."""
        return self.model(self.to_model(clips).flatten(0, 1), **inputs)

    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the logits [B, classes] of a classifier, the mean over the frames, or features.

        Without a classifier they are the "features" [B, T, D] of the frames' class tokens.
        """
        [(name, answer)] = super().predict(clips, **inputs).items()  # [B*T, ...]
        of_frames = answer.unflatten(0, clips.shape[:2])
        return {name: of_frames.mean(dim=1) if name == "logits" else of_frames}

    def _frame_size(self, name: str, image_size: int | str | tuple[int, int]) -> tuple[int, int]:
        try:
            if isinstance(image_size, str):
                height, width = (int(side) for side in image_size.lower().split("x"))
            elif isinstance(image_size, int):
                height = width = image_size
            else:
                height, width = map(int, image_size)
        except (TypeError, ValueError):
            height = width = 0
        if min(height, width) <= 0 or height % self.patch_size or width % self.patch_size:
            raise InputError(
                f"{name}: image_size expected a side or 'HEIGHTxWIDTH' in multiples of "
                f"{self.patch_size} pixels, got {image_size!r}"
            )
        return height, width


def _transform(
    name: str, config: Mapping[str, Any], size: tuple[int, int], fit: str
) -> FrameTransform:
    if fit not in ("stretch", "crop"):
        raise InputError(f"{name}: fit expected 'stretch' or 'crop', got {fit!r}")
    colours = {key: config[key] for key in ("image_mean", "image_std", "resample") if key in config}
    defaults = {"size": size, "fit": "cover" if fit == "crop" else fit, "resample": "bicubic"}
    return FrameTransform.from_config(colours, **defaults)
