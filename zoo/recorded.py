# SPDX-License-Identifier: MIT
"""A function of tensors recorded once as a CUDA graph and replayed.

A miniature's training step is hundreds of kernels of a few microseconds; launching them one by one
takes several times as long as running them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_CALLS = 3  # libraries and the optimiser allocate what they keep, which a graph must not


class Recorded:
    """Calls ``function`` a few times as it is, then records it, then only replays the record.

    Args:
        function: takes CUDA tensors of the same shapes at every call and returns one. Whatever else
            it reads or writes (weights, gradients, learning rate) stays at the same addresses. It
            must not copy from the GPU to the CPU.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result for these inputs, on the current stream."""
        self.calls += 1
        if self.calls <= WARM_UP_CALLS:
            return self._call_beside(inputs)
        if self.graph is None:
            self.inputs = [tensor.clone() for tensor in inputs]
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records; nothing runs yet
                self.output = self.function(*self.inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output.clone()  # the next replay overwrites it

    def _call_beside(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Call the function on a stream of its own, as a recording asks of the calls before it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            output = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return output
