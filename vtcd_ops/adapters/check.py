"""The test kit for adapters: what must hold before anything found through one can be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import PARTS, Adapter
from vtcd_ops.adapters.capture import capture
from vtcd_ops.adapters.check_attention import check_attention
from vtcd_ops.adapters.edit import edit
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.readers import ArraySource
from vtcd_ops.video.samples import Sample

__all__ = ["check_adapter", "output_difference", "random_inputs", "tensors", "traces"]


def output_difference(
    adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor] | None = None
) -> float:
    """Return the largest difference that wrapping makes to the model's output: 0.0 expected.

    The model runs twice on ``clips`` [B, T, 3, H', W'], once as it is and once with every query,
    key, value and output of every layer shown to a function that hands it back. `inputs` is what
    else its forward takes.

    >>> import torch
    >>> from vtcd_ops.adapters import example_adapter, output_difference
    >>> output_difference(example_adapter(), torch.rand(1, 4, 3, 32, 32))
    0.0
    """
    with torch.no_grad():
        plain = list(tensors(adapter.forward(clips, **(inputs or {}))))
        with edit(adapter, lambda part, layer, features: features, parts=PARTS):
            wrapped = list(tensors(adapter.forward(clips, **(inputs or {}))))
    if len(plain) != len(wrapped) or not plain:
        raise InputError(
            f"output_difference: forward of {adapter.name} expected tensors, the same number each "
            f"time, got {len(plain)} and {len(wrapped)}"
        )
    return max(_difference(one, other) for one, other in zip(plain, wrapped, strict=True))


def traces(model: nn.Module) -> dict[str, Any]:
    """Return everything that a hook left behind would change: hooks, modes and attention functions.

    >>> import torch
    >>> from vtcd_ops.adapters import traces
    >>> layer = torch.nn.Linear(2, 2)
    >>> before = traces(layer)
    >>> handle = layer.register_forward_hook(lambda *_: None)
    >>> traces(layer) == before
    False
    """
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        found[name] = (
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            module.training,
            getattr(getattr(module, "config", None), "_attn_implementation", None),
            sorted(vars(module)),
        )
    return found


def check_adapter(
    adapter: Adapter, clips: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Check an adapter of one's own: shapes, parity, token order, edits, and that no trace is left.

    >>> from vtcd_ops.adapters import check_adapter, example_adapter
    >>> for line in check_adapter(example_adapter()):
    ...     print(line)
    features: 3 layers, 4 parts, [B, 2, 32, 8]
    parity: output equal bit for bit
    attention: heads, queries, keys, values and layers act as such
    token order: (t, h, w)
    edits: every part of every layer reaches the output
    traces: none

    Args:
        adapter: the adapter.
        clips: [B, T, 3, H', W'] to check with; random frames by default.
        inputs: what else the model's forward takes, with a batch axis; by default what the adapter
            makes of a sample of random frames, with a mask, a label and a text.

    Returns:
        One line for each thing checked.

    Raises:
        InputError: the first thing that is wrong, in one sentence.
    """
    if clips is None:
        clips = _random_clips(adapter)
    if inputs is None:
        inputs = random_inputs(adapter, len(clips))
    with torch.no_grad():
        adapter.forward(clips, **inputs)  # a forward may store things of its own in the model
    before = traces(adapter.model)
    lines = [check(adapter, clips, inputs) for check in _CHECKS]
    if traces(adapter.model) != before:
        raise InputError(f"check_adapter: {adapter.name} leaves hooks or settings in its model")
    return [*lines, "traces: none"]


