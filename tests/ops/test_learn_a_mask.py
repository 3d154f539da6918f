"""The example that trains through concept_mask converges, compiled once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch._dynamo.testing import CompileCounterWithBackend

EXAMPLE = Path(__file__).parents[2] / "examples/learn_a_mask.py"


def test_training_converges_in_one_compilation() -> None:
    spec = importlib.util.spec_from_file_location("learn_a_mask", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    counter = CompileCounterWithBackend("aot_eager")
    model, losses = example.train(steps=200, backend=counter)
    assert counter.frame_count == 1
    assert sum(losses[:10]) / 10 > 0.5
    assert sum(losses[-10:]) / 10 < 0.1
    gates = model.gates().detach()
    assert float(gates[: example.NEEDED].min()) > float(gates[example.NEEDED :].max())
    assert not torch.isnan(gates).any()
