"""The miniatures that come with the package: small, offline, sound; and the clips beside them."""

from __future__ import annotations

import socket
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops.adapters import check_adapter
from vtcd_ops.video.readers import read_video
from vtcd_ops.video.samples import read_manifest

NAMES = ("mini", "mini-ssl")
EVALUATION = files("vtcd_hf_videomae") / "clips/evaluation/manifest.csv"


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    if request.param not in VideoMAEAdapter.bundled_models():
        script = f"zoo/train_{request.param.replace('-', '_')}.py"
        pytest.skip(f"no miniature {request.param} in this checkout; {script} trains it")
    return str(request.param)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the bundled model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("_offline")
def test_it_loads_without_network(name: str) -> None:
    adapter = vtcd_ops.load_model(f"hf_videomae:{name}")
    assert adapter.name == f"hf_videomae:{name}"
    assert next(adapter.model.parameters()).dtype == torch.float32
    assert "parity: output equal bit for bit" in check_adapter(adapter)


def test_it_is_small_and_has_a_card(name: str) -> None:
    folder = VideoMAEAdapter.bundled_root / name
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= names
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6e6
    assert not [name for name in names if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_its_keys_are_not_those_of_the_untrained_control(name: str) -> None:
    """Finite, and another model's."""
    adapter = vtcd_ops.load_model(f"hf_videomae:{name}")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (adapter.num_frames, 64, 64, 3), dtype=np.uint8)
    clips = adapter.preprocess(frames)[None]
    trained = vtcd_ops.capture(adapter, clips)["keys"]
    control = vtcd_ops.capture(vtcd_ops.randomize_weights(adapter, seed=0), clips)["keys"]
    for layer, keys in trained.items():
        assert bool(keys.isfinite().all())
        assert not torch.allclose(keys, control[layer], rtol=0.5)


def test_evaluation_set() -> None:
    """Several clips of every class, small; masks of one size that lie within one another."""
    samples = read_manifest(str(EVALUATION))
    labels = [sample.label for sample in samples]
    assert len(set(labels)) == 12
    assert min(labels.count(label) for label in labels) >= 10
    folder = Path(str(EVALUATION)).parent
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6e6
    for sample in samples:
        frames, _ = read_video(str(sample.video))
        with np.load(str(sample.target_masks)) as masks:
            assert masks["target_masks"].shape == frames.shape[:3]
            assert not (masks["target_masks"] & ~masks["amodal_target"]).any()
            assert not (masks["target_masks"] & masks["occluder_masks"]).any()
            assert masks["instances"].shape == masks["container_masks"].shape == frames.shape[:3]
            assert ("query_mask" in masks) == (sample.query_mask is not None)
            if sample.query_mask is not None:
                np.testing.assert_array_equal(masks["query_mask"], masks["target_masks"][0])


def test_the_classifier_sees_motion() -> None:
    """On the bundled clips: more than 60 %, and 20 points above a frame that stands still."""
    if "mini" not in VideoMAEAdapter.bundled_models():
        pytest.skip("no miniature mini in this checkout; zoo/train_mini.py trains it")
    adapter = vtcd_ops.load_model("hf_videomae:mini")
    samples = read_manifest(str(EVALUATION))
    clips = torch.stack([adapter.preprocess(read_video(str(s.video))[0]) for s in samples])
    names = adapter.class_names
    assert names is not None
    truth = torch.tensor([names.index(str(sample.label)) for sample in samples])

    def accuracy(changed: torch.Tensor) -> float:
        with torch.no_grad():
            logits = [adapter.predict(batch)["logits"] for batch in changed.split(16)]
        return float((torch.cat(logits).argmax(-1) == truth).float().mean())

    moving = accuracy(clips)
    still = accuracy(clips[:, 8:9].expand_as(clips))
    assert moving > 0.6
    assert moving > still + 0.2
