"""The miniature that comes with the package: small, offline, and it knows its texts."""

from __future__ import annotations

import csv
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from vtcd_internvideo import InternVideoAdapter

import vtcd_ops
from vtcd_ops.adapters import check_adapter
from vtcd_ops.video.readers import read_video

NAME = "mini"
FOLDER = InternVideoAdapter.bundled_root / NAME
EVALUATION = Path(__file__).parents[2] / "hf_videomae/vtcd_hf_videomae/clips/evaluation"

pytestmark = pytest.mark.skipif(
    NAME not in InternVideoAdapter.bundled_models(),
    reason="no miniature in this checkout; zoo/train_mini_internvideo.py trains it",
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the bundled model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_it_loads_without_network() -> None:
    adapter = vtcd_ops.load_model(f"internvideo:{NAME}")
    assert isinstance(adapter, InternVideoAdapter)
    assert adapter.name == f"internvideo:{NAME}"
    assert adapter.model.visual_proj.dtype == torch.float32
    assert adapter.sampling_rate == 2
    assert "parity: output equal bit for bit" in check_adapter(adapter)


def test_it_is_small_and_has_a_card() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    wanted = {"config.json", "model.safetensors", "preprocessor_config.json", "merges.txt"}
    assert wanted | {"README.md", "classes.json"} <= files
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6e6
    assert not [name for name in files if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_it_knows_its_classes_and_their_words() -> None:
    adapter = vtcd_ops.load_model(f"internvideo:{NAME}")
    assert isinstance(adapter, InternVideoAdapter)
    assert adapter.class_names is not None
    assert len(adapter.class_names) == 12
    assert adapter.classes is not None
    texts = [text for texts in adapter.classes.values() for text in texts]
    tokens = adapter.model.tokenizer(texts)  # type: ignore[misc]
    assert torch.equal((tokens > 0).sum(1), torch.tensor([len(text.split()) + 2 for text in texts]))
    frames = np.zeros((8, 64, 64, 3), dtype=np.uint8)
    logits = adapter.predict(adapter.preprocess(frames)[None])["logits"]
    assert logits.shape == (1, 12)
    assert bool(logits.isfinite().all())


@pytest.fixture(scope="module")
def filmed() -> tuple[Tensor, Tensor]:
    """Frames [n, T, 3, H, W] of clips on which nothing was trained, and their classes."""
    if not EVALUATION.is_dir():
        pytest.skip(f"no evaluation clips in this checkout, expected {EVALUATION}")
    adapter = vtcd_ops.load_model(f"internvideo:{NAME}")
    with (EVALUATION / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))[::2]
    frames = [
        read_video(str(EVALUATION / row["video"]))[0][:: adapter.sampling_rate] for row in rows
    ]
    labels = [adapter.class_names.index(row["label"]) for row in rows]  # type: ignore[union-attr]
    return torch.stack([adapter.preprocess(clip) for clip in frames]), torch.tensor(labels)


def accuracy(frames: Tensor, labels: Tensor) -> float:
    adapter = vtcd_ops.load_model(f"internvideo:{NAME}")
    with torch.inference_mode():
        found = torch.cat([adapter.predict(some)["logits"] for some in frames.split(24)])
    return float((found.argmax(-1) == labels).double().mean())


def test_it_knows_motions_by_their_motion(filmed: tuple[Tensor, Tensor]) -> None:
    """And not by how a frame looks; the card has the numbers of all held-out clips."""
    frames, labels = filmed
    assert accuracy(frames, labels) > 0.7
    for index in (0, 4, 7):
        assert accuracy(frames[:, [index] * 8], labels) < 0.2
    assert accuracy(frames.flip(1), labels) < 0.4
