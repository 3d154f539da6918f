"""The adapter for ViViT as Hugging Face transformers implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from vtcd_ops.adapters import TokenLayout, frame_transform
from vtcd_ops.adapters.huggingface import (
    AttentionInterfaceAdapter,
    image_sides,
    tokens_of_patches,
)


class VivitAdapter(AttentionInterfaceAdapter):
    """ViViT (model 1, joint attention): a class token, then t*h*w tokens.

    On the Hub for example ``"google/vivit-b-16x2-kinetics400"``.

    >>> from transformers import VivitConfig, VivitModel
    >>> config = VivitConfig(
    ...     image_size=32, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=32,
    ...     num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    >>> VivitAdapter(VivitModel(config).eval())
    VivitAdapter('vivit', 2 layers x 4 heads x 8 channels, 2x4x4 tokens)

    Args:
        model: VivitModel or VivitForVideoClassification.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; by default what published ones have: shorter side
            8/7 of the frame, centre crop, colours from -3 to 1 (bytes to [-1, 1], then less 1/2 and
            divided by 1/2).
    """

    family = "hf_vivit"
    model_types = ("vivit",)
    classes = ("VivitModel", "VivitForVideoClassification")

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        *,
        name: str = "vivit",
        preprocessor_config: Mapping[str, Any] | None = None,
    ) -> None:
        config = model.config
        size = image_sides(config.image_size)
        frames = frame_transform(
            name,
            preprocessor_config,
            size,
            shortest_edge=min(size) * 256 // 224,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            scale=1 / 127.5,
            offset=-1.0,
        )
        super().__init__(
            model,
            name=name,
            layout=TokenLayout(num_prefix_tokens=1),
            sampling_rate=2,
            **tokens_of_patches(model, frames, config.num_frames, config.tubelet_size),
        )
