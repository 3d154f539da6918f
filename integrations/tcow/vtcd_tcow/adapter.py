# SPDX-License-Identifier: MIT
"""The adapter for TCOW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtcd_ops.adapters import (
    BundledModels,
    FrameTransform,
    HeadModules,
    InputError,
    ProjectionAdapter,
    Projections,
    Sample,
    TokenLayout,
    VideoClip,
    check_attention,
    floating_type,
    like_trained,
    linear_heads,
    placed,
    read_mask,
    read_masks,
)
from vtcd_tcow.checkpoint import MODEL_TYPE
from vtcd_tcow.model import TCOW

# The model keeps its tokens in (h, w, t) order, but hands spatial attention the frames in its
# batch, and temporal attention the places.
_TEMPORAL = TokenLayout("t", "hw")
_JOINT = TokenLayout("hwt", num_prefix_tokens=1)


class TCOWAdapter(BundledModels, ProjectionAdapter):
    """TCOW: divided space-time attention, told by a mask of the first frame what to follow.

    Spatial attention sees the class token once a frame, so T prefix tokens stand in front.

    >>> from vtcd_tcow import TCOW, TCOWAdapter
    >>> TCOWAdapter(TCOW.from_config({
    ...     "num_total_frames": 4, "frame_height": 32, "frame_width": 48, "patch_size": 8,
    ...     "embed_dim": 32, "depth": 2, "num_heads": 4}))
    TCOWAdapter('tcow', 2 layers x 4 heads x 8 channels, 4x4x6 tokens)

    Args:
        model: the tracker.
        name: by which ``load_model`` finds it again.
        attention: ``"spatial"`` (default) or ``"temporal"``, of a model with divided attention.
        sampling_rate: the model was trained on every n-th frame of a video; None when unknown.
    """

    family = "tcow"
    model_types = (MODEL_TYPE,)
    bundled_root = Path(__file__).parent / "models"

    def __init__(
        self,
        model: TCOW,
        *,
        name: str = "tcow",
        attention: str = "spatial",
        sampling_rate: int | None = None,
    ) -> None:
        config = model.config
        check_attention(name, attention, divided=config.divided)
        self.attention = attention
        module = "temporal_attn" if attention == "temporal" else "attn"
        attentions = [getattr(block, module) for block in model.transformer.blocks]
        super().__init__(
            model,
            projections=[Projections(qkv=each.qkv, outputs=each.proj) for each in attentions],
            name=name,
            num_heads=config.heads,
            num_frames=config.num_total_frames,
            tubelet_size=1,
            token_grid=config.token_grid,
            # Colours go in as [0, 1]; the model normalises them itself, if at all.
            frames=FrameTransform(
                size=(config.frame_height, config.frame_width),
                fit="cover",
                mean=(0.0, 0.0, 0.0),
                std=(1.0, 1.0, 1.0),
            ),
            layout=_layout(model, attention),
            sampling_rate=sampling_rate,
            sample_fields=("video", "query_mask"),
            metrics=("iou", "iou_prediction"),
        )

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        attention: str = "spatial",
    ) -> TCOWAdapter:
        """Load a bundled model, a folder, or a checkpoint file.

        Args:
            name: ``"mini"``, a folder with config.json and model.safetensors, or a file that
                :meth:`vtcd_tcow.TCOW.from_checkpoint` takes.
            device: where the model runs.
            dtype: of its weights and activations; features are captured in float32 in any case.
            attention: ``"spatial"`` or ``"temporal"``.

        Raises:
            InputError: nothing to load, or weights that do not fit.
        """
        source = cls.locate_path(name)
        model = TCOW.from_checkpoint(source).to(floating_type(dtype))
        placed(model, device)
        name = cls.full_name(name, dtype=dtype, attention=attention)
        return cls(model, name=name, attention=attention)

    def saved_form(self) -> dict[str, Any]:
        """Return what `rebuild` needs: the model's configuration, and the adapter's options."""
        model: Any = self.model
        return {"config": model.config.to_dict(), "options": {"attention": self.attention}}

    @classmethod
    def rebuild(cls, config: dict[str, Any], options: dict[str, Any], folder: Path) -> TCOWAdapter:
        """Return the adapter of a model with this configuration, whose weights are yet to come."""
        return cls(TCOW.from_config(config), **options)

    def head_modules(self, layer: int) -> HeadModules:
        """Return where the heads of a layer are: those of the attention that is looked at."""
        names = self._module_names[layer]
        attention = names["qkv"].rpartition(".")[0]
        rows, counts = linear_heads(names["qkv"], fused=True), ((f"{attention}.num_heads", 1),)
        return HeadModules(attention, rows, names["outputs"], counts)

    def inputs(self, sample: Sample, clip: VideoClip, start: int) -> dict[str, Tensor]:
        """Return the query of one window: what to follow, in the window's first frame.

        It is the sample's ``query_mask`` in the window that begins with the video's first frame,
        and ``target_masks`` of its first frame in any other.

        Returns:
            ``{"query": [1, T, H', W']}``, 1 on the object in the first frame, 0 elsewhere.

        Raises:
            InputError: no mask for the frame, an empty one, or one that is not of the frame's size.
        """
        frame = clip.indices[min(start, len(clip.indices) - 1)]
        mask = _query_mask(self.name, sample, frame)
        size = next(iter(clip.source.frames([frame]))).shape[:2]
        if tuple(mask.shape) != tuple(size):
            raise InputError(
                f"{self.name}: query_mask of {_video(sample)} expected {size[0]}x{size[1]} as the "
                f"frames, got {mask.shape[0]}x{mask.shape[1]}"
            )
        seen = self.mask_to_model(mask)
        if not bool(seen.any()):
            where = "in the part that the model sees" if bool(mask.any()) else "in any pixel"
            raise InputError(
                f"{self.name}: query_mask of {_video(sample)} in frame {frame} expected to show "
                f"what to follow, got no object {where}"
            )
        query = torch.zeros(1, self.num_frames, *seen.shape)
        query[0, 0] = seen.float()
        return {"query": query}

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        """Follow the object under ``query`` [B, 1, T, H', W'] in clips [B, T, 3, H', W'].

        Returns:
            Logits of the masks, [B, 3, T, H', W'], and of the flags, [B, T, 3].

        Raises:
            InputError: no query.
        """
        query = inputs.get("query")
        if query is None or len(inputs) != 1:
            raise InputError(
                f"{self.name}: query expected beside the clips (adapter.inputs makes it of a "
                f"sample's query_mask), got {', '.join(inputs) or 'none'}"
            )
        return self.model(self.to_model(clips).transpose(1, 2), self.to_model(query))

    def predict(self, clips: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the model on clips [B, T, 3, H', W'] and return its masks and flags.

        Returns:
            "masks" [B, 3, T, H', W'], logits of target, frontmost occluder and outermost container;
            "flags" [B, T, 3], of a model that has them.
        """
        masks, flags = self.forward(clips, **inputs)
        return {"masks": masks} if flags is None else {"masks": masks, "flags": flags}

    def untrained_model(self) -> nn.Module:
        """Return a model of the same configuration, as it is before training."""
        return like_trained(TCOW(self.model.config), self.model)


def _layout(model: TCOW, attention: str) -> TokenLayout:
    if not model.config.divided:
        return _JOINT
    if attention == "temporal":
        return _TEMPORAL
    return TokenLayout("hw", "t", num_prefix_tokens=int(model.config.class_token_in_space))


def _query_mask(name: str, sample: Sample, frame: int) -> Tensor:  # bool [H, W]
    """The mask of what to follow, in one frame of the video."""
    if frame == 0 and sample.query_mask is not None:
        return read_mask(sample.query_mask)
    if sample.target_masks is not None and sample.query_mask is not None:
        return read_masks(sample.target_masks, [frame])[0]
    if sample.query_mask is None:
        raise InputError(
            f"{name}: query_mask expected for {_video(sample)}, the mask of what to follow in its "
            "first frame, got none"
        )
    raise InputError(
        f"{name}: the query_mask of {_video(sample)} is one of its first frame, and a window "
        f"begins at frame {frame}: give target_masks too, or look at {name}'s number of frames"
    )


def _video(sample: Sample) -> str:
    if sample.name is not None:
        return sample.name
    return Path(sample.video).name if isinstance(sample.video, str | Path) else "a video"
