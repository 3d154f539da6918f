"""Ranking the concepts of VideoMAE: compiled, in half precision, by reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops import Run, Sample

FAST: dict[str, Any] = {"num_masks": 128, "masks_per_forward": 16, "progress": False}


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8), label=label)
        for label in range(3)
    ]


def adapter_of(model_class: Any) -> VideoMAEAdapter:
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64, num_labels=3, initializer_range=0.2,
        decoder_hidden_size=32, decoder_num_attention_heads=2, decoder_num_hidden_layers=1,
        decoder_intermediate_size=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VideoMAEAdapter(model_class(config).eval())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoMAEAdapter, Run]:
    adapter = adapter_of(transformers.VideoMAEForVideoClassification)
    out = tmp_path_factory.mktemp("classifier") / "run"
    return adapter, vtcd_ops.discover(adapter, samples(), out=out, progress=False)


def scores(classifier: tuple[VideoMAEAdapter, Run], **settings: Any) -> np.ndarray:
    adapter, run = classifier
    found = vtcd_ops.rank(run, adapter, samples(), "logit", **{**FAST, **settings})
    return found.tensors["scores"]


def test_half_precision_is_close(classifier: tuple[VideoMAEAdapter, Run]) -> None:
    """bfloat16 has three digits; the spread of the scores is a hundred times its error."""
    single = scores(classifier, dtype="float32", name="float32")
    half = scores(classifier, dtype="bfloat16", name="bfloat16")
    assert not np.array_equal(single, half)
    assert np.abs(single - half).max() < 0.02
    assert np.corrcoef(single.ravel(), half.ravel())[0, 1] > 0.999


@pytest.mark.slow
def test_a_compiled_model_is_compiled_once(classifier: tuple[VideoMAEAdapter, Run]) -> None:
    """One graph for the score without a mask and one for all masks, without a break."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = scores(classifier, dtype="float32", name="compiled", compiled=True)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] <= 2
    assert not counters["graph_break"]
    eager = scores(classifier, dtype="float32", name="eager")
    np.testing.assert_allclose(compiled, eager, atol=1e-5)


def test_reconstruction_without_any_concept(tmp_path: Path) -> None:
    """Everything removed is a model whose keys are zero: every token attends to all alike."""
    adapter = adapter_of(transformers.VideoMAEForPreTraining)
    assert (adapter.metrics, adapter.cris_ratio) == (("reconstruction",), 0.95)
    run = vtcd_ops.discover(adapter, samples(), out=tmp_path, progress=False)
    ask = {"progress": False, "dtype": "float32"}
    vtcd_ops.rank(run, adapter, samples(), units="heads", method="occlusion", **ask)
    found = vtcd_ops.curves(run, adapter, samples(), num_points=1, num_random=1, **ask)
    clip = adapter.preprocess(np.asarray(samples()[1].video))[None]
    with torch.no_grad():
        whole = adapter.predict(clip)
        with vtcd_ops.edit(adapter, lambda part, layer, keys: 0 * keys):
            nothing = adapter.predict(clip)
    expected = [
        -float((answer["reconstruction"] - answer["pixels"]).square().mean())
        for answer in (whole, nothing)
    ]
    np.testing.assert_allclose(found.scores["random", "positive"][1], expected, rtol=1e-5)
