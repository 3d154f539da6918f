"""Forwards under masks, recorded once as a CUDA graph and played again, where that is faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vtcd_ops.common.errors import first_line, warn

__all__ = ["MaskedClip", "RecordedForward", "Recorder"]


@dataclass(frozen=True)
class MaskedClip:
    """What a model takes beside masks, on its device.

    Args:
        frames: [1, T, 3, H', W'].
        inputs: what else its forward takes, batch 1 each.
        units: of the tokens of each layer, int32 [1, A, t*h*w].
        stand_ins: what is put in place of removed features, [1, A, P + t*h*w, C] a layer, 0 where
            no unit is; nothing: zeros.
    """

    frames: Tensor
    inputs: Mapping[str, Tensor]
    units: Mapping[int, Tensor]
    stand_ins: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.frames.nbytes + sum(tensor.nbytes for tensor in self.stand_ins.values())

    def clone(self) -> MaskedClip:
        """Return a copy in memory of its own."""
        inputs = {name: tensor.clone() for name, tensor in self.inputs.items()}
        units = {layer: tensor.clone() for layer, tensor in self.units.items()}
        stand_ins = {layer: tensor.clone() for layer, tensor in self.stand_ins.items()}
        return MaskedClip(self.frames.clone(), inputs, units, stand_ins)

    def copy_(self, other: MaskedClip) -> None:
        """Take the values of another clip of the same shapes."""
        self.frames.copy_(other.frames)
        for name, tensor in other.inputs.items():
            self.inputs[name].copy_(tensor)
        for layer, tensor in other.units.items():
            self.units[layer].copy_(tensor)
        for layer, tensor in other.stand_ins.items():
            self.stand_ins[layer].copy_(tensor)


#: A model's answer to a clip under a keep table.
Forward = Callable[[MaskedClip, Tensor], dict[str, Tensor]]

#: Of a forward that takes the device longer, the host's work is hidden behind the device's.
_SHORT_SECONDS = 0.02
_GAIN = 1.05  # a recorded forward that is no faster than that is not worth its memory


class RecordedForward:
    """A forward as a CUDA graph; tensors of the same shapes are put in place of those it had.

    Args:
        forward: what is recorded; it must not wait for the device.
        clip, keep: its arguments, on the device.
    """

    def __init__(self, forward: Forward, clip: MaskedClip, keep: Tensor) -> None:
        self._clip, self._keep = clip.clone(), keep.clone()
        stream = torch.cuda.Stream(keep.device)
        stream.wait_stream(torch.cuda.current_stream(keep.device))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):  # which is left even where the recording fails
            forward(self._clip, self._keep)  # what a first call sets up
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._outputs = forward(self._clip, self._keep)
        torch.cuda.current_stream(keep.device).wait_stream(stream)

    def __call__(self, clip: MaskedClip, keep: Tensor) -> dict[str, Tensor]:
        """Return the answer, in tensors that the next call overwrites."""
        self._clip.copy_(clip)
        self._keep.copy_(keep)
        self._graph.replay()
        return self._outputs


class Recorder:
    """Runs forwards, those of each shape in the way that was the faster one at first.

    The forward of a small model is over on the device before the host has asked for all of it; of
    a large one nothing is gained, so it is not recorded.

    Args:
        forward: runs the model.
        device: where.
        name: of the model, for what is said.
    """

    def __init__(self, forward: Forward, device: torch.device, name: str) -> None:
        self._forward = forward
        self._device = device
        self._name = name
        self._chosen: dict[Any, Forward] = {}

    def __call__(self, clip: MaskedClip, keep: Tensor) -> dict[str, Tensor]:
        """Return the answer, perhaps in tensors that the next call overwrites."""
        more = tuple(x.shape for x in clip.inputs.values())
        shapes = clip.frames.shape, keep.shape, keep.dtype, *more
        if shapes not in self._chosen:
            self._chosen[shapes] = self._choose(clip, keep)
        return self._chosen[shapes](clip, keep)

    def _choose(self, clip: MaskedClip, keep: Tensor) -> Forward:
        """Return the faster way to answer to such a clip and such masks."""
        plain = self._seconds(self._forward, clip, keep)
        if plain > _SHORT_SECONDS:
            return self._forward
        try:
            recorded = RecordedForward(self._forward, clip, keep)
        except RuntimeError as error:  # CUDA's words for what a graph cannot hold
            warn(
                f"the forward of {self._name} under masks cannot be recorded as a CUDA graph "
                f"({first_line(error)}): it runs step by step, which takes a small model longer"
            )
            return self._forward
        faster = self._seconds(recorded, clip, keep) * _GAIN < plain
        return recorded if faster else self._forward

    def _seconds(self, forward: Forward, clip: MaskedClip, keep: Tensor) -> float:
        """How long a forward takes, after one that fills caches."""
        forward(clip, keep)
        torch.cuda.synchronize(self._device)
        begin = time.perf_counter()
        forward(clip, keep)
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - begin
