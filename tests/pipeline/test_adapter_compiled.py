"""torch.compile: a compiled model is refused in words; ranking compiles it itself, lock and all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops import InputError, Sample
from vtcd_ops.adapters import check_adapter, example_adapter
from vtcd_ops.adapters.adapter import Adapter

# Tracing is what is tested, not the code that a compiler makes of it.
compiled = functools.partial(torch.compile, backend="eager")


def whole(adapter: Adapter) -> None:
    adapter.model = compiled(adapter.model)


def in_place(adapter: Adapter) -> None:
    adapter.model.compile(backend="eager")


def a_part(adapter: Adapter) -> None:
    adapter.model.qkv[1] = compiled(adapter.model.qkv[1])


def a_part_in_place(adapter: Adapter) -> None:
    adapter.model.qkv[1].compile(backend="eager")


def its_forward(adapter: Adapter) -> None:
    adapter.model.forward = compiled(adapter.model.forward)


@pytest.mark.parametrize("compile_model", [whole, in_place, a_part, a_part_in_place, its_forward])
def test_a_compiled_model_is_refused(compile_model: Callable[[Adapter], None]) -> None:
    adapter = example_adapter()
    compile_model(adapter)
    clips = torch.rand(1, 4, 3, 32, 32)
    with pytest.raises(InputError, match=r"^capture: the model of example expected as it was bef"):
        vtcd_ops.capture(adapter, clips)
    with (
        pytest.raises(InputError, match=r"edit: .* got its? .*compiled \((torch|module)\.compile"),
        vtcd_ops.edit(adapter, lambda part, layer, features: features),
    ):
        pass
    with pytest.raises(InputError, match=r"rank\(\.\.\., compiled=True\) compiles it"):
        check_adapter(adapter, clips)


def test_a_compiled_model_of_transformers_is_refused() -> None:
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64,
    )  # fmt: skip
    model: nn.Module = transformers.VideoMAEForVideoClassification(config).eval()
    with pytest.raises(InputError, match=r"^capture: .* got it compiled \(torch\.compile\(mod"):
        check_adapter(VideoMAEAdapter(compiled(model)))
    check_adapter(VideoMAEAdapter(model))  # the same model, uncompiled


@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
def test_a_model_compiled_beside_its_adapter_is_left_alone(outside: bool) -> None:
    """Compiling gives another module: the adapter's own is read as ever."""
    adapter = example_adapter()
    clips = torch.rand(1, 4, 3, 32, 32)
    expected = vtcd_ops.capture(adapter, clips)["keys"][1]
    if outside:
        compiled(adapter.model)(clips)
    assert torch.equal(vtcd_ops.capture(adapter, clips)["keys"][1], expected)


def test_a_compiled_ranking_shares_its_adapter_with_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores as in eager mode, no break in the graph, no thread that waits for ever."""
    adapter = example_adapter()
    rng = np.random.default_rng(0)
    samples = [
        Sample(rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8), label=i) for i in range(2)
    ]
    run = vtcd_ops.discover(adapter, samples, out=tmp_path, progress=False)
    clips = torch.rand(1, 4, 3, 32, 32)
    expected = vtcd_ops.capture(adapter, clips)["keys"]
    rank = functools.partial(
        vtcd_ops.rank, run, adapter, samples, "logit", num_masks=32, masks_per_forward=8,
        dtype="float32", progress=False,
    )  # fmt: skip
    eager = rank(name="eager").tensors["scores"]

    monkeypatch.setattr(torch, "compile", compiled)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with ThreadPoolExecutor(2) as pool:
        ranking = pool.submit(rank, name="compiled", compiled=True)
        others = [pool.submit(vtcd_ops.capture, adapter, clips) for _ in range(20)]
        scores = ranking.result(timeout=120).tensors["scores"]
        for other in others:
            keys = other.result(timeout=120)["keys"]
            assert all(torch.equal(keys[layer], expected[layer]) for layer in expected)
    np.testing.assert_allclose(scores, eager, rtol=1e-5, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]
