"""The rankings that pruning by CRIS is compared to, and the memory that is counted."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from pruning.tiny_models import make
from torch import nn
from torch.nn import functional

import vtcd_ops
from reproduce.pruning_baselines import by_gradient, by_magnitude, peak_bytes
from reproduce.spill_clips import CLASSES, PER_CLASS, spill_clips, why_not
from vtcd_ops.pruning.batches import ClipBatch


def weights_of(model: Any, layer: int, head: int) -> list[torch.Tensor]:
    """The weights of one head of the tiny VideoMAE, looked up by hand; 12 channels a head."""
    block = model.videomae.encoder.layer[layer].attention
    rows = slice(12 * head, 12 * head + 12)
    inner = [block.attention.query, block.attention.key, block.attention.value]
    found = [one.weight[rows] for one in inner]
    found += [one.bias[rows] for one in inner if one.bias is not None]
    return [*found, block.output.dense.weight[:, rows]]


def test_magnitude() -> None:
    adapter: Any = make("videomae")
    found = by_magnitude(adapter)
    for row, (layer, head, whole) in enumerate(found.units.tolist()):
        assert whole == -1
        squares = sum(
            float(one.detach().double().square().sum())
            for one in weights_of(adapter.model, layer, head)
        )
        assert found.value[row] == pytest.approx(squares**0.5, rel=1e-6)
    smaller: Any = vtcd_ops.prune(adapter, found, 0.25)
    least = found.units[np.argsort(found.value)[:3], :2].tolist()
    assert smaller.removed_heads == {(layer, head) for layer, head in least}


def test_gradient_times_weight() -> None:
    """It is the derivative of the loss by a factor before all weights of a head."""
    adapter: Any = make("videomae")
    adapter.model.double()
    clips = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, 3])
    found = by_gradient(adapter, [ClipBatch(clips, labels, {})])
    for row in (0, 6, 11):
        layer, head, _ = found.units[row].tolist()
        total = 0.0
        for clip, label in zip(clips, labels, strict=True):
            losses = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                other = copy.copy(adapter)
                other.model = copy.deepcopy(adapter.model)
                with torch.no_grad():
                    for one in weights_of(other.model, layer, head):
                        one.mul_(factor)
                    logits = other.predict(clip[None])["logits"]
                losses.append(float(functional.cross_entropy(logits, label[None])))
            total += abs(losses[0] - losses[1]) / 2e-5
        assert found.value[row] == pytest.approx(total / 2, rel=1e-4)


def test_memory_of_a_forward() -> None:
    """Two linear layers: at most the hidden numbers before and after the ReLU are held."""
    model = nn.Sequential(nn.Linear(100, 1000), nn.ReLU(), nn.Linear(1000, 10))
    weights = 4 * (100 * 1000 + 1000 + 1000 * 10 + 10)
    rows = torch.randn(50, 100)
    with torch.no_grad():
        assert peak_bytes(model, lambda: model(rows)) == weights + 2 * 4 * 50 * 1000


def test_clips_are_kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rendered is read again; without clips and without a renderer it is said."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "zoo/requirements.txt" in str(why_not(tmp_path))
    frames = np.zeros((4, 2, 8, 8, 3), dtype=np.uint8)
    for split, count in PER_CLASS.items():
        np.savez(tmp_path / f"spill-{split}-{count}.npz", frames=frames, labels=np.array(CLASSES))
        found, labels = spill_clips(tmp_path, split)
        assert found.shape == frames.shape
        assert tuple(labels) == CLASSES
    assert why_not(tmp_path) is None