def _random_clips(adapter: Adapter) -> Tensor:
    """Two clips of random frames, preprocessed."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, adapter.num_frames, 64, 96, 3)
    frames = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.stack([adapter.preprocess(clip.numpy()) for clip in frames])


def random_inputs(adapter: Adapter, batch: int) -> dict[str, Tensor]:
    """Return what a model needs beside clips, made of one random sample, the same for every clip.

    >>> from vtcd_ops.adapters import example_adapter
    >>> random_inputs(example_adapter(), batch=2)  # nothing
    {}
    """
    frames = np.random.default_rng(0).integers(0, 256, (adapter.num_frames, 64, 96, 3), np.uint8)
    mask = np.zeros((1, 64, 96), dtype=bool)
    mask[:, 16:48, 32:64] = True
    sample = Sample(frames, label=0, text="something moves", query_mask=mask)
    clip = VideoClip(adapter, ArraySource(frames), list(range(len(frames))), sample)
    one = clip.inputs(clip.windows[0])
    return {name: value.expand(batch, *value.shape) for name, value in one.items()}


def _check_features(adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor]) -> str:
    """Shapes are what the adapter says, and subsets equal the whole."""
    everything = capture(adapter, clips, parts=PARTS, inputs=inputs)
    t, h, w = adapter.grid_for(clips)
    expected = [len(clips), adapter.num_heads, t * h * w, adapter.head_dim]
    for part, by_layer in everything.items():
        for layer, features in by_layer.items():
            if list(features.shape) != expected:
                raise InputError(
                    f"check_adapter: {part} of layer {layer} expected {expected}, "
                    f"got {list(features.shape)}"
                )
    last, head = adapter.num_layers - 1, adapter.num_heads - 1
    for part in PARTS:
        captured = capture(
            adapter, clips, layers=[last], parts=(part,), heads=[head], inputs=inputs
        )
        one = captured[part][last]
        if not torch.equal(one, everything[part][last][:, head:]):
            raise InputError(
                f"check_adapter: {part} of layer {last}, head {head}, differ when captured alone; "
                "is the model's forward deterministic?"
            )
    shape = ", ".join(map(str, ["B", *expected[1:]]))
    return f"features: {adapter.num_layers} layers, {len(PARTS)} parts, [{shape}]"


def _check_parity(adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor]) -> str:
    difference = output_difference(adapter, clips, inputs)
    if difference != 0.0:
        raise InputError(
            f"check_adapter: the output of {adapter.name} changes by {difference:.3g} when it is "
            "wrapped, expected 0"
        )
    return "parity: output equal bit for bit"


def _check_token_order(adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor]) -> str:
    """A patch changed at one place must move the token of that place most."""
    t, h, w = adapter.grid_for(clips)
    place = (t - 1, h // 3, w - 1)  # no two axes can be swapped without moving it
    patch_h, patch_w = clips.shape[-2] // h, clips.shape[-1] // w
    frames = clips.shape[1] // t
    changed = clips[:1].clone()
    changed[
        :,
        place[0] * frames : (place[0] + 1) * frames,
        :,
        place[1] * patch_h : (place[1] + 1) * patch_h,
        place[2] * patch_w : (place[2] + 1) * patch_w,
    ] *= -1.0
    first = {name: value[:1] for name, value in inputs.items()}
    keys = [capture(adapter, c, layers=[0], inputs=first)["keys"][0] for c in (clips[:1], changed)]
    moved = (keys[0] - keys[1]).norm(dim=-1).sum(dim=(0, 1))  # [t*h*w]
    index = int(moved.argmax())
    found = (index // (h * w), index // w % h, index % w)
    if found != place:
        raise InputError(
            f"check_adapter: a change of the patch at (t, h, w) = {place} moved the token at "
            f"{found} most; tokens expected in (t, h, w) order"
        )
    return "token order: (t, h, w)"


def _check_edits(adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor]) -> str:
    """Every part of every layer, changed, must change the output."""
    one, first = clips[:1], {name: value[:1] for name, value in inputs.items()}
    with torch.no_grad():
        plain = list(tensors(adapter.forward(one, **first)))
        for layer in range(adapter.num_layers):
            for part in PARTS:
                with edit(adapter, _reverse_tokens, layers=[layer], parts=(part,)):
                    edited = list(tensors(adapter.forward(one, **first)))
                if all(map(torch.equal, plain, edited)):
                    raise InputError(
                        f"check_adapter: an edit of the {part} of layer {layer} has no effect on "
                        f"the output of {adapter.name}"
                    )
    return "edits: every part of every layer reaches the output"


def _reverse_tokens(part: str, layer: int, features: Tensor) -> Tensor:
    return features.flip(2) + 1.0


_CHECKS: tuple[Callable[[Adapter, Tensor, Mapping[str, Tensor]], str], ...] = (
    _check_features,
    _check_parity,
    check_attention,
    _check_token_order,
    _check_edits,
)


def tensors(output: Any) -> Iterator[Tensor]:
    """Yield every tensor in a model's output.

    >>> [int(one) for one in tensors({"loss": torch.tensor(1), "rest": (torch.tensor(2), None)})]
    [1, 2]
    """
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from tensors(value)


def _difference(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other):
        return 0.0
    return float((one.double() - other.double()).abs().max())
