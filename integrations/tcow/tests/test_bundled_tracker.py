"""The miniature that comes with the package: small, offline, and it follows what it is shown."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from vtcd_tcow import TCOWAdapter

import vtcd_ops
from vtcd_ops.adapters import check_adapter
from vtcd_ops.video.readers import read_video

NAME = "mini"
FOLDER = TCOWAdapter.bundled_root / NAME
EVALUATION = Path(__file__).parents[2] / "hf_videomae/vtcd_hf_videomae/clips/evaluation"
TARGET, SMALLEST = 1, 20  # instance id; pixels

pytestmark = pytest.mark.skipif(
    NAME not in TCOWAdapter.bundled_models(),
    reason="no miniature in this checkout; zoo/train_mini_tcow.py trains it",
)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the bundled model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("_offline")
def test_it_loads_without_network() -> None:
    adapter = vtcd_ops.load_model(f"tcow:{NAME}")
    assert adapter.name == f"tcow:{NAME}"
    assert next(adapter.model.parameters()).dtype == torch.float32
    assert "parity: output equal bit for bit" in check_adapter(adapter)


def test_it_is_small_and_has_a_card() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "README.md"} <= files
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6e6
    assert not [name for name in files if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl")]
    assert "mask-supervised" in (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module")
def clips() -> dict[str, Tensor]:
    """Held-out clips in which the target is in sight at first, and their true masks."""
    if not EVALUATION.is_dir():
        pytest.skip(f"no evaluation clips in this checkout, expected {EVALUATION}")
    adapter = vtcd_ops.load_model(f"tcow:{NAME}")
    rows: dict[str, list[Tensor]] = {"rgb": [], "instances": [], "amodal": []}
    for path in sorted(EVALUATION.glob("*.npz"))[::6]:
        with np.load(path) as masks:
            if (masks["instances"][0] == TARGET).sum() < SMALLEST:
                continue
            rows["instances"].append(torch.from_numpy(masks["instances"]))
            rows["amodal"].append(torch.from_numpy(masks["amodal_target"]))
        frames, _ = read_video(path.with_suffix(".mp4"))
        rows["rgb"].append(adapter.preprocess(frames))
    stacked = {name: torch.stack(tensors) for name, tensors in rows.items()}
    assert len(stacked["rgb"]) >= 15
    return stacked


def answers(rgb: Tensor, query: Tensor) -> Tensor:  # bool [B, 3, T, H, W]
    """The tracker's masks for a query [B, H, W] of the first frame."""
    adapter = vtcd_ops.load_model(f"tcow:{NAME}")
    first = torch.zeros(len(rgb), 1, *rgb.shape[1:2], *rgb.shape[3:])
    first[:, 0, 0] = query.float()
    with torch.no_grad():
        return adapter.predict(rgb, query=first)["masks"] > 0


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """IoU of every frame but the first, [B, T - 1]."""
    both, either = (one & other).flatten(2).sum(2), (one | other).flatten(2).sum(2)
    return (both / either.clamp(min=1))[:, 1:]


def test_it_follows_the_target(clips: dict[str, Tensor]) -> None:
    """Better than a mask that stays where it was, by far where the target moves away."""
    query, truth = clips["instances"][:, 0] == TARGET, clips["amodal"]
    found = overlap(answers(clips["rgb"], query)[:, 0], truth)
    stays = overlap(query[:, None].expand_as(truth), truth)
    assert found.mean() > stays.mean() + 0.1
    moves = (stays < 0.5).sum(1) >= 4
    assert found[moves].mean() > stays[moves].mean() + 0.2


def test_the_answer_follows_the_query(clips: dict[str, Tensor]) -> None:
    """Two objects of one clip have two answers; without a query there is none."""
    instances = clips["instances"]
    areas = torch.stack([(instances[:, 0] == n).flatten(1).sum(1) for n in range(11)], 1)
    areas[:, : TARGET + 1] = 0
    other = instances[:, 0] == areas.argmax(1)[:, None, None]
    target_answer = answers(clips["rgb"], instances[:, 0] == TARGET)[:, 0]
    other_answer = answers(clips["rgb"], other)[:, 0]
    truth = instances == areas.argmax(1)[:, None, None, None]
    assert overlap(target_answer, other_answer).mean() < 0.15
    assert overlap(other_answer, truth).mean() > 0.5
    nothing = answers(clips["rgb"], torch.zeros_like(other))
    assert nothing.float().mean() < 0.002
