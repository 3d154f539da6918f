"""A pruned model is compiled, exported, trained, discovered and ranked as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pruning.tiny_models import clips_of, make

import vtcd_ops

HEADS = [(0, 1), *((1, head) for head in range(4))]


@pytest.mark.parametrize("family", ["videomae", "timesformer, spatial", "tcow, spatial"])
def test_compile_and_export(family: str) -> None:
    smaller: Any = vtcd_ops.prune(make(family), heads=HEADS)
    clips, inputs = clips_of(smaller)
    arguments = (clips.transpose(1, 2), inputs["query"]) if inputs else (clips,)
    answer = (lambda found: found[0]) if inputs else (lambda found: found.logits)
    with torch.no_grad():
        expected = answer(smaller.model(*arguments))
        exported = torch.export.export(smaller.model, arguments).module()
        compiled = torch.compile(smaller.model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(answer(exported(*arguments)), expected)
        torch.testing.assert_close(answer(compiled(*arguments)), expected)


def test_it_trains() -> None:
    smaller: Any = vtcd_ops.prune(make("videomae"), heads=HEADS)
    clips, _ = clips_of(smaller)
    optimiser = torch.optim.SGD(smaller.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(smaller.model(clips).logits, torch.tensor([1, 2]))
        optimiser.zero_grad()
        loss.backward()
        still = [name for name, one in smaller.model.named_parameters() if one.grad is None]
        # the norm before a layer without heads is read by nothing
        assert {name.rpartition(".")[0] for name in still} == {
            "videomae.encoder.layer.1.layernorm_before"
        }
        optimiser.step()
        losses.append(float(loss))
    assert losses[2] < losses[1] < losses[0]


def test_discover_rank_and_prune_again(tmp_path: Path) -> None:
    smaller: Any = vtcd_ops.prune(make("videomae"), heads=HEADS)
    videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    run = vtcd_ops.discover(smaller, videos, out=tmp_path, progress=False)
    samples = [vtcd_ops.Sample(video, label=1) for video in videos]
    importance = vtcd_ops.rank(
        run, smaller, samples, "logit", units="heads", num_masks=64, progress=False
    )
    ranked = {(int(layer), int(head)) for layer, head, _ in importance.units}
    assert ranked == {(n, a) for n in range(3) for a in range(4)} - set(HEADS)
    vtcd_ops.curves(run, smaller, samples, "logit", progress=False)
    again: Any = vtcd_ops.prune(smaller, importance, 0.5)
    assert len(again.removed_heads) == len(HEADS) + 4
    assert again.removed_heads > set(HEADS)
