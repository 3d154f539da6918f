"""The sizes of an InternVideo, under upstream's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from vtcd_ops.adapters import InputError, check_sizes, shortened

__all__ = ["InternVideoConfig", "TextConfig", "VisualConfig"]

# Upstream's arguments that change neither the weights nor what a finished model computes.
_TRAINING_ONLY = (
    "drop_path_rate",
    "backbone_drop_path_rate",
    "cls_dropout",
    "num_classes",
    "use_checkpoint",
    "checkpoint_num",
)


@dataclass(frozen=True)
class VisualConfig:
    """The visual tower.

    Attributes:
        input_resolution: side of a frame, in pixels.
        patch_size: side of a patch, in pixels.
        width, layers, heads: of the image transformer.
        return_list: the layers after which a temporal decoder layer reads the tokens.
        n_layers, n_dim, n_head: of the temporal decoder; n_dim is the width.
        output_dim: of the tower in CLIP; nothing depends on it (see `TextConfig.embed_dim`).
        mlp_factor: width of the decoder's hidden layers by its own.
        mlp_dropout: of each decoder layer, in training.
    """

    input_resolution: int
    patch_size: int
    width: int
    layers: int
    heads: int
    return_list: tuple[int, ...]
    n_layers: int
    n_dim: int
    n_head: int
    output_dim: int = 512
    mlp_factor: float = 4.0
    mlp_dropout: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VisualConfig:
        """Read a dictionary; the decoder has as many layers, channels and heads as it must."""
        values = _known(cls, "visual", values)
        _require("visual", values, ("input_resolution", "patch_size", "width", "layers", "heads"))
        layers = values["layers"]
        layer_list = values.get("return_list", range(layers))
        if not isinstance(layer_list, Sequence) or isinstance(layer_list, str):
            raise InputError(
                f"InternVideo: visual.return_list expected layers, got {shortened(layer_list)}"
            )
        layer_list = tuple(layer_list)
        values["return_list"] = layer_list
        values.setdefault("n_layers", len(layer_list))
        values.setdefault("n_dim", values["width"])
        values.setdefault("n_head", values["heads"])
        values["mlp_dropout"] = _dropouts(values.get("mlp_dropout", 0.5), values["n_layers"])
        config = cls(**values)
        config._check()
        return config

    def _check(self) -> None:
        _check_sizes("visual", self, ("return_list", "mlp_factor", "mlp_dropout"))
        listed = self.return_list
        if not listed or list(listed) != sorted({i for i in listed if 0 <= i < self.layers}):
            raise InputError(
                f"InternVideo: visual.return_list expected layers among 0 to {self.layers - 1}, "
                f"each once and in order, got {shortened(list(listed))}"
            )
        for name, value, expected in (
            ("n_layers", self.n_layers, len(listed)),
            ("mlp_dropout", len(self.mlp_dropout), self.n_layers),
            ("n_dim", self.n_dim, self.width),
        ):
            if value != expected:
                raise InputError(f"InternVideo: visual.{name} expected {expected}, got {value}")
        _check_heads("visual.width", self.width, "visual.heads", self.heads)
        _check_heads("visual.n_dim", self.n_dim, "visual.n_head", self.n_head)
        if self.input_resolution < self.patch_size:
            raise InputError(
                f"InternVideo: visual.input_resolution expected at least the patch size, "
                f"{self.patch_size}, got {self.input_resolution}"
            )

    @property
    def grid_size(self) -> int:
        """Patches along a side of a frame."""
        return self.input_resolution // self.patch_size


@dataclass(frozen=True)
class TextConfig:
    """The text tower.

    Attributes:
        embed_dim: length of the features that videos and texts share.
        context_length: tokens of a text.
        vocab_size: number of tokens.
        transformer_width, transformer_heads, transformer_layers: of the text transformer.
    """

    embed_dim: int
    context_length: int
    vocab_size: int
    transformer_width: int
    transformer_heads: int
    transformer_layers: int

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextConfig:
        """Read a dictionary."""
        values = _known(cls, "text", values)
        _require("text", values, tuple(field.name for field in fields(cls)))
        config = cls(**values)
        _check_sizes("text", config, ())
        _check_heads(
            "text.transformer_width", config.transformer_width,
            "text.transformer_heads", config.transformer_heads,
        )  # fmt: skip
        return config


@dataclass(frozen=True)
class InternVideoConfig:
    """Both towers, and the frames of a video.

    >>> text = {"embed_dim": 8, "context_length": 7, "vocab_size": 20, "transformer_width": 8,
    ...         "transformer_heads": 2, "transformer_layers": 1}
    >>> visual = {"input_resolution": 16, "patch_size": 8, "width": 12, "layers": 2, "heads": 3}
    >>> config = InternVideoConfig.from_dict({"visual": visual, "text": text, "t_size": 4})
    >>> config.visual.return_list, config.visual.grid_size
    ((0, 1), 2)

    Attributes:
        visual: the visual tower.
        text: the text tower.
        t_size: frames of a video; the model takes no other number.
        initializer_range: standard deviation of the weights before training; None for upstream's.
    """

    visual: VisualConfig
    text: TextConfig
    t_size: int = 8
    initializer_range: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InternVideoConfig:
        """Read a dictionary.

        Raises:
            InputError: an entry that is missing, unknown or no possible size.
        """
        values = _known(cls, "config", values)
        check_sizes(values, "InternVideo")
        _require("config", values, ("visual", "text"))
        config = cls(
            **{
                **values,
                "visual": VisualConfig.from_dict(values["visual"]),
                "text": TextConfig.from_dict(values["text"]),
            }
        )
        if not _is_size(config.t_size):
            raise InputError(
                f"InternVideo: t_size expected a number of frames, got {config.t_size!r}"
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads."""
        return asdict(self)


def _known(cls: type, name: str, values: Any) -> dict[str, Any]:
    """Check that a dictionary has no entry that the dataclass lacks."""
    if not isinstance(values, Mapping):
        raise InputError(f"InternVideo: {name} expected a dictionary, got {type(values).__name__}")
    names = [field.name for field in fields(cls)]
    unknown = [key for key in values if key not in names and key not in _TRAINING_ONLY]
    if unknown:
        raise InputError(
            f"InternVideo: {name} expected entries among {', '.join(names)}, "
            f"got {', '.join(map(str, unknown))}"
        )
    return {key: value for key, value in values.items() if key in names}


def _require(name: str, values: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    missing = [key for key in needed if key not in values]
    if missing:
        raise InputError(f"InternVideo: {name} expected an entry {', '.join(missing)}, got none")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_sizes(name: str, config: Any, other: tuple[str, ...]) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in other and not _is_size(value):
            raise InputError(
                f"InternVideo: {name}.{field.name} expected a positive integer, got {value!r}"
            )


def _check_heads(width_name: str, width: int, heads_name: str, heads: int) -> None:
    if width % heads:
        raise InputError(
            f"InternVideo: {width_name} expected a multiple of {heads_name}, {heads}, got {width}"
        )


def _dropouts(value: Any, count: int) -> tuple[float, ...]:
    """One number stands for every layer."""
    return (float(value),) * count if isinstance(value, (int, float)) else tuple(value)
