"""VideoMAE's own checkpoints (github.com/MCG-NJU/VideoMAE) as models of transformers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
)

from vtcd_ops.adapters import InputError, check_shapes, check_sizes, read_checkpoint

__all__ = ["from_checkpoint"]

# Every norm upstream; transformers gives fc_norm and the decoder's norm 1e-5 whatever it is told.
_NORM_EPSILON = 1e-6
_HEAD_CHANNELS = 64
_HEADS = {1280: 16}  # the huge model's heads have 80 channels

# Beginnings, then middles, of the names in transformers and upstream.
_BEGINNINGS = {
    "videomae.embeddings.patch_embeddings.projection.": "{encoder}patch_embed.proj.",
    "videomae.encoder.layer.": "{encoder}blocks.",
    "videomae.layernorm.": "{encoder}norm.",
    "decoder.decoder_layers.": "decoder.blocks.",
    "classifier.": "head.",
}
_MIDDLES = {
    ".layernorm_before.": ".norm1.",
    ".layernorm_after.": ".norm2.",
    ".attention.output.dense.": ".attn.proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
}
_PROJECTION = re.compile(r"(.*)\.attention\.attention\.(query|key|value)\.(weight|bias)")
_THIRDS = ("query", "key", "value")
_SPLIT_BIASES = {"query": "q_bias", "value": "v_bias"}


def from_checkpoint(path: str | os.PathLike[str], **config: Any) -> PreTrainedModel:
    """Load a `.pth` that VideoMAE's own code saved, as a model of transformers.

    The outputs are those of VideoMAE's own code: every norm's epsilon is 1e-6, as there. Sizes are
    read off the weights; frames, their side and the number of heads are no part of them: 16, 224
    and as published.

    Args:
        path: of a fine-tuned or a pre-trained model, with biases as `q_bias` and `v_bias` or in
            one `qkv.bias`; the weights at the top or under `model` or `module`.
        **config: entries of `transformers.VideoMAEConfig` that are others, such as `num_frames`.

    Returns:
        VideoMAEForVideoClassification or VideoMAEForPreTraining, float32, in evaluation mode.

    Raises:
        InputError: a pickle that needs more than tensors; missing, surplus or misshapen keys.
    """
    state = read_checkpoint(path, prefixes=("module.", "_orig_mod."))
    pretrained = any(key.startswith("encoder.") for key in state)
    encoder = "encoder." if pretrained else ""
    sizes = _sizes(state, encoder, path) | config
    check_sizes(sizes, os.fspath(path))
    model_class: Any = VideoMAEForPreTraining if pretrained else VideoMAEForVideoClassification
    with torch.device("meta"):  # nothing is drawn that the weights replace
        model = model_class(VideoMAEConfig(**sizes))
        if _has_key_biases(state):
            _add_key_biases(model)
    own = model.state_dict()
    fused = any(key.endswith(".attn.qkv.bias") for key in state)
    check_shapes(_expected(own, encoder, fused), state, path, f"VideoMAE ({model_class.__name__})")
    weights = {
        name: _weight(name, state, encoder, fused).to(torch.float32, copy=True) for name in own
    }
    return _finished(model_class, sizes, weights, key_biases=_has_key_biases(state))


def _finished(
    model_class: Any, sizes: Mapping[str, Any], weights: Mapping[str, Tensor], key_biases: bool
) -> PreTrainedModel:
    """Build the model on the CPU, tables of positions included, around the weights."""
    model = model_class(VideoMAEConfig(**sizes))
    if key_biases:
        _add_key_biases(model)
    model.load_state_dict(weights, assign=True)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = _NORM_EPSILON
    return model.eval()


def _has_key_biases(state: Mapping[str, Tensor]) -> bool:
    """Say whether keys have biases, which a fused `qkv.bias` allows and transformers does not."""
    return any(
        bool(bias.chunk(3)[1].any()) for key, bias in state.items() if key.endswith("attn.qkv.bias")
    )


def _add_key_biases(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if name.endswith(".attention.attention.key") and isinstance(module, nn.Linear):
            module.bias = nn.Parameter(torch.zeros(module.out_features))


def _sizes(state: Mapping[str, Tensor], encoder: str, path: Any) -> dict[str, Any]:
    """Read entries of the configuration off the weights."""

    def shape(key: str, axes: int) -> torch.Size:
        problem = f"from_checkpoint: the weights in {os.fspath(path)} do not fit VideoMAE"
        if key not in state:
            raise InputError(f"{problem}: missing key {key}")
        if state[key].dim() != axes:
            raise InputError(
                f"{problem}: misshapen key {key} (expected {axes} axes, "
                f"got {list(state[key].shape)})"
            )
        return state[key].shape

    width, _, tubelet, patch, _ = shape(f"{encoder}patch_embed.proj.weight", 5)
    sizes = {
        "hidden_size": width,
        "tubelet_size": tubelet,
        "patch_size": patch,
        "num_hidden_layers": _count(state, f"{encoder}blocks."),
        "num_attention_heads": _heads(width),
        "intermediate_size": shape(f"{encoder}blocks.0.mlp.fc1.weight", 2)[0],
        "layer_norm_eps": _NORM_EPSILON,
        "qv_bias": any(key.endswith((".q_bias", ".qkv.bias")) for key in state),
    }
    if encoder:
        decoder_width = shape("encoder_to_decoder.weight", 2)[0]
        return sizes | {
            "use_mean_pooling": False,
            "decoder_hidden_size": decoder_width,
            "decoder_num_hidden_layers": _count(state, "decoder.blocks."),
            "decoder_num_attention_heads": _heads(decoder_width),
            "decoder_intermediate_size": shape("decoder.blocks.0.mlp.fc1.weight", 2)[0],
        }
    return sizes | {
        "use_mean_pooling": "norm.weight" not in state,
        "num_labels": shape("head.weight", 2)[0],
    }


def _heads(width: int) -> int:
    return _HEADS.get(width, max(1, width // _HEAD_CHANNELS))


def _count(state: Mapping[str, Tensor], beginning: str) -> int:
    """Return one more than the highest number of a block."""
    found = (re.match(re.escape(beginning) + r"(\d+)\.", key) for key in state)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _upstream_name(name: str, encoder: str) -> str:
    """Return upstream's name of a weight of transformers that is no query, key or value."""
    for beginning, other in _BEGINNINGS.items():
        if name.startswith(beginning):
            name = other.format(encoder=encoder) + name.removeprefix(beginning)
            break
    for middle, other in _MIDDLES.items():
        if middle in name:
            return name.replace(middle, other)
    return name


def _source(name: str, encoder: str, fused: bool) -> tuple[str, int | None]:
    """Return where a weight is found upstream, and which third of it, if it is one."""
    match = _PROJECTION.fullmatch(name)
    if match is None:
        return _upstream_name(name, encoder), None
    block = _upstream_name(f"{match[1]}.", encoder)
    role, kind = match[2], match[3]
    if kind == "weight" or fused:
        return f"{block}attn.qkv.{kind}", _THIRDS.index(role)
    return f"{block}attn.{_SPLIT_BIASES[role]}", None


def _expected(own: Mapping[str, Tensor], encoder: str, fused: bool) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that upstream's checkpoint of such a model has."""
    expected = {}
    for name, tensor in own.items():
        key, third = _source(name, encoder, fused)
        first, *rest = tensor.shape
        expected[key] = (first if third is None else 3 * first, *rest)
    return expected


def _weight(name: str, state: Mapping[str, Tensor], encoder: str, fused: bool) -> Tensor:
    """Return one weight of transformers from upstream's."""
    key, third = _source(name, encoder, fused)
    return state[key] if third is None else state[key].chunk(3)[third]
