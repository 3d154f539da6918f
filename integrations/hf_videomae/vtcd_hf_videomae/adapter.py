"""The adapter for VideoMAE as Hugging Face transformers implements it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from vtcd_hf_videomae.checkpoint import from_checkpoint
from vtcd_ops.adapters import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    InputError,
    floating_type,
    frame_transform,
    model_device,
    placed,
)
from vtcd_ops.adapters.huggingface import (
    AttentionInterfaceAdapter,
    image_sides,
    tokens_of_patches,
)


class VideoMAEAdapter(AttentionInterfaceAdapter):
    """A VideoMAE encoder: joint attention over t*h*w tokens, no prefix tokens.

    The pre-training model is captured with every token visible, so its ``forward`` runs the encoder
    alone (with nothing masked, the pre-training class itself raises). Its decoder is left as it is.

    >>> from transformers import VideoMAEConfig, VideoMAEForVideoClassification
    >>> config = VideoMAEConfig(
    ...     image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=2,
    ...     num_attention_heads=4, intermediate_size=64)
    >>> VideoMAEAdapter(VideoMAEForVideoClassification(config).eval())
    VideoMAEAdapter('videomae', 2 layers x 4 heads x 8 channels, 2x4x4 tokens)

    Args:
        model: VideoMAEModel, VideoMAEForVideoClassification or VideoMAEForPreTraining.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; by default its frame size and ImageNet's colours.
    """

    family = "hf_videomae"
    model_types = ("videomae",)
    classes = ("VideoMAEModel", "VideoMAEForVideoClassification", "VideoMAEForPreTraining")
    bundled_root = Path(__file__).parent / "models"

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        *,
        name: str = "videomae",
        preprocessor_config: Mapping[str, Any] | None = None,
    ) -> None:
        config = model.config
        size = image_sides(config.image_size)
        frames = frame_transform(name, preprocessor_config, size, shortest_edge=min(size))
        patch = (config.tubelet_size, *image_sides(config.patch_size))
        super().__init__(
            model,
            name=name,
            sampling_rate=(preprocessor_config or {}).get("sampling_rate"),
            **tokens_of_patches(model, frames, config.num_frames, patch),
        )
        if isinstance(model, transformers.VideoMAEForPreTraining):
            self.metrics = ("reconstruction",)
            self.cris_ratio = 0.95  # the paper's: reconstruction stands much before it suffers

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        allow_zero_biases: bool = False,
        image_size: int | None = None,
        num_frames: int | None = None,
    ) -> VideoMAEAdapter:
        """Load a bundled model, a directory, a Hub id or a `.pth` of VideoMAE's own code.

        Args:
            name: for example ``"mini-ssl"``, ``"MCG-NJU/videomae-base-finetuned-ssv2"`` or
                ``"checkpoints/videomae_ssv2.pth"``.
            device: where the model runs.
            dtype: of its weights and activations; features are captured in float32 in any case.
            allow_zero_biases: accept a checkpoint whose query and value biases are all zero.
            image_size, num_frames: of a `.pth`, which does not say; see `from_checkpoint`.

        Raises:
            InputError: nothing to load, weights that do not fit, or biases that were lost.
        """
        if Path(name).is_file():
            sizes = {"image_size": image_size, "num_frames": num_frames}
            return cls._from_file(name, sizes, device, dtype)
        if (image_size, num_frames) != (None, None):
            raise InputError(
                "load_model: image_size and num_frames expected with a .pth file alone, and "
                f"{name} is none"
            )
        adapter = cls.load(name, device, dtype)
        if not allow_zero_biases:
            check_biases(adapter.model, name)
        adapter.name = cls.full_name(name, dtype=dtype, allow_zero_biases=allow_zero_biases)
        return adapter

    @classmethod
    def _from_file(
        cls,
        name: str,
        sizes: Mapping[str, int | None],
        device: str | torch.device,
        dtype: str | torch.dtype,
    ) -> VideoMAEAdapter:
        """Load a checkpoint that VideoMAE's own code saved."""
        given = {key: size for key, size in sizes.items() if size is not None}
        model: Any = from_checkpoint(name, **given)
        placed(model.to(floating_type(dtype)), device)
        return cls(model, name=cls.full_name(name, dtype=dtype, **given))

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Run the model on clips [B, T, 3, H', W']; of the pre-training model, the encoder."""
        model = self.model
        if isinstance(model, transformers.VideoMAEForPreTraining):
            model = model.videomae
        return model(self.to_model(clips), **inputs)

    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Return a classifier's logits, or the reconstruction of every patch from all of them.

        The pre-training class compares the patches that it masked, and raises when there are none;
        so its parts are called here: encoder with every token visible, decoder, and the target that
        its loss has (`config.norm_pix_loss`).

        Returns:
            "logits" [B, classes], or "reconstruction" and "pixels" [B, t*h*w, P].
        """
        if not isinstance(self.model, transformers.VideoMAEForPreTraining):
            return super().predict(clips, **inputs)
        model = self.model
        hidden = self.forward(clips, **inputs).last_hidden_state
        tokens = model.encoder_to_decoder(hidden)
        positions = model.position_embeddings.to(device=tokens.device, dtype=tokens.dtype)
        decoded = model.decoder(tokens + positions, return_token_num=tokens.shape[1])
        return {"reconstruction": decoded.logits, "pixels": self._pixels(clips)}

    def _pixels(self, clips: Tensor) -> Tensor:
        """What pre-training reconstructs of clips [B, T, 3, H', W']: patches [B, t*h*w, P]."""
        if len(clips) > 1 and clips.stride(0) == 0:  # one clip under many masks
            pixels = self._pixels(clips[:1])
            return pixels.expand(len(clips), *pixels.shape[1:])
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)  # of the class itself
        clips = clips.detach().float()
        clips = clips * std.to(clips.device).view(3, 1, 1) + mean.to(clips.device).view(3, 1, 1)
        t, h, w = self.token_grid
        batch, frames, _, height, width = clips.shape
        patches = clips.view(batch, t, frames // t, 3, h, height // h, w, width // w)
        patches = patches.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, t * h * w, -1, 3)
        if self.model.config.norm_pix_loss:
            mean, std = patches.mean(dim=2, keepdim=True), patches.std(dim=2, keepdim=True)
            patches = (patches - mean) / (std + 1e-6)
        return patches.flatten(2).to(model_device(self.model))


def check_biases(model: nn.Module, source: str) -> None:
    """Refuse a model whose query and value biases are all zero.

    transformers 5.6 to 5.17 dropped these biases without a word when loading published checkpoints
    (huggingface/transformers#48675); a checkpoint saved by them has lost them for good.

    Raises:
        InputError: every one of them is zero.
    """
    biases = [
        parameter
        for name, parameter in model.named_parameters()
        if name.endswith(("query.bias", "value.bias", "q_proj.bias", "v_proj.bias"))
    ]
    if biases and not any(bool(bias.any()) for bias in biases):
        raise InputError(
            f"load_model: every query and value bias of the VideoMAE checkpoint {source} is zero, "
            "so they were lost: transformers 5.6 to 5.17 drop them; convert it again with "
            f"transformers>=5.18 (this is {transformers.__version__}), or pass "
            "allow_zero_biases=True for a model that was never trained"
        )
