# SPDX-License-Identifier: MIT
"""The sizes and switches of a TCOW model, under the names of the published checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vtcd_ops.adapters import InputError, check_sizes

__all__ = ["TCOWConfig"]

ATTENTION_TYPES = ("divided_space_time", "joint_space_time")
RESIZES = ("nearest", "bilinear")

# network_depth -> (embed_dim, num_heads) of the three sizes that were published.
_SIZES = {12: (768, 12), 18: (896, 14), 24: (1024, 16)}


@dataclass(frozen=True)
class TCOWConfig:
    """Everything that decides the shape and the computation of a :class:`vtcd_tcow.TCOW`.

    >>> config = TCOWConfig.from_dict({"num_total_frames": 30, "network_depth": 12})
    >>> config.width, config.num_blocks, config.heads, config.token_grid
    (768, 12, 12, (30, 14, 18))

    Attributes:
        num_total_frames: frames of a clip, T.
        num_visible_frames: how many of them training showed; later ones were black. Not used here.
        frame_height, frame_width: of a frame, H and W, multiples of ``patch_size``.
        tracker_pretrained: whether colours in [0, 1] are normalised inside the model (as for the
            weights from which training may start; a path or "1", "yes" and the like count as True).
        attention_type: "divided_space_time" or "joint_space_time".
        patch_size: side of a token in pixels.
        causal_attention: of the temporal attention. 0: every frame sees all; 1: a frame sees itself
            and those before it, and the class token is that of the first frame; 2: as 1, without
            the class token in spatial attention; c > 2: sees c - 2 frames ahead as well, again
            without the class token; -1: every frame sees all, without the class token.
        norm_embeddings: whether the last tokens are normalised before the masks are made of them.
        drop_path_rate: stochastic depth of the last block while training; from 0 in the first.
        network_depth: 12, 18 or 24 blocks, the published sizes (width 768, 896, 1024); any number
            of blocks where the width and the heads are given.
        track_map_stride: masks are averaged over squares of so many pixels, then enlarged again.
        track_map_resize: how they are enlarged: "nearest" or "bilinear" (aligned corners).
        query_channels: of the query mask; only 1 is known.
        output_channels: masks: target, frontmost occluder, outermost container.
        flag_channels: numbers a frame (occluded, contained, share hidden); 0 for none.
        embed_dim, depth, num_heads: width, blocks and heads in place of those of ``network_depth``.
        initializer_range: standard deviation of fresh weights; small models want more than .02.
    """

    num_total_frames: int = 24
    num_visible_frames: int = 16
    frame_height: int = 224
    frame_width: int = 288
    tracker_pretrained: bool | int | str = False
    attention_type: str = "divided_space_time"
    patch_size: int = 16
    causal_attention: int = 0
    norm_embeddings: bool = False
    drop_path_rate: float = 0.1
    network_depth: int = 12
    track_map_stride: int = 4
    track_map_resize: str = "bilinear"
    query_channels: int = 1
    output_channels: int = 3
    flag_channels: int = 3
    embed_dim: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    initializer_range: float = 0.02

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TCOWConfig:
        """Read the arguments of a model.

        Raises:
            InputError: an unknown name, or a value that no model can have.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"TCOW: config expected a dict, got {type(values).__name__}")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise InputError(
                f"TCOW: config expected names among {', '.join(known)}, got {', '.join(unknown)}"
            )
        config = cls(**values)
        check_sizes(config.to_dict(), "TCOW")
        return config

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_choices()
        self._check_multiples()

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads."""
        return dataclasses.asdict(self)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.embed_dim if self.embed_dim is not None else _SIZES[self.network_depth][0]

    @property
    def num_blocks(self) -> int:
        """Number of transformer blocks."""
        # network_depth is the number of blocks of every published size.
        return self.depth if self.depth is not None else self.network_depth

    @property
    def heads(self) -> int:
        """Number of attention heads of a block."""
        return self.num_heads if self.num_heads is not None else _SIZES[self.network_depth][1]

    @property
    def token_grid(self) -> tuple[int, int, int]:
        """Tokens of a clip, (t, h, w)."""
        patch = self.patch_size
        return (self.num_total_frames, self.frame_height // patch, self.frame_width // patch)

    @property
    def normalises(self) -> bool:
        """Whether colours are normalised inside the model."""
        value = self.tracker_pretrained
        if isinstance(value, str):
            # Short words are switches, anything longer is a path of weights to start from.
            return value.lower() in ("1", "y", "yes", "t", "true") or len(value) > 5
        return bool(value)

    @property
    def divided(self) -> bool:
        """Whether attention over time and over space are separate."""
        return self.attention_type == "divided_space_time"

    @property
    def class_token_in_space(self) -> bool:
        """Whether the class token takes part in spatial attention, once a frame."""
        return self.causal_attention in (0, 1)

    def _check_numbers(self) -> None:
        smallest = {
            "num_total_frames": 1, "frame_height": 1, "frame_width": 1, "patch_size": 1,
            "network_depth": 1, "causal_attention": -1, "track_map_stride": 1, "output_channels": 1,
            "flag_channels": 0, "embed_dim": 1, "depth": 1, "num_heads": 1,
        }  # fmt: skip
        for name, least in smallest.items():
            value = getattr(self, name)
            if value is None and name in ("embed_dim", "depth", "num_heads"):
                continue
            if not isinstance(value, int) or value < least:
                raise InputError(
                    f"TCOW: {name} expected a whole number of at least {least}, got {value!r}"
                )

    def _check_choices(self) -> None:
        if None in (self.embed_dim, self.num_heads) and self.network_depth not in _SIZES:
            raise InputError(
                f"TCOW: network_depth expected one of {', '.join(map(str, _SIZES))} (or give "
                f"embed_dim and num_heads), got {self.network_depth!r}"
            )
        for name, choices in (
            ("attention_type", ATTENTION_TYPES),
            ("track_map_resize", RESIZES),
            ("query_channels", (1,)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(
                    f"TCOW: {name} expected {' or '.join(map(repr, choices))}, got {value!r}"
                )
        if self.causal_attention and not self.divided:
            raise InputError(
                "TCOW: causal_attention expected 0 where attention is joint, "
                f"got {self.causal_attention!r}"
            )

    def _check_multiples(self) -> None:
        for name, divisor in (
            ("frame_height", self.patch_size),
            ("frame_width", self.patch_size),
            ("frame_height", self.track_map_stride),
            ("frame_width", self.track_map_stride),
            ("width", self.heads),
        ):
            value = getattr(self, name)
            if value % divisor:
                shown = "embed_dim" if name == "width" else name
                raise InputError(f"TCOW: {shown} expected a multiple of {divisor}, got {value}")
