"""Costs counted against the closed form."""

from __future__ import annotations

import pytest
import torch
import transformers
from pruning.tiny_models import FAMILIES, make
from vtcd_hf_videomae import VideoMAEAdapter

import vtcd_ops
from vtcd_ops.adapters import weights_sha256


def videomae_macs(frames: int, side: int, width: int, hidden: list[int], heads: list[int]) -> int:
    """Multiply-adds of a VideoMAE encoder with so many neurons and heads in its layers."""
    tokens, channels = frames // 2 * (side // 16) ** 2, width // 12
    total = tokens * 3 * 2 * 16 * 16 * width
    for count, neurons in zip(heads, hidden, strict=True):
        inner = count * channels
        total += tokens * 4 * width * inner + 2 * tokens * tokens * inner
        total += 2 * tokens * width * neurons
    return total


@pytest.mark.parametrize("kept", [[12] * 12, [8] * 12, [12, 4] * 6, [0, *[12] * 11]])
def test_videomae_base(kept: list[int]) -> None:
    with torch.device("meta"):
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig())
    model.embeddings.position_embeddings = torch.zeros(1, 1568, 768)
    adapter = VideoMAEAdapter(model.eval())
    gone = [(n, a) for n, count in enumerate(kept) for a in range(count, 12)]
    smaller = vtcd_ops.prune(adapter, heads=gone)
    cost = vtcd_ops.count_cost(smaller)
    assert cost.macs == videomae_macs(16, 224, 768, [3072] * 12, kept)
    assert cost.parameters == sum(p.numel() for p in smaller.model.parameters())
    if gone == []:
        assert round(cost.macs / 1e9, 1) == 180.3  # the paper's "GFLOPs"


def test_a_third_of_heads_and_neurons() -> None:
    """So a third of the cost goes, as the paper's Table 2 counts it (121.5 G)."""
    with torch.device("meta"):
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig())
    model.embeddings.position_embeddings = torch.zeros(1, 1568, 768)
    adapter = VideoMAEAdapter(model.eval())
    heads = [(layer, head) for layer in range(12) for head in range(8, 12)]
    neurons = {layer: range(2048, 3072) for layer in range(12)}
    smaller = vtcd_ops.prune(adapter, heads=heads, neurons=neurons)
    cost = vtcd_ops.count_cost(smaller)
    assert cost.macs == videomae_macs(16, 224, 768, [2048] * 12, [8] * 12)
    assert cost.macs <= 121.5e9


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_costs_less_without_heads(family: str) -> None:
    adapter = make(family)
    before = weights_sha256(adapter.model)
    whole = vtcd_ops.count_cost(adapter)
    heads = [(0, 0), *((1, head) for head in range(4))]
    smaller = vtcd_ops.count_cost(vtcd_ops.prune(adapter, heads=heads))
    assert 0 < smaller.macs < whole.macs
    assert 0 < smaller.parameters < whole.parameters
    assert weights_sha256(adapter.model) == before
    assert str(whole).endswith("M parameters")
