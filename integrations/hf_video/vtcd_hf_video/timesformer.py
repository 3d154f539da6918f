"""The adapter for TimeSformer as Hugging Face transformers implements it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.timesformer.modeling_timesformer import TimesformerSelfAttention
from typing_extensions import Self

from vtcd_ops.adapters import (
    HeadModules,
    InputError,
    InputWarning,
    ProjectionAdapter,
    Projections,
    TokenLayout,
    check_attention,
    frame_transform,
    linear_heads,
)
from vtcd_ops.adapters.huggingface import HuggingFaceMixin, image_sides, tokens_of_patches

# How the tokens stand in each kind of attention. The model keeps its tokens in (h, w, t) order, but
# hands divided spatial attention the frames in its batch, each with the class token in front.
_LAYOUTS = {
    "spatial": TokenLayout("hw", "t", num_prefix_tokens=1),
    "temporal": TokenLayout("t", "hw"),
    "joint": TokenLayout("hwt", num_prefix_tokens=1),
}


class TimesformerAdapter(HuggingFaceMixin, ProjectionAdapter):
    """TimeSformer: divided, joint or space-only attention.

    The spatial attention sees the class token once a frame, so T prefix tokens stand in front.

    >>> from transformers import TimesformerConfig, TimesformerModel
    >>> config = TimesformerConfig(
    ...     image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=2,
    ...     num_attention_heads=4, intermediate_size=64)
    >>> colours = {"image_mean": [0.45] * 3, "image_std": [0.225] * 3}  # of the published models
    >>> TimesformerAdapter(TimesformerModel(config).eval(), preprocessor_config=colours)
    TimesformerAdapter('timesformer', 2 layers x 4 heads x 8 channels, 4x4x4 tokens)

    Args:
        model: TimesformerModel or TimesformerForVideoClassification.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; by default its frame size and ImageNet's colours.
        attention: ``"spatial"`` (default) or ``"temporal"``, of a model with divided attention.
    """

    family = "hf_timesformer"
    model_types = ("timesformer",)
    classes = ("TimesformerModel", "TimesformerForVideoClassification")

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        *,
        name: str = "timesformer",
        preprocessor_config: Mapping[str, Any] | None = None,
        attention: str = "spatial",
    ) -> None:
        config = model.config
        kind = config.attention_type
        check_attention(name, attention, divided=kind == "divided_space_time")
        size = image_sides(config.image_size)
        frames = frame_transform(name, preprocessor_config, size, shortest_edge=min(size))
        patch = (1, *image_sides(config.patch_size))
        if not preprocessor_config:
            warnings.warn(
                f"{name}: no preprocessor_config.json beside the weights, so frames get ImageNet's "
                "colours; published models of TimeSformer were trained with mean .45 and deviation "
                ".225: give preprocessor_config where these are such",
                InputWarning,
                stacklevel=2,
            )
        self.attention = attention
        base: Any = model.base_model
        super().__init__(
            model,
            projections=[_projections(layer, attention) for layer in base.encoder.layer],
            name=name,
            layout=_LAYOUTS["joint" if kind == "joint_space_time" else attention],
            **tokens_of_patches(model, frames, config.num_frames, patch),
        )

    def constructor_options(self) -> dict[str, Any]:
        """Return which attention is looked at."""
        return {"attention": self.attention}

    def head_modules(self, layer: int) -> HeadModules:
        """Return where the heads of a layer are."""
        names = self._module_names[layer]
        inner = names["qkv"].rpartition(".")[0]
        rows, counts = linear_heads(names["qkv"], fused=True), ((f"{inner}.num_heads", 1),)
        outer = inner.rpartition(".")[0]
        return HeadModules(outer, rows, names["outputs"], counts, returns="single")

    def without(
        self,
        heads: Iterable[tuple[int, int]],
        neurons: Mapping[int, Iterable[int]],
        name: str,
        *,
        inplace: bool = False,
    ) -> Self:
        """Return the adapter of a smaller model, see `AttentionAdapter`."""
        adapter = super().without(heads, neurons, name, inplace=inplace)
        for layer in {layer for layer, _ in adapter.removed_heads}:
            if adapter.kept_heads(layer):
                inner = self._module_names[layer]["qkv"].rpartition(".")[0]
                adapter.model.get_submodule(inner).__class__ = PrunedSelfAttention
        return adapter

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        attention: str = "spatial",
    ) -> TimesformerAdapter:
        """Load a directory or a Hub id such as ``"facebook/timesformer-base-finetuned-ssv2"``."""
        return cls.load(name, device, dtype, attention=attention)


class PrunedSelfAttention(TimesformerSelfAttention):
    """TimeSformer's self-attention for any number of heads.

    That of transformers divides the channels of a token by the heads, so it takes all or none.
    """

    def forward(self, hidden_states: Tensor, output_attentions: bool = False) -> tuple[Tensor, ...]:
        """Attend, see `TimesformerSelfAttention`; tokens [B, N, D] to [B, N, heads left * C]."""
        split = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        probabilities = ((query @ key.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        probabilities = self.attn_drop(probabilities)
        out = (probabilities @ value).transpose(1, 2).flatten(2)
        return (out, probabilities) if output_attentions else (out,)


def _projections(layer: Any, attention: str) -> Projections:
    """Find the projections of a block: three times as wide as its input, and as wide."""
    block = layer.temporal_attention if attention == "temporal" else layer.attention
    linears = [module for module in block.modules() if isinstance(module, nn.Linear)]
    fused = [linear for linear in linears if linear.out_features == 3 * linear.in_features]
    output = [linear for linear in linears if linear.out_features == linear.in_features]
    if len(fused) != 1 or len(output) != 1:
        raise InputError(
            f"TimesformerAdapter: {type(block).__name__} expected one fused and one output "
            f"projection, got {len(fused)} and {len(output)}; this version of transformers is not "
            "known"
        )
    return Projections(qkv=fused[0], outputs=output[0])
