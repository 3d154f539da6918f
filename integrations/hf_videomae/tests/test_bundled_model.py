"""The miniature that comes with the package: small, offline, sound."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops.adapters import check_adapter

NAME = "mini-ssl"
FOLDER = VideoMAEAdapter.bundled_root / NAME

pytestmark = pytest.mark.skipif(
    NAME not in VideoMAEAdapter.bundled_models(),
    reason="no miniature in this checkout; zoo/train_mini_ssl.py trains it",
)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the bundled model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("_offline")
def test_it_loads_without_network() -> None:
    adapter = vtcd_ops.load_model(f"hf_videomae:{NAME}")
    assert adapter.name == f"hf_videomae:{NAME}"
    assert next(adapter.model.parameters()).dtype == torch.float32
    assert "parity: output equal bit for bit" in check_adapter(adapter)


def test_it_is_small_and_has_a_card() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= files
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6e6
    assert not [name for name in files if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_its_keys_are_not_those_of_the_untrained_control() -> None:
    """Finite, and another model's."""
    adapter = vtcd_ops.load_model(f"hf_videomae:{NAME}")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (adapter.num_frames, 64, 64, 3), dtype=np.uint8)
    clips = adapter.preprocess(frames)[None]
    trained = vtcd_ops.capture(adapter, clips)["keys"]
    control = vtcd_ops.capture(vtcd_ops.randomize_weights(adapter, seed=0), clips)["keys"]
    for layer, keys in trained.items():
        assert bool(keys.isfinite().all())
        assert not torch.allclose(keys, control[layer], rtol=0.5)
