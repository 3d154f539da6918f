# SPDX-License-Identifier: MIT
"""A model on a GPU: the same features and the same concepts, but for rounding."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

import vtcd_ops
from vtcd_ops.adapters import check_adapter
from vtcd_ops.video.readers import read_video
from vtcd_ops.video.samples import read_manifest

pytestmark = pytest.mark.usefixtures("cuda_device")

NAME = "hf_videomae:mini"
CLIPS = files("vtcd_hf_videomae") / "clips/manifest.csv"


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    return [read_video(str(sample.video))[0] for sample in read_manifest(str(CLIPS))]


def test_watching_leaves_the_answer_bit_for_bit() -> None:
    assert "parity: output equal bit for bit" in check_adapter(
        vtcd_ops.load_model(NAME, device="cuda")
    )


def test_features_are_those_of_the_processor(videos: list[np.ndarray]) -> None:
    """To a hundredth of their spread: the patch embedding's convolution may round to TF32."""
    features = {}
    for device in ("cpu", "cuda"):
        adapter = vtcd_ops.load_model(NAME, device=device)
        clips = torch.stack([adapter.preprocess(video) for video in videos[:4]])
        captured = vtcd_ops.capture(adapter, clips, parts=("keys", "values", "outputs"))
        features[device] = {
            (part, layer): tensor.cpu()
            for part, layers in captured.items()
            for layer, tensor in layers.items()
        }
    for site, expected in features["cpu"].items():
        difference = (features["cuda"][site] - expected).abs().max()
        assert difference < 0.01 * expected.std(), site


def test_discovery_is_that_of_the_processor(videos: list[np.ndarray], tmp_path: Path) -> None:
    """Rounding may move a tubelet's border here and there, no more."""
    runs = {
        device: vtcd_ops.discover(
            vtcd_ops.load_model(NAME, device=device),
            videos, out=tmp_path / device, layers=[1, 4], progress=False,
        )
        for device in ("cpu", "cuda")
    }  # fmt: skip
    equal = [
        np.mean(runs["cpu"].labels(video, layer) == runs["cuda"].labels(video, layer))
        for video in range(len(videos))
        for layer in (1, 4)
    ]
    assert np.mean(equal) > 0.95
    on_gpu = vtcd_ops.load_model(NAME, device="cuda")
    assigned = runs["cuda"].assign(videos[0], model=on_gpu)
    np.testing.assert_array_equal(assigned.labels(4), runs["cuda"].labels(0, 4))


def test_ranking_is_that_of_the_processor(tmp_path: Path) -> None:
    """In float32; and in bfloat16, as a GPU ranks by default, about the same."""
    labelled = [sample for sample in read_manifest(str(CLIPS)) if sample.label is not None][:3]
    run = vtcd_ops.discover(NAME, labelled, out=tmp_path / "run", layers=[1, 4], progress=False)
    values = {
        (device, dtype): vtcd_ops.rank(
            run, NAME, labelled, "logit", num_masks=256, masks_per_forward=32, dtype=dtype,
            device=device, name=f"{device}-{dtype}", estimator="removed", progress=False,
        ).value
        for device, dtype in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "auto"))
    }  # fmt: skip
    expected = values["cpu", "float32"]
    spread = np.nanstd(expected)
    assert np.nanmax(np.abs(values["cuda", "float32"] - expected)) < 0.02 * spread
    assert np.nanmax(np.abs(values["cuda", "auto"] - expected)) < 0.3 * spread
