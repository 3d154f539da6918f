"""What the tests of CUDA kernels share."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def to_device(value: Any, device: torch.device) -> Any:
    """Return a tensor on a device; anything else as it is."""
    return value.to(device) if isinstance(value, torch.Tensor) else value


def expect_same_words(device: torch.device, operator: str, *args: Any, **kwargs: Any) -> None:
    """Call an operator with wrong arguments on the CPU and on a GPU: the words must be the same.

    Afterwards the GPU must still work: an error of a kernel would stay with the process.
    """
    op = getattr(torch.ops.vtcd, operator)
    with pytest.raises(RuntimeError) as on_cpu:
        op(*args, **kwargs)
    with pytest.raises(RuntimeError) as on_gpu:
        op(
            *(to_device(value, device) for value in args),
            **{name: to_device(value, device) for name, value in kwargs.items()},
        )
    assert str(on_gpu.value) == str(on_cpu.value)
    assert torch.ones(3, device=device).sum().item() == 3
