"""A pruned model is compiled, exported, trained, discovered and ranked as any other."""

from __future__ import annotations

import re
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


def test_inductor_and_ahead_of_time(tmp_path: Path) -> None:
    """Compiled by inductor, and to a package that runs without Python's model.

    One layer suffices: the others are compiled in the same way.
    """
    whole: Any = make("videomae")
    whole.model.videomae.encoder.layer = whole.model.videomae.encoder.layer[:1]
    whole.num_layers = 1
    smaller: Any = vtcd_ops.prune(whole, heads=[(0, 1)], neurons={0: range(40)})
    clips, _ = clips_of(smaller)
    with torch.no_grad():
        expected = smaller.model(clips).logits
        compiled = torch.compile(smaller.model, fullgraph=True)
        torch.testing.assert_close(compiled(clips).logits, expected, rtol=1e-4, atol=1e-5)
        exported = torch.export.export(smaller.model, (clips,))
        package = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(tmp_path / "smaller.pt2")
        )
        found = torch._inductor.aoti_load_package(package)(clips)
    logits = found["logits"] if isinstance(found, dict) else found.logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


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


def expect_only_heads_that_are_there(run: vtcd_ops.Run, smaller: Any) -> None:
    """Heads that went have no tubelets and no concepts; those that stay have those they had."""
    kept = {(n, a) for n in range(3) for a in range(4)} - set(HEADS)
    assert {(int(layer), int(head)) for layer, head, _ in run.units()} == kept
    assert set(vtcd_ops.head_uniqueness(run)) == kept
    new = run.assign(np.full((4, 32, 32, 3), 9, dtype=np.uint8), smaller)
    for layer in range(3):
        labels = run.labels(0, layer)
        for head in range(4):
            there = (layer, head) in kept
            assert bool((labels[head] >= 0).any()) == there
            assert bool((run.tokens(0, layer)[head] >= 0).any()) == there
            assert bool((new.tokens(layer)[head] >= 0).any()) == there
            assert (run.concepts(layer, head).k > 0) == there
    assert run.sanity is not None
    assert {(int(n), int(a)) for n, a, _ in run.sanity.units()} == kept


def test_concepts_of_a_head_do_not_hang_on_those_that_went(tmp_path: Path) -> None:
    """In the first layer, what a head sees is the same without the others."""
    adapter = make("videomae")
    videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    smaller = vtcd_ops.prune(adapter, heads=[(0, 1), (0, 2)])
    runs = [
        vtcd_ops.discover(model, videos, out=tmp_path / name, layers=[0], progress=False)
        for name, model in (("whole", adapter), ("smaller", smaller))
    ]
    for head in (0, 3):
        whole, left = (run.concepts(0, head) for run in runs)
        np.testing.assert_allclose(left.centers, whole.centers, rtol=1e-4, atol=1e-5)
        for video in range(3):
            supports = [run.support(video, 0, head) for run in runs]
            np.testing.assert_array_equal(*supports)


def test_discover_rank_and_prune_again(tmp_path: Path) -> None:
    smaller: Any = vtcd_ops.prune(make("videomae"), heads=HEADS)
    videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    run = vtcd_ops.discover(
        smaller, videos, out=tmp_path, compactness="auto", sanity=True, progress=False
    )
    samples = [vtcd_ops.Sample(video, label=1) for video in videos]
    expect_only_heads_that_are_there(run, smaller)
    importance = vtcd_ops.rank(
        run, smaller, samples, "logit", units="heads", num_masks=64, progress=False
    )
    ranked = {(int(layer), int(head)) for layer, head, _ in importance.units}
    assert ranked == {(n, a) for n in range(3) for a in range(4)} - set(HEADS)
    of_concepts = vtcd_ops.rank(run, smaller, samples, "logit", num_masks=32, progress=False)
    assert np.isfinite(of_concepts.value).all()
    vtcd_ops.curves(run, smaller, samples, "logit", progress=False)
    page = vtcd_ops.report(run, progress=False).read_text()
    assert "keys-L0-H0" in page
    assert "keys-L0-H1" not in page
    assert "keys-L1-" not in page
    cells = re.findall(r'<td data-state="(\w+)">', page)
    assert len(cells) == 12
    assert [place for place, state in enumerate(cells) if state == "gone"] == [1, 4, 5, 6, 7]
    least = importance.units[importance.order[-2:], :2].tolist()  # a third of the seven left
    assert {place for place, state in enumerate(cells) if state == "next"} == {
        4 * layer + head for layer, head in least
    }
    again: Any = vtcd_ops.prune(smaller, importance, 0.5)
    assert len(again.removed_heads) == len(HEADS) + 4
    assert again.removed_heads > set(HEADS)
