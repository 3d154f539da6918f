"""What `prune` refuses: one sentence each, and nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from pruning.tiny_models import make

import vtcd_ops
from vtcd_ops.adapters import example_adapter, weights_sha256


@dataclass
class Ranked:
    """An importance of the heads of a model of 3 layers of 4 heads, as far as `prune` reads it."""

    units: np.ndarray = field(
        default_factory=lambda: np.array([(n, a, -1) for n in range(3) for a in range(4)])
    )
    settings: dict[str, Any] = field(default_factory=lambda: {"model": "videomae"})

    @property
    def order(self) -> np.ndarray:
        return np.random.default_rng(0).permutation(len(self.units))


def concepts() -> Ranked:
    ranked = Ranked()
    ranked.units[:, 2] = 0
    return ranked


CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "expected either importance or heads and neurons, got neither"),
    (
        {"importance": Ranked(), "heads": [(0, 0)]},
        "either importance or heads and neurons, got both",
    ),
    ({"importance": Ranked(), "fraction": 1}, r"fraction expected a number in \[0, 1\), got 1"),
    ({"importance": Ranked(), "fraction": -0.1}, r"in \[0, 1\), got -0.1"),
    ({"importance": Ranked(), "fraction": float("nan")}, r"in \[0, 1\), got nan"),
    ({"importance": Ranked(), "fraction": "third"}, r"in \[0, 1\), got 'third'"),
    ({"importance": Ranked(), "fraction": True}, r"in \[0, 1\), got True"),
    ({"importance": concepts()}, "importance expected of heads or neurons, got one of concepts"),
    (
        {"importance": Ranked(settings={"model": "hf_vivit:other"})},
        "importance expected of videomae, got one of hf_vivit:other",
    ),
    ({"importance": Ranked(Ranked().units[:-1])}, "layer 2 head 3 is missing"),
    (
        {"importance": Ranked(np.concatenate([Ranked().units, [[3, 0, -1]]]))},
        "layer 3 head 0 is not in the model",
    ),
    ({"heads": [(n, a) for n in range(3) for a in range(4)]}, "at least one head expected to stay"),
    ({"heads": [(3, 0)]}, "heads expected layers 0 to 2 and heads 0 to 3, got layer 3 head 0"),
    ({"heads": [(0, -1)]}, "got layer 0 head -1"),
    ({"heads": [0, 1]}, r"heads expected pairs \(layer, head\), got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), CASES)
def test_bad_requests(arguments: dict[str, Any], message: str) -> None:
    adapter = make("videomae")
    before = weights_sha256(adapter.model)
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.prune(adapter, **arguments, inplace=True)
    assert weights_sha256(adapter.model) == before
    assert adapter.removed_heads == frozenset()


def test_a_head_that_went_before() -> None:
    smaller = vtcd_ops.prune(make("videomae"), heads=[(0, 1)])
    with pytest.raises(vtcd_ops.InputError, match="layer 0 head 1 was taken out before"):
        vtcd_ops.prune(smaller, heads=[(0, 1)])


def test_a_model_of_unknown_kind() -> None:
    with pytest.raises(vtcd_ops.InputError, match=r"nothing says where the heads.*known are Video"):
        vtcd_ops.prune(example_adapter(), heads=[(0, 0)])
    bare: Any = object()
    with pytest.raises(vtcd_ops.InputError, match="model expected an adapter derived from"):
        vtcd_ops.prune(bare, heads=[(0, 0)])


@pytest.mark.parametrize(
    ("fraction", "count"), [(0, 0), (1 / 3, 4), (0.5, 6), (0.99, 11), (0.1, 1)]
)
def test_the_least_important_go(fraction: float, count: int) -> None:
    ranked = Ranked()
    smaller: Any = vtcd_ops.prune(make("videomae"), ranked, fraction)
    last = ranked.units[ranked.order[::-1][:count], :2]
    assert smaller.removed_heads == {(int(layer), int(head)) for layer, head in last}


def test_an_importance_of_the_whole_model_serves_a_pruned_one() -> None:
    ranked = Ranked()
    smaller: Any = vtcd_ops.prune(vtcd_ops.prune(make("videomae"), ranked, 0.5), ranked, 0.5)
    last = ranked.units[ranked.order[::-1][:9], :2]
    assert smaller.removed_heads == {(int(layer), int(head)) for layer, head in last}
