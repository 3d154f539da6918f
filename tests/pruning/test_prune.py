"""A model without some heads is the model with these heads masked, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pruning.tiny_models import FAMILIES, clips_of, make
from torch import Tensor

import vtcd_ops
from vtcd_ops.adapters import AttentionAdapter, traces, weights_sha256
from vtcd_ops.adapters.adapter import PARTS
from vtcd_ops.adapters.heads import ConstantAttention

Heads = list[tuple[int, int]]


def masked_answer(adapter: AttentionAdapter, heads: Heads, dtype: torch.dtype) -> dict[str, Tensor]:
    """The whole model's answer with the outputs of some heads set to zero."""
    keep = torch.ones(adapter.num_layers, adapter.num_heads, dtype=dtype)
    for layer, head in heads:
        keep[layer, head] = 0

    def silence(part: str, layer: int, features: Tensor) -> Tensor:
        return features * keep[layer].view(1, -1, 1, 1)

    with vtcd_ops.edit(adapter, silence, parts=("outputs",)):
        return answer(adapter, dtype)


def answer(adapter: AttentionAdapter, dtype: torch.dtype) -> dict[str, Tensor]:
    clips, inputs = clips_of(adapter)
    with torch.no_grad():
        return adapter.predict(clips.to(dtype), **{name: x.to(dtype) for name, x in inputs.items()})


def expect_masked(family: str, heads: Heads) -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-15)):
        adapter = make(family)
        adapter.model.to(dtype)
        expected = masked_answer(adapter, heads, dtype)
        whole = answer(adapter, dtype)
        got = answer(vtcd_ops.prune(adapter, heads=heads), dtype)
        assert got.keys() == expected.keys()
        for name, values in expected.items():
            scale = float(values.abs().max())
            if name != "pixels":  # what is to be reconstructed is no answer
                assert float((whole[name] - values).abs().max()) > 100 * tolerance * scale
            assert float((got[name] - values).abs().max()) <= tolerance * scale, (name, dtype)


CHOICES: dict[str, Heads] = {
    "one": [(0, 0)],
    "different numbers": [(0, 1), (0, 3), (1, 2), (2, 0), (2, 1), (2, 2)],
    "a layer without heads": [(1, 0), (1, 1), (1, 2), (1, 3), (2, 3)],
    "one head left": [(layer, head) for layer in range(3) for head in range(4)][1:],
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_is_masked(family: str, choice: str) -> None:
    expect_masked(family, CHOICES[choice])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    heads=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=11),
)
def test_any_choice_is_masked(family: str, heads: set[tuple[int, int]]) -> None:
    expect_masked(family, sorted(heads))


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_keep_their_numbers(family: str) -> None:
    """Features are those of the masked model; those of heads that went are zero."""
    adapter = make(family)
    heads = [(0, 1), (0, 2), *((1, head) for head in range(4))]
    smaller: Any = vtcd_ops.prune(adapter, heads=heads)
    assert smaller.removed_heads == frozenset(heads)
    assert (smaller.num_heads, smaller.head_dim) == (4, adapter.head_dim)
    keep = torch.ones(adapter.num_layers, 4)
    for layer, head in heads:
        keep[layer, head] = 0
    clips, inputs = clips_of(adapter)

    def silence(part: str, layer: int, features: Tensor) -> Tensor:
        return features * keep[layer].view(1, -1, 1, 1)

    with vtcd_ops.edit(adapter, silence, parts=("outputs",)):
        expected = vtcd_ops.capture(adapter, clips, parts=PARTS, inputs=inputs)
    before = traces(smaller.model)
    got = vtcd_ops.capture(smaller, clips, parts=PARTS, inputs=inputs)
    assert traces(smaller.model) == before
    for part in PARTS:
        for layer in range(adapter.num_layers):
            whole = expected[part][layer] * keep[layer].view(1, -1, 1, 1)
            torch.testing.assert_close(got[part][layer], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["videomae", "timesformer, spatial", "internvideo"])
