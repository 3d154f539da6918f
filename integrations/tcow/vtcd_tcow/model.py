# SPDX-License-Identifier: MIT
"""TCOW: a tracker of objects through occlusion and containment.

Van Hoorick et al., "Tracking through Containers and Occluders in the Wild" (CVPR 2023). Written
from the paper and from what the released modules compute; published checkpoints load.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vtcd_ops.adapters import InputError, load_strictly
from vtcd_tcow.checkpoint import read_checkpoint, strip_prefix
from vtcd_tcow.config import TCOWConfig
from vtcd_tcow.timesformer import VideoTransformer

__all__ = ["TCOW"]

# Of colours in [0, 1], where the model normalises them: the same for red, green and blue.
_MEAN, _STD = 0.45, 0.225


class TCOW(nn.Module):
    """Follows the object under a mask of the first frame: also where it is hidden.

    >>> import torch
    >>> from vtcd_tcow import TCOW
    >>> model = TCOW.from_config({
    ...     "num_total_frames": 4, "frame_height": 32, "frame_width": 48, "patch_size": 8,
    ...     "causal_attention": 1, "embed_dim": 32, "depth": 2, "num_heads": 4})
    >>> rgb, query = torch.rand(1, 3, 4, 32, 48), torch.zeros(1, 1, 4, 32, 48)
    >>> query[:, :, 0, 8:16, 8:16] = 1           # the object, in the first frame alone
    >>> masks, flags = model(rgb, query)         # logits
    >>> masks.shape, flags.shape
    (torch.Size([1, 3, 4, 32, 48]), torch.Size([1, 4, 3]))
    """

    def __init__(self, config: TCOWConfig) -> None:
        super().__init__()
        self.config = config
        # Two shells around the transformer, for the names in published checkpoints.
        shell = _Shell(model=VideoTransformer(config))
        self.tracker_backbone = _Shell(timesformer=shell)
        pixels = config.output_channels * config.patch_size**2
        self.tracker_post_linear = nn.Linear(config.width, pixels)
        if config.flag_channels:
            self.flag_post_linear = nn.Linear(config.width, config.flag_channels)
        self.register_load_state_dict_pre_hook(_strip_wrappers)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TCOW:
        """Build an untrained model in evaluation mode.

        Args:
            config: arguments under the names of the published checkpoints (``seeker_args``) and
                ``embed_dim``, ``depth``, ``num_heads``; see :class:`TCOWConfig`.

        Raises:
            InputError: an unknown name, or a value that no model can have.
        """
        return cls(TCOWConfig.from_dict(config)).eval()

    @classmethod
    def from_checkpoint(
        cls, path: str | PathLike[str], config: Mapping[str, Any] | None = None
    ) -> TCOW:
        """Load a model in evaluation mode.

        Args:
            path: a folder with config.json and model.safetensors, a safetensors file, or a file of
                torch.save that holds nothing but tensors and plain values: a state dict, or a dict
                with one and, under ``seeker_args``, the arguments. Names may carry the prefix of a
                wrapper such as ``seeker.`` or ``module.``.
            config: arguments that take the place of those in the checkpoint. Where neither says,
                sizes are read off the weights, and the rest is as published.

        Raises:
            InputError: no such file, a pickle that needs more than tensors, or keys that are
                missing, surplus or of another shape.
        """
        weights, arguments = read_checkpoint(path, config)
        model = cls.from_config(arguments)
        load_strictly(model, weights, path)
        return model

    @property
    def transformer(self) -> VideoTransformer:
        """The blocks, without the heads that make masks and flags of their tokens."""
        found = self.tracker_backbone.get_submodule("timesformer.model")
        assert isinstance(found, VideoTransformer)
        return found

    def forward(
        self,
        rgb: Tensor,  # [B, 3, T, H, W]
        query: Tensor,  # [B, 1, T, H, W]
        positions: Tensor | None = None,  # int [T]
    ) -> tuple[Tensor, Tensor | None]:
        """Follow the object under the query.

        Args:
            rgb: colours in [0, 1], [B, 3, T, H, W].
            query: 1 on the object in the frame where it is pointed out (the first, as a rule), 0
                elsewhere and in all other frames, [B, 1, T, H, W].
            positions: frame numbers, below ``num_total_frames``, where only some of a clip's frames
                are given (training does so); by default all are.

        Returns:
            Logits of the masks of target (hidden parts too), frontmost occluder and outermost
            container, [B, 3, T, H, W]; and of the flags, [B, T, 3], None for a model without.

        Raises:
            InputError: clips of another size or number of frames, or a query that does not fit.
        """
        self._check_inputs(rgb, query, positions)
        weight = self.tracker_post_linear.weight
        rgb, query = rgb.to(weight.dtype), query.to(weight.dtype)
        if self.config.normalises:
            rgb = (rgb - _MEAN) / _STD
        maps = self.tracker_backbone(torch.cat([rgb, query], dim=1), positions)  # [B, D, T, h, w]
        tokens = maps.permute(0, 2, 3, 4, 1)  # [B, T, h, w, D]
        flags = None
        if self.config.flag_channels:
            flags = self.flag_post_linear(tokens).mean(dim=(2, 3))
        return self._masks(self.tracker_post_linear(tokens)), flags

    def _masks(self, patches: Tensor) -> Tensor:  # [B, T, h, w, C*p*p] -> [B, C, T, H, W]
        """Put the patches together, and make them as coarse as the loss of training saw them."""
        config = self.config
        batch, frames = patches.shape[:2]
        side = config.patch_size
        pixels = patches.flatten(0, 1).unflatten(-1, (config.output_channels, side, side))
        # [B*T, h, w, C, y, x] -> [B*T, C, h, y, w, x]
        masks = pixels.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        if config.track_map_stride > 1:
            stride = config.track_map_stride
            masks = functional.avg_pool2d(masks, stride, stride)
            aligned = True if config.track_map_resize == "bilinear" else None
            masks = functional.interpolate(
                masks, scale_factor=stride, mode=config.track_map_resize, align_corners=aligned
            )
        return masks.unflatten(0, (batch, frames)).transpose(1, 2)

    def _check_inputs(self, rgb: Tensor, query: Tensor, positions: Tensor | None) -> None:
        config = self.config
        frames = config.num_total_frames if positions is None else len(positions)
        size = (frames, config.frame_height, config.frame_width)
        for name, tensor, channels in (("rgb", rgb, 3), ("query", query, config.query_channels)):
            if not isinstance(tensor, Tensor):
                raise InputError(
                    f"TCOW: {name} expected a tensor [B, {channels}, T, H, W], "
                    f"got {type(tensor).__name__}"
                )
            if tensor.dim() != 5 or tuple(tensor.shape[1:]) != (channels, *size):
                sizes = ", ".join(map(str, size))
                raise InputError(
                    f"TCOW: {name} expected [B, {channels}, T, H, W] = [B, {channels}, {sizes}], "
                    f"got {list(tensor.shape)}"
                )
        if len(rgb) != len(query):
            raise InputError(
                f"TCOW: query expected a mask for each of {len(rgb)} clips, got {len(query)}"
            )


class _Shell(nn.Module):
    """A module inside another that does nothing else: it gives its name."""

    def __init__(self, **inside: nn.Module) -> None:
        super().__init__()
        ((self.inside, module),) = inside.items()
        self.add_module(self.inside, module)

    def forward(self, *args: Any) -> Any:
        """Run what is inside."""
        return self.get_submodule(self.inside)(*args)


def _strip_wrappers(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
) -> None:
    """Let ``load_state_dict`` take the names of a wrapped model too."""
    if prefix:
        return  # part of another module, whose names are right as they are
    for name in list(state_dict):
        state_dict[strip_prefix(name)] = state_dict.pop(name)
