"""Wrong calls of the operators on masks: the same words from kernel, fake and function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import vtcd_ops

X = torch.ones(2, 3, 5, 4)
ASSIGN = torch.zeros(2, 3, 4, dtype=torch.int32)
KEEP = torch.ones(2, 6, dtype=torch.bool)
TABLE = torch.zeros(2, 6, dtype=torch.float64)
GOOD: dict[str, dict[str, Any]] = {
    "concept_mask": {"x": X, "assign": ASSIGN, "keep": KEEP, "num_prefix_tokens": 1},
    "cris_sample": {"num_units": 5, "num_masks": 3, "ratio": 0.5, "seed": 0},
    "cris_accumulate": {
        "count": TABLE.long(),
        "total": TABLE,
        "total_sq": TABLE.clone(),
        "keep": torch.ones(4, 6, dtype=torch.bool),
        "drop": torch.ones(4, dtype=torch.float64),
        "present": torch.ones(6, dtype=torch.bool),
    },
}
MASK, SAMPLE, ADD = "concept_mask", "cris_sample", "cris_accumulate"
WIDE, MANY = ASSIGN.new_zeros(2, 3, 5), ASSIGN.new_zeros(3, 3, 4)
NAN = torch.full((4,), float("nan"), dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A wrong call: what differs from a good one, and what is said."""

    op: str
    message: str  # after "operator: "
    arguments: dict[str, Any]
    fake_knows: bool = True  # shapes, dtypes and parameters, not values

    def __str__(self) -> str:
        return f"{self.op}: {self.message}"


CASES = [
    Case(MASK, "x expected [B, A, N, C], got [3, 5, 4]", {"x": X[0]}),
    Case(MASK, "x expected a floating dtype, got int64", {"x": X.long()}),
    Case(MASK, "x expected a floating dtype, got complex64", {"x": X.to(torch.complex64)}),
    Case(MASK, "num_prefix_tokens expected 0 to 5, got -1", {"num_prefix_tokens": -1}),
    Case(MASK, "num_prefix_tokens expected 0 to 5, got 6", {"num_prefix_tokens": 6}),
    Case(MASK, "assign expected int32, got int64", {"assign": ASSIGN.long()}),
    Case(MASK, "assign expected [2 or 1, 3, 4], got [2, 3, 5]", {"assign": WIDE}),
    Case(MASK, "assign expected [2 or 1, 3, 4], got [3, 4]", {"assign": ASSIGN[0]}),
    Case(MASK, "assign expected [2 or 1, 3, 4], got [3, 3, 4]", {"assign": MANY}),
    Case(MASK, "assign expected [2 or 1, 3, 5], got [2, 3, 4]", {"num_prefix_tokens": 0}),
    Case(MASK, "keep expected bool or a floating dtype, got int64", {"keep": KEEP.long()}),
    Case(MASK, "keep expected [2, U], got [6]", {"keep": KEEP[0]}),
    Case(MASK, "keep expected [2, U], got [1, 6]", {"keep": KEEP[:1]}),
    Case(MASK, "assign expected -1 to 5, got 6", {"assign": ASSIGN + 6}, fake_knows=False),
    Case(MASK, "assign expected -1 to 5, got -2", {"assign": ASSIGN - 2}, fake_knows=False),
    Case(SAMPLE, "num_units expected 2 to 2147483647, got 1", {"num_units": 1}),
    Case(SAMPLE, "num_units expected 2 to 2147483647, got 4294967296", {"num_units": 2**32}),
    Case(SAMPLE, "num_masks expected at least 0, got -1", {"num_masks": -1}),
    Case(SAMPLE, "ratio expected above 0 and below 1, got 0", {"ratio": 0.0}),
    Case(SAMPLE, "ratio expected above 0 and below 1, got 1", {"ratio": 1.0}),
    Case(SAMPLE, "ratio expected above 0 and below 1, got nan", {"ratio": float("nan")}),
    Case(SAMPLE, f"start expected 0 to {2**62 - 1}, got -1", {"start": -1}),
    Case(
        SAMPLE,
        "design expected simple, antithetic or balanced, got sobol",
        {"design": "sobol"},
    ),
    Case(ADD, "keep expected bool, got float64", {"keep": torch.ones(4, 6).double()}),
    Case(ADD, "keep expected [M, U], got [6]", {"keep": KEEP[0]}),
    Case(ADD, "count expected int64, got float64", {"count": TABLE}),
    Case(ADD, "count expected [2, 6], got [6]", {"count": TABLE[0].long()}),
    Case(ADD, "total expected float64, got float32", {"total": TABLE.float()}),
    Case(ADD, "total expected [2, 6], got [2, 5]", {"total": TABLE[:, :5]}),
    Case(ADD, "total_sq expected float64, got int64", {"total_sq": TABLE.long()}),
    Case(ADD, "total_sq expected [2, 6], got [1, 6]", {"total_sq": TABLE[:1]}),
    Case(ADD, "drop expected float64, got float32", {"drop": torch.ones(4)}),
    Case(ADD, "drop expected [4], one per mask, got [3]", {"drop": torch.ones(3).double()}),
    Case(ADD, "present expected bool, got int64", {"present": torch.ones(6).long()}),
    Case(ADD, "present expected [6], got [2, 6]", {"present": KEEP}),
    Case(ADD, "drop expected finite numbers, got NaN or infinity", {"drop": NAN}, fake_knows=False),
]
CASES_OF_FAKES = [case for case in CASES if case.fake_knows]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel(case: Case) -> None:
    with pytest.raises(RuntimeError) as caught:
        getattr(torch.ops.vtcd, case.op)(**(GOOD[case.op] | case.arguments))
    assert str(caught.value).splitlines()[0] == str(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_function(case: Case) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(vtcd_ops, case.op)(**(GOOD[case.op] | case.arguments))
    assert str(caught.value) == str(case)


@pytest.mark.parametrize("case", CASES_OF_FAKES, ids=str)
def test_fake(case: Case) -> None:
    with FakeTensorMode() as mode:
        arguments = {
            name: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
            for name, value in (GOOD[case.op] | case.arguments).items()
        }
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(torch.ops.vtcd, case.op)(**arguments)
    assert str(caught.value).splitlines()[0] == str(case)


@pytest.mark.parametrize("op", GOOD)
def test_the_good_calls_are_good(op: str) -> None:
    getattr(vtcd_ops, op)(**GOOD[op])


def test_on_another_device() -> None:
    with pytest.raises(ValueError, match="concept_mask: assign expected on cpu, got meta"):
        vtcd_ops.concept_mask(X, ASSIGN.to("meta"), KEEP, 1)
    with pytest.raises(ValueError, match="concept_mask: keep expected on cpu, got meta"):
        vtcd_ops.concept_mask(X, ASSIGN, KEEP.to("meta"), 1)
