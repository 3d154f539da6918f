# SPDX-License-Identifier: MIT
"""A recorded training step does what the same step does when it is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zoo.recorded import WARM_UP_CALLS, Recorded
from zoo.training import make_optimizer, set_rate

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU: torch sees none", allow_module_level=True)


def train(record: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> list[Tensor]:
    """Losses and final weights of a small regression whose learning rate changes every step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    model.cuda()
    optimizer = make_optimizer(model, rate=1.0, decay=0.1, betas=(0.9, 0.95))

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    update = record(step)
    losses = []
    for index in range(4 * WARM_UP_CALLS):
        generator = torch.Generator("cuda").manual_seed(index)
        inputs = torch.randn(16, 4, generator=generator, device="cuda")
        set_rate(optimizer, 0.2 / (1 + index))
        losses.append(update(inputs, inputs.sum(1, keepdim=True)))
    return [*losses, *(weight.detach() for weight in model.parameters())]


def test_recorded_step_equals_the_called_one():
    called, recorded = train(lambda step: step), train(Recorded)
    for one, other in zip(called, recorded, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    assert called[0] > 2 * called[4 * WARM_UP_CALLS - 1]  # it learnt something
