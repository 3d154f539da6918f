"""Wrong calls of the Rosetta operators: the same words from kernel, fake and function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import vtcd_ops

SUPPORTS = torch.arange(12)  # four concepts of three words
GOOD: dict[str, dict[str, Any]] = {
    "rosetta_search": {
        "supports": SUPPORTS,
        "videos": torch.tensor([0, 1, 3]),
        "models": torch.tensor([0, 2, 4]),
    },
    "rosetta_ratios": {
        "supports": SUPPORTS,
        "videos": torch.tensor([0, 1, 3]),
        "models": torch.tensor([0, 2, 4]),
        "tuples": torch.tensor([[0, 1]], dtype=torch.int32),
    },
}
BOTH = tuple(GOOD)


@dataclass(frozen=True)
class Case:
    """A wrong call: what differs from a good one, and what is said."""

    message: str  # after "operator: "
    arguments: dict[str, Any]
    ops: tuple[str, ...] = BOTH
    fake_knows: bool = True  # shapes, dtypes and numbers, not values of tensors

    def __str__(self) -> str:
        return self.message


def tuples(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32)


SEARCH, RATIOS = BOTH[:1], BOTH[1:]
ONLY_0 = torch.zeros(1, dtype=torch.int64)
CASES = [
    Case("supports expected int64, got float32", {"supports": SUPPORTS.float()}),
    Case("supports expected [C * W], got [4, 3]", {"supports": SUPPORTS.reshape(4, 3)}),
    Case(
        "supports expected [12], 4 concepts of 3 words, got [11]",
        {"supports": SUPPORTS[1:]},
        fake_knows=False,
    ),
    Case("videos expected int64, got int32", {"videos": torch.tensor([0, 3]).int()}),
    Case("videos expected [V + 1], got []", {"videos": torch.tensor(3)}),
    Case(
        "videos expected to start with 0, got 1",
        {"videos": torch.tensor([1, 3])},
        fake_knows=False,
    ),
    Case(
        "videos expected never to fall, got 2 after 3",
        {"videos": torch.tensor([0, 3, 2])},
        fake_knows=False,
    ),
    Case("models expected int64, got bool", {"models": torch.tensor([True])}),
    Case("models expected [D + 1], got [0]", {"models": torch.zeros(0, dtype=torch.int64)}),
    Case(
        "models expected never to fall, got 4 after 5",
        {"models": torch.tensor([0, 5, 4])},
        fake_knows=False,
    ),
    Case(
        "models expected at most 64, got 65",
        {"models": torch.arange(66), "supports": torch.zeros(195, dtype=torch.int64)},
    ),
    # products and numbers beyond 64 and 32 bits, which once crashed or never returned
    Case(
        f"supports expected [more than 2^63], 4 concepts of {2**62} words, got [0]",
        {"supports": SUPPORTS[:0], "videos": torch.tensor([0, 2**62])},
        fake_knows=False,
    ),
    Case(
        f"models expected at most {2**31 - 1} concepts, got {2**33}",
        {"supports": SUPPORTS[:0], "videos": ONLY_0, "models": torch.tensor([0, 2**32, 2**33])},
        fake_knows=False,
    ),
    Case(
        f"models expected at most {2**31 - 1} concepts, got {2**62}",
        {"supports": SUPPORTS[:0], "videos": ONLY_0, "models": torch.tensor([0, 5, 2**62])},
        fake_knows=False,
    ),
    Case("delta expected 0 to 1, got 1.5", {"delta": 1.5}, SEARCH),
    Case("delta expected 0 to 1, got -0.1", {"delta": -0.1}, SEARCH),
    Case("delta expected 0 to 1, got nan", {"delta": float("nan")}, SEARCH),
    Case("max_order expected at least 2, got 1", {"max_order": 1}, SEARCH),
    Case("top expected at least 0, got -1", {"top": -1}, SEARCH),
    Case("max_tuples expected at least 1, got 0", {"max_tuples": 0}, SEARCH),
    Case("tuples expected int32, got int64", {"tuples": torch.tensor([[0, 1]])}, RATIOS),
    Case(
        "tuples expected [Q, 2], one concept of each model or -1, got [1, 3]",
        {"tuples": tuples([0, 1, 1])},
        RATIOS,
    ),
    Case(
        "tuples expected concepts of model 1 from -1 to 1, got 2",
        {"tuples": tuples([0, 1], [0, 2])},
        RATIOS,
        fake_knows=False,
    ),
    Case(
        "tuples expected concepts of model 0 from -1 to 1, got -2",
        {"tuples": tuples([-2, 1])},
        RATIOS,
        fake_knows=False,
    ),
    Case(
        "tuples expected a concept in every row, got none in row 1",
        {"tuples": tuples([0, 1], [-1, -1])},
        RATIOS,
        fake_knows=False,
    ),
]
CALLS = [pytest.param(op, case, id=f"{op}: {case}") for case in CASES for op in case.ops]


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_kernel(op: str, case: Case) -> None:
    with pytest.raises(RuntimeError) as caught:
        getattr(torch.ops.vtcd, op)(**(GOOD[op] | case.arguments))
    assert str(caught.value).splitlines()[0] == f"{op}: {case.message}"


@pytest.mark.parametrize(("op", "case"), [param for param in CALLS if param.values[1].fake_knows])
def test_fake_kernel(op: str, case: Case) -> None:
    with FakeTensorMode() as mode:
        fakes = {
            name: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
            for name, value in (GOOD[op] | case.arguments).items()
        }
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(torch.ops.vtcd, op)(**fakes)
    assert str(caught.value) == f"{op}: {case.message}"


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_public_function(op: str, case: Case) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(vtcd_ops, op)(**(GOOD[op] | case.arguments))
    assert str(caught.value) == f"{op}: {case.message}"


def test_good_calls_are_good() -> None:
    """What the cases differ from is itself accepted."""
    for op, arguments in GOOD.items():
        getattr(vtcd_ops, op)(**arguments)


def test_any_number_of_concepts_without_a_voxel() -> None:
    """No tuple overlaps, which is known without trying 2^60 of them."""
    models = torch.tensor([0, 2**30, 2**31 - 1])
    for videos in (ONLY_0, torch.zeros(4, dtype=torch.int64)):
        for top in (0, 10, 2**62):
            found = vtcd_ops.rosetta_search(
                SUPPORTS[:0], videos, models, 0.0, top=top, max_order=2**62, max_tuples=2**62
            )
            assert found.tuples.shape == (0, 2)
        ratios = vtcd_ops.rosetta_ratios(SUPPORTS[:0], videos, models, tuples([7, 2**30 - 2]))
        assert ratios.shape == (1, len(videos) - 1)
        assert ratios.isnan().all()


def test_limits_as_large_as_an_integer_can_be() -> None:
    ones = torch.ones(4, dtype=torch.int64)
    arguments = ones, torch.tensor([0, 1]), torch.tensor([0, 2, 4])
    most = {"top": 2**62, "max_order": 2**62, "max_tuples": 2**63 - 1}
    for numbers in ({}, most):
        assert len(vtcd_ops.rosetta_search(*arguments, **numbers).scores) == 4


def test_masks_that_do_not_fit_together() -> None:
    good = torch.zeros((2, 5), dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^pack_supports: masks expected \[2, voxels\], got \[3,"):
        vtcd_ops.pack_supports([good, torch.zeros((3, 5), dtype=torch.bool)])
    with pytest.raises(TypeError, match=r"^pack_supports: masks expected bool, got uint8"):
        vtcd_ops.pack_supports([good.to(torch.uint8)])