def test_edits_of_heads_that_went_are_dropped(family: str) -> None:
    """What an edit returns for them changes nothing; for the others it counts, with gradients."""
    adapter = make(family)
    smaller: Any = vtcd_ops.prune(adapter, heads=[(0, 1), *((1, head) for head in range(4))])
    clips, inputs = clips_of(adapter)
    gone = torch.zeros(4, 1, 1)
    gone[1] = 1

    def change(part: str, layer: int, features: Tensor) -> Tensor:
        return features + (gone if layer == 0 else 1.0)

    plain = smaller.predict(clips, **inputs)
    with vtcd_ops.edit(smaller, change, layers=[0, 1], parts=PARTS):
        edited = smaller.predict(clips, **inputs)
    for name, values in plain.items():
        assert torch.equal(edited[name], values)
    keep = torch.ones(1, 4, 1, 1, requires_grad=True)
    with vtcd_ops.edit(smaller, lambda part, layer, x: x * keep, layers=[0], parts=["outputs"]):
        sum(
            values.square().sum() for values in smaller.predict(clips, **inputs).values()
        ).backward()
    assert keep.grad is not None
    assert (keep.grad.flatten() != 0).tolist() == [True, False, True, True]


def test_a_second_prune_is_the_same_as_one() -> None:
    adapter = make("videomae")
    first = [(0, 1), (1, 0), (1, 2)]
    second = [(0, 3), (1, 1), (1, 3)]
    once: Any = vtcd_ops.prune(adapter, heads=first + second)
    twice: Any = vtcd_ops.prune(vtcd_ops.prune(adapter, heads=first), heads=second)
    assert twice.removed_heads == once.removed_heads
    assert twice.name == once.name == "videomae (6 of 12 heads removed)"
    assert weights_sha256(twice.model) == weights_sha256(once.model)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_stays_unless_asked(family: str) -> None:
    adapter = make(family)
    before, hooks = weights_sha256(adapter.model), traces(adapter.model)
    vtcd_ops.prune(adapter, heads=[(0, 0), *((2, head) for head in range(4))])
    assert (weights_sha256(adapter.model), traces(adapter.model)) == (before, hooks)
    assert adapter.removed_heads == frozenset()
    model = adapter.model
    smaller = vtcd_ops.prune(adapter, heads=[(0, 0)], inplace=True)
    assert smaller is adapter
    assert smaller.model is model
    assert weights_sha256(model) != before


def test_frozen_weights_stay_frozen_and_modes_stay() -> None:
    adapter = make("vivit")
    adapter.model.train()
    for parameter in adapter.model.parameters():
        parameter.requires_grad_(False)
    smaller = vtcd_ops.prune(adapter, heads=[(0, 1), *((1, head) for head in range(4))])
    assert all(module.training for module in smaller.model.modules())
    assert not any(parameter.requires_grad for parameter in smaller.model.parameters())


@pytest.mark.parametrize("family", ["videomae", "timesformer, spatial", "tcow, spatial", "opened"])
def test_the_untrained_control_has_the_same_heads(family: str) -> None:
    adapter = make(family)
    smaller: Any = vtcd_ops.prune(
        adapter, heads=[(0, 1), *((1, head) for head in range(4))], neurons={2: range(7)}
    )
    control: Any = vtcd_ops.randomize_weights(smaller, seed=1)
    assert control.removed_heads == smaller.removed_heads
    assert control.removed_neurons == smaller.removed_neurons
    assert weights_sha256(smaller.model) not in control.known_weights
    shapes = [
        {name: tuple(x.shape) for name, x in one.model.state_dict().items()}
        for one in (smaller, control)
    ]
    assert shapes[0] == shapes[1]
    clips, inputs = clips_of(adapter)
    assert not vtcd_ops.capture(control, clips, inputs=inputs)["keys"][1].any()


def test_the_module_of_a_layer_without_heads() -> None:
    adapter = make("videomae")
    smaller = vtcd_ops.prune(adapter, heads=[(1, head) for head in range(4)])
    [constant] = [one for one in smaller.model.modules() if isinstance(one, ConstantAttention)]
    old: Any = adapter.model.get_submodule("videomae.encoder.layer.1.attention.output.dense")
    assert torch.equal(constant.bias, old.bias)
