"""A model without some neurons is the model with these neurons set to zero, in every family."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pruning.test_bad_input import Ranked
from pruning.tiny_models import FAMILIES, clips_of, make
from torch import Tensor

import vtcd_ops
from vtcd_ops.adapters import AttentionAdapter, traces, weights_sha256
from vtcd_ops.pruning.cost import count_unit_costs

#: Some of one layer, all of another; the numbers of the third are untouched.
NEURONS = {0: [0, 5, 17, 40], 2: list(range(30, 64))}
HEADS = [(0, 1), *((1, head) for head in range(4))]

#: The layer behind the neurons of each family, looked up by hand.
BEHIND = {
    "videomae": "videomae.encoder.layer.{}.output.dense",
    "videomae, pre-training": "videomae.encoder.layer.{}.output.dense",
    "vivit": "vivit.layers.{}.mlp.fc2",
    "dinov2": "encoder.layer.{}.mlp.fc2",
    "dinov2 with registers": "dinov2_with_registers.encoder.layer.{}.mlp.fc2",
    "dinov2 with gated neurons": "encoder.layer.{}.mlp.down_proj",
    "vjepa2": "vjepa2.encoder.layer.{}.mlp.fc2",
    "timesformer, spatial": "timesformer.encoder.layer.{}.output.dense",
    "timesformer, temporal": "timesformer.encoder.layer.{}.output.dense",
    "timesformer, joint": "timesformer.encoder.layer.{}.output.dense",
    "tcow, spatial": "tracker_backbone.timesformer.model.blocks.{}.mlp.fc2",
    "tcow, temporal": "tracker_backbone.timesformer.model.blocks.{}.mlp.fc2",
    "internvideo": "visual.transformer.resblocks.{}.mlp.c_proj",
    "opened": "encoder.layers.{}.linear2",
}


def chosen(adapter: AttentionAdapter) -> dict[int, list[int]]:
    total = adapter.num_neurons(1)
    return {**NEURONS, 1: list(range(total))}


def silence(adapter: Any, layer: int, numbers: list[int]) -> None:
    """Let what leaves some neurons carry no weight, in place."""
    behind = adapter.model.get_submodule(BEHIND[adapter.tested_as].format(layer))
    with torch.no_grad():
        behind.weight[:, numbers] = 0


def made(family: str, dtype: torch.dtype = torch.float32) -> Any:
    adapter: Any = make(family)
    adapter.tested_as = family
    adapter.model.to(dtype)
    return adapter


def answer(adapter: AttentionAdapter, dtype: torch.dtype) -> dict[str, Tensor]:
    clips, inputs = clips_of(adapter)
    with torch.no_grad():
        return adapter.predict(clips.to(dtype), **{name: x.to(dtype) for name, x in inputs.items()})


@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_is_silenced(family: str) -> None:
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-14)):
        adapter = made(family, dtype)
        before = weights_sha256(adapter.model), traces(adapter.model)
        smaller: Any = vtcd_ops.prune(adapter, neurons=chosen(adapter))
        assert (weights_sha256(adapter.model), traces(adapter.model)) == before
        whole = answer(adapter, dtype)
        for layer, numbers in chosen(adapter).items():
            silence(adapter, layer, numbers)
        expected, got = answer(adapter, dtype), answer(smaller, dtype)
        for name, values in expected.items():
            scale = float(values.abs().max())
            if name != "pixels":
                assert float((whole[name] - values).abs().max()) > 100 * tolerance * scale
            assert float((got[name] - values).abs().max()) <= tolerance * scale, (name, dtype)
        numbers = [n for n in range(adapter.num_neurons(0)) if n not in NEURONS[0]]
        assert smaller.kept_neurons(0) == numbers
        assert smaller.kept_neurons(1) == []


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "opened"])
def test_it_comes_back(family: str, tmp_path: Path) -> None:
    adapter = made(family)
    smaller: Any = vtcd_ops.prune(adapter, heads=HEADS, neurons=chosen(adapter))
    vtcd_ops.save_pruned(smaller, tmp_path)
    loaded: Any = vtcd_ops.load_model(tmp_path)
    assert weights_sha256(loaded.model) == weights_sha256(smaller.model)
    assert loaded.removed_neurons == smaller.removed_neurons
    assert loaded.identity() == smaller.identity()
    for name, values in answer(smaller, torch.float32).items():
        assert torch.equal(answer(loaded, torch.float32)[name], values)
    again: Any = vtcd_ops.prune(loaded, neurons={0: [1]}, heads=[(2, 0)])
    once: Any = vtcd_ops.prune(
        adapter, heads=[*HEADS, (2, 0)], neurons={**chosen(adapter), 0: [*NEURONS[0], 1]}
    )
    assert weights_sha256(again.model) == weights_sha256(once.model)
    assert again.known_weights[0] == weights_sha256(adapter.model)


def test_names_of_what_went() -> None:
    adapter = made("videomae")
    assert vtcd_ops.prune(adapter, neurons={0: range(4)}).name == (
        "videomae (4 of 192 neurons removed)"
    )
    both = vtcd_ops.prune(vtcd_ops.prune(adapter, heads=[(0, 0)]), neurons={0: range(4)})
    assert both.name == "videomae (1 of 12 heads and 4 of 192 neurons removed)"


def run_of(adapter: AttentionAdapter, out: Path) -> tuple[vtcd_ops.Run, list[vtcd_ops.Sample]]:
    frames = 2 if adapter.num_frames == 1 else adapter.num_frames
    shape = (2, frames, *adapter.frames.size, 3)
    videos = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    run = vtcd_ops.discover(adapter, videos, out=out, progress=False)
    return run, [vtcd_ops.Sample(video, label=1) for video in videos]


@pytest.mark.parametrize("family", ["videomae", "timesformer, spatial"])
def test_the_mask_of_a_ranking_is_the_pruned_model(family: str, tmp_path: Path) -> None:
    """Occlusion of a unit = the answer of the whole model less that of the model without it."""
    adapter = made(family)
    run, samples = run_of(adapter, tmp_path)
    found = vtcd_ops.rank(
        run, adapter, samples, "logit", units="heads+neurons", neurons_per_group=24,
        part="outputs", method="occlusion", dtype="float32", progress=False,
    )  # fmt: skip
    groups = [tuple(unit) for unit in found.units.tolist() if unit[1] < 0]
    assert groups == [(layer, -1, group) for layer in range(3) for group in range(3)]
    assert len(found.value) == 12 + 9
    clips = torch.stack([adapter.preprocess(sample.video) for sample in samples])

    def logit(model: AttentionAdapter) -> np.ndarray:
        with torch.no_grad():
            return model.predict(clips)["logits"][:, 1].numpy()

    for row in (0, 2, 3, 20):
        layer, head, group = found.units[row].tolist()
        its = {layer: [n for n in range(group * 24, group * 24 + 24) if n < 64]}
        if head < 0:
            smaller: Any = vtcd_ops.prune(adapter, neurons=its)
        elif family == "videomae":  # without prefix tokens, which rank never masks
            smaller = vtcd_ops.prune(adapter, heads=[(layer, head)])
        else:
            continue
        effect = float((logit(adapter) - logit(smaller)).mean())
        assert found.value[row] == pytest.approx(effect, rel=1e-3, abs=1e-5)
    assert found.summary(20)[1:] != []
    assert any("neurons 48-71" in line or "neurons 0-23" in line for line in found.summary(21))


def test_frames_in_the_batch_are_masked_each_by_its_clip(tmp_path: Path) -> None:
    """Of an image model the frames stand in the batch, beside those under other masks."""
    adapter = made("dinov2 with registers")
    run, samples = run_of(adapter, tmp_path)
    arguments: dict[str, Any] = {
        "units": "neurons", "method": "occlusion", "dtype": "float32", "progress": False,
    }  # fmt: skip
    together, alone = (
        vtcd_ops.rank(
            run, adapter, samples, "logit", masks_per_forward=masks, name=str(masks), **arguments
        )
        for masks in (8, 1)
    )
    np.testing.assert_allclose(together.value, alone.value, rtol=1e-3, atol=1e-6)
    assert len(np.unique(alone.value)) == len(alone.value) == 12


def test_rank_neurons_and_prune_by_cost(tmp_path: Path) -> None:
    adapter = made("videomae")
    run, samples = run_of(adapter, tmp_path)
    found = vtcd_ops.rank(
        run, adapter, samples, "logit", units="heads+neurons", part="outputs", num_masks=64,
        progress=False,
    )  # fmt: skip
    assert found.settings["neurons_per_group"] == 16  # 64 neurons, 4 heads
    assert found.settings["weights"] == weights_sha256(adapter.model)
    curves = vtcd_ops.curves(run, adapter, samples, "logit", num_points=4, progress=False)
    assert curves.scores
    whole = vtcd_ops.count_cost(adapter).macs
    costs = count_unit_costs(adapter)
    for fraction in (0.2, 0.5):
        smaller: Any = vtcd_ops.prune(adapter, found, fraction, of="cost")
        less = whole - vtcd_ops.count_cost(smaller).macs
        assert (
            fraction * whole <= less < fraction * whole + max(costs.head[0], costs.neuron[0] * 16)
        )
    units: Any = vtcd_ops.prune(adapter, found, 0.5)
    gone = len(units.removed_heads) + sum(len(its) for its in units.removed_neurons.values()) / 16
    assert gone == 12  # of 12 heads and 12 groups
    again = vtcd_ops.prune(units, found, 0.5)
    assert vtcd_ops.count_cost(again).macs < vtcd_ops.count_cost(units).macs
    with pytest.raises(vtcd_ops.InputError, match=r"fraction expected at most 0\.\d+ of the cost"):
        vtcd_ops.prune(adapter, found, 0.99, of="cost")
    with pytest.raises(vtcd_ops.InputError, match="whose weights are others"):
        vtcd_ops.prune(vtcd_ops.randomize_weights(adapter, 0), found)
    page = vtcd_ops.report(run, progress=False).read_text()
    assert re.search(r"layer \d · neurons \d+-\d+", page)


@pytest.mark.parametrize(
    "family", ["videomae", "dinov2 with gated neurons", "tcow, spatial", "internvideo"]
)
def test_costs_of_units_are_what_the_model_saves(family: str) -> None:
    adapter = made(family)
    costs = count_unit_costs(adapter)
    assert costs.total == vtcd_ops.count_cost(adapter).macs
    smaller = vtcd_ops.prune(adapter, heads=HEADS, neurons=chosen(adapter))
    saved = sum(costs.head[layer] for layer, _ in HEADS)
    saved += sum(costs.neuron[layer] * len(its) for layer, its in chosen(adapter).items())
    assert vtcd_ops.count_cost(smaller).macs == costs.total - saved


def test_the_least_important_for_their_cost_go_first() -> None:
    """By hand: neurons are cheaper, so of equal importance heads go first."""
    adapter = made("videomae")
    rows = [(n, a, -1) for n in range(3) for a in range(4)]
    rows += [(n, -1, g) for n in range(3) for g in range(16)]
    costs = count_unit_costs(adapter)
    assert costs.head[0] > 4 * costs.neuron[0]

    class Equal(Ranked):
        value = np.ones(len(rows))
        order = np.arange(len(rows))

    equal = Equal(np.array(rows), {"neurons_per_group": 4})
    share = 5 * costs.head[0] / costs.total
    smaller: Any = vtcd_ops.prune(adapter, equal, share, of="cost")
    assert len(smaller.removed_heads) == 5
    assert not smaller.removed_neurons


BAD: list[tuple[dict[str, Any], str]] = [
    ({"neurons": {3: [0]}}, "neurons expected layers 0 to 2, got 3"),
    ({"neurons": {0: [64]}}, "neurons of layer 0 expected from 0 to 63, got 64"),
    ({"neurons": {0: "all"}}, "neurons of layer 0 expected whole numbers, got 'all'"),
    ({"neurons": [0]}, "neurons expected a mapping from layers .* got list"),
    ({"importance": Ranked(), "neurons": {0: [0]}}, "either importance or heads and neurons"),
    ({"importance": Ranked(), "of": "speed"}, "of expected one of units, cost, got 'speed'"),
    (
        {"importance": Ranked(np.array([[0, -1, 0]]), {})},
        "expected settings with neurons_per_group, got none",
    ),
    (
        {"importance": Ranked(np.array([[0, -1, 0]]), {"neurons_per_group": 8})},
        "layer 0 neuron 8 is missing",
    ),
    (
        {"importance": Ranked(np.array([[0, -1, 8]]), {"neurons_per_group": 8})},
        "layer 0 neuron 64 is not in the model",
    ),
    (
        {"importance": Ranked(settings={"weights": "0" * 64, "model": "other"})},
        "got one of other, whose weights are others",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_requests(arguments: dict[str, Any], message: str) -> None:
    adapter = made("videomae")
    before = weights_sha256(adapter.model)
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.prune(adapter, **arguments, inplace=True)
    assert weights_sha256(adapter.model) == before
    smaller = vtcd_ops.prune(adapter, neurons={0: [3]})
    with pytest.raises(vtcd_ops.InputError, match="layer 0 neuron 3 was taken out before"):
        vtcd_ops.prune(smaller, neurons={0: [3]})
