"""The adapter for V-JEPA 2 as Hugging Face transformers implements it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from vtcd_ops.adapters import (
    HeadModules,
    InputError,
    ProjectionAdapter,
    Projections,
    frame_transform,
    linear_heads,
)
from vtcd_ops.adapters.huggingface import (
    HuggingFaceMixin,
    attention_layers,
    read_pretrained_config,
    tokens_of_patches,
)

# What V-JEPA 2.1 has and 2.0 has not: names of weights, entries of a configuration.
_KEYS_OF_21 = ("img_mod_embed", "video_mod_embed", "norms_block", "patch_embed_img",
               "modality_embedding")  # fmt: skip
_ENTRIES_OF_21 = ("use_modality_embeddings", "use_rope_interleave", "interpolate_rope")


class VJEPA2Adapter(HuggingFaceMixin, ProjectionAdapter):
    """The encoder of V-JEPA 2: joint attention over t*h*w tokens with rotary positions.

    Queries and keys are those *before* the rotation, which would make the same content differ from
    place to place; so they are read at the projections. The predictor is never run.

    >>> from transformers import VJEPA2Config, VJEPA2Model
    >>> config = VJEPA2Config(
    ...     crop_size=32, patch_size=8, frames_per_clip=4, hidden_size=48, num_hidden_layers=2,
    ...     num_attention_heads=2, pred_hidden_size=48, pred_num_attention_heads=2,
    ...     pred_num_hidden_layers=1)
    >>> VJEPA2Adapter(VJEPA2Model(config).eval())
    VJEPA2Adapter('vjepa2', 2 layers x 2 heads x 24 channels, 2x4x4 tokens)

    Args:
        model: VJEPA2Model or VJEPA2ForVideoClassification.
        name: by which ``load_model`` finds it again.
        preprocessor_config: of the checkpoint; by default what published ones have: shorter side
            8/7 of the frame, centre crop, ImageNet's colours.
        num_frames: of a clip; those of the configuration by default, though the model takes any
            multiple of the tubelet length.
    """

    family = "hf_vjepa2"
    model_types = ("vjepa2",)
    classes = ("VJEPA2Model", "VJEPA2ForVideoClassification")

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        *,
        name: str = "vjepa2",
        preprocessor_config: Mapping[str, Any] | None = None,
        num_frames: int | None = None,
    ) -> None:
        config = model.config
        side, patch, tubelet = config.crop_size, config.patch_size, config.tubelet_size
        frames_per_clip = config.frames_per_clip if num_frames is None else num_frames
        if not isinstance(frames_per_clip, int) or frames_per_clip < 1 or frames_per_clip % tubelet:
            raise InputError(
                f"{name}: num_frames expected a multiple of {tubelet}, got {frames_per_clip!r}"
            )
        frames = frame_transform(
            name, preprocessor_config, (side, side), shortest_edge=side * 256 // 224
        )
        super().__init__(
            model,
            projections=[_projections(attention) for attention in attention_layers(model)],
            name=name,
            **tokens_of_patches(model, frames, frames_per_clip, (tubelet, patch, patch)),
        )

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        num_frames: int | None = None,
    ) -> VJEPA2Adapter:
        """Load a directory or a Hub id such as ``"facebook/vjepa2-vitl-fpc64-256"``."""
        with vjepa21_explained(name, read_pretrained_config(cls.locate(name))):
            return cls.load(name, device, dtype, num_frames=num_frames)

    def constructor_options(self) -> dict[str, Any]:
        """Return the frames of a clip, which the configuration need not say."""
        return {"num_frames": self.num_frames}

    def head_modules(self, layer: int) -> HeadModules:
        """Return where the heads of a layer are; the rotation is the same for every head."""
        names = self._module_names[layer]
        attention = names["outputs"].rpartition(".")[0]
        counts = (
            (f"{attention}.num_attention_heads", 1),
            (f"{attention}.all_head_size", self.head_dim),
        )
        rows = linear_heads(*(names[role] for role in ("queries", "keys", "values")))
        return HeadModules(attention, rows, names["outputs"], counts, returns="pair")

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Run the model on clips [B, T, 3, H', W'], without the predictor."""
        clips = self.to_model(clips)
        if isinstance(self.model, transformers.VJEPA2ForVideoClassification):
            return self.model(clips, **inputs)
        return self.model(clips, skip_predictor=True, **inputs)


@contextlib.contextmanager
def vjepa21_explained(source: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Refuse weights of V-JEPA 2.1 by their name: 2.0 would run without what they have more."""
    told = (
        f"load_model: {source} holds V-JEPA 2.1, which transformers {transformers.__version__} "
        "does not have (huggingface/transformers#45496); run as V-JEPA 2 it would be another model"
    )
    entries = [name for name in _ENTRIES_OF_21 if config.get(name)]
    if config.get("model_type") == "vjepa2" and entries:
        raise InputError(f"{told}: its configuration has {', '.join(entries)}")
    try:
        yield
    except InputError as error:
        if any(key in str(error) for key in _KEYS_OF_21):
            raise InputError(f"{told}: {error}") from error
        raise


def _projections(attention: nn.Module) -> Projections:
    """Find the projections of an attention module under the names they have had so far."""
    return Projections(
        queries=_child(attention, "query", "q_proj"),
        keys=_child(attention, "key", "k_proj"),
        values=_child(attention, "value", "v_proj"),
        outputs=_child(attention, "proj", "o_proj"),
    )


def _child(module: nn.Module, *names: str) -> nn.Module:
    for name in names:
        child = getattr(module, name, None)
        if isinstance(child, nn.Module):
            return child
    raise InputError(
        f"VJEPA2Adapter: {type(module).__name__} expected a projection named {' or '.join(names)}; "
        "this version of transformers is not known"
    )
