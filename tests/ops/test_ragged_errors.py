"""Wrong calls of cnmf, kmeans, silhouette: the same words from kernel, fake and function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import vtcd_ops

DATA = torch.arange(21, dtype=torch.float32).reshape(7, 3)
OFFSETS = torch.tensor([0, 3, 7])
LABELS = torch.tensor([0, 1, 0, 1, 0, 1, 0])
GOOD = {
    "cnmf": {"data": DATA, "offsets": OFFSETS, "k": torch.tensor([2, 2])},
    "kmeans": {"data": DATA, "offsets": OFFSETS, "k": torch.tensor([2, 2])},
    "silhouette": {"data": DATA, "offsets": OFFSETS, "labels": LABELS},
}


@dataclass(frozen=True)
class Case:
    """A wrong call: what differs from a good one, and what is said."""

    message: str  # after "operator: "
    arguments: dict[str, Any]
    ops: tuple[str, ...] = ("cnmf", "kmeans", "silhouette")
    fake_knows: bool = True  # shapes and dtypes, not values
    public: dict[str, Any] | None = field(default=None)  # the same mistake in the public function

    def __str__(self) -> str:
        return self.message


CLUSTERINGS = ("cnmf", "kmeans")
NAN = torch.where(torch.eye(7, 3) > 0, torch.nan, DATA)
INF = torch.where(torch.eye(7, 3) > 0, torch.inf, DATA)
CASES = [
    Case("data expected [N, C], got [7]", {"data": DATA[:, 0]}, public={"data": DATA[:, 0]}),
    Case("data expected [N, C], got [1, 7, 3]", {"data": DATA[None]}, public={"data": DATA[None]}),
    Case(
        "data expected float32 or float64, got int64",
        {"data": DATA.long()},
        public={"data": DATA.long()},
    ),
    Case(
        "data expected float32 or float64, got float16",
        {"data": DATA.half()},
        public={"data": DATA.half()},
    ),
    Case(
        "data expected at least 1 channel, got [7, 0]",
        {"data": DATA[:, :0]},
        public={"data": DATA[:, :0]},
    ),
    Case(
        "data expected finite values, got NaN or Inf",
        {"data": NAN},
        fake_knows=False,
        public={"data": NAN},
    ),
    Case(
        "data expected finite values, got NaN or Inf",
        {"data": INF.double()},
        fake_knows=False,
        public={"data": INF},
    ),
    Case("offsets expected int64, got int32", {"offsets": OFFSETS.int()}),
    Case("offsets expected int64, got float32", {"offsets": OFFSETS.float()}),
    Case("offsets expected [P + 1], got [1, 3]", {"offsets": OFFSETS[None]}),
    Case("offsets expected [P + 1], got [0]", {"offsets": OFFSETS[:0]}),
    Case(
        "offsets expected to start with 0, got 1",
        {"offsets": torch.tensor([1, 3, 7])},
        fake_knows=False,
    ),
    Case(
        "offsets expected to increase, got 3 after 5",
        {"offsets": torch.tensor([0, 5, 3])},
        fake_knows=False,
    ),
    Case(
        "offsets expected to increase, got 0 after 0",
        {"offsets": torch.tensor([0, 0, 7])},
        fake_knows=False,
    ),
    Case(
        "offsets expected to end with 7, the rows of data, got 6",
        {"offsets": torch.tensor([0, 3, 6])},
        fake_knows=False,
    ),
    Case(
        "offsets expected to end with 7, the rows of data, got 9",
        {"offsets": torch.tensor([0, 3, 9])},
        fake_knows=False,
    ),
    Case("k expected int64, got int32", {"k": torch.tensor([2, 2]).int()}, CLUSTERINGS),
    Case("k expected [2], one per problem, got [3]", {"k": torch.tensor([2, 2, 2])}, CLUSTERINGS),
    Case("k expected [2], one per problem, got []", {"k": torch.tensor(2)}, CLUSTERINGS),
    Case(
        "k expected 1 to 4, the rows of problem 1, got 5",
        {"k": torch.tensor([3, 5])},
        CLUSTERINGS,
        fake_knows=False,
        public={"data": [DATA[:3], DATA[3:]], "k": [3, 5]},
    ),
    Case(
        "k expected 1 to 3, the rows of problem 0, got 0",
        {"k": torch.tensor([0, 2])},
        CLUSTERINGS,
        fake_knows=False,
        public={"data": DATA[:3], "k": 0},
    ),
    Case(
        "max_num_iter expected at least 1, got 0",
        {"max_num_iter": 0},
        CLUSTERINGS,
        public={"max_num_iter": 0},
    ),
    Case(
        "tol expected finite and at least 0, got -0.5",
        {"tol": -0.5},
        CLUSTERINGS,
        public={"tol": -0.5},
    ),
    Case(
        "tol expected finite and at least 0, got nan",
        {"tol": float("nan")},
        CLUSTERINGS,
        public={"tol": float("nan")},
    ),
    Case(
        "num_restarts expected at least 1, got 0",
        {"num_restarts": 0},
        ("kmeans",),
        public={"num_restarts": 0},
    ),
    Case(
        "solver expected cd or mu, got als", {"solver": "als"}, ("cnmf",), public={"solver": "als"}
    ),
    Case(
        "init expected int32 or int64, got float32",
        {"init": LABELS.float()},
        ("cnmf",),
        public={"init": LABELS.float()},
    ),
    Case(
        "init expected [7], one per row of data, got [6]",
        {"init": LABELS[:6]},
        ("cnmf",),
        public={"init": LABELS[:6]},
    ),
    Case(
        "init expected below 2, the k of problem 1, got 2",
        {"init": LABELS.index_fill(0, torch.tensor([5]), 2)},
        ("cnmf",),
        fake_knows=False,
    ),
    Case(
        "init expected at least 0, got -1",
        {"init": LABELS - 1},
        ("cnmf",),
        fake_knows=False,
        public={"init": LABELS - 1},
    ),
    Case(
        "labels expected int32 or int64, got bool",
        {"labels": LABELS.bool()},
        ("silhouette",),
        public={"labels": LABELS.bool()},
    ),
    Case(
        "labels expected [7], one per row of data, got [7, 1]",
        {"labels": LABELS[:, None]},
        ("silhouette",),
        public={"labels": LABELS[:, None]},
    ),
    Case(
        "labels expected at least 0, got -1",
        {"labels": LABELS - 1},
        ("silhouette",),
        fake_knows=False,
        public={"labels": LABELS - 1},
    ),
]
CALLS = [pytest.param(op, case, id=f"{op}: {case}") for case in CASES for op in case.ops]


def call(op: str, arguments: dict[str, Any]) -> Any:
    return getattr(torch.ops.vtcd, op)(**(GOOD[op] | arguments))


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_kernel(op: str, case: Case) -> None:
    with pytest.raises(RuntimeError) as caught:
        call(op, case.arguments)
    assert str(caught.value).splitlines()[0] == f"{op}: {case.message}"


@pytest.mark.parametrize(("op", "case"), [param for param in CALLS if param.values[1].fake_knows])
def test_fake_kernel(op: str, case: Case) -> None:
    arguments = GOOD[op] | case.arguments
    with FakeTensorMode() as mode:
        fakes = {
            name: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
            for name, value in arguments.items()
        }
        with pytest.raises((ValueError, TypeError)) as caught:
            call(op, fakes)
    assert str(caught.value) == f"{op}: {case.message}"


@pytest.mark.parametrize(("op", "case"), [param for param in CALLS if param.values[1].public])
def test_public_function(op: str, case: Case) -> None:
    good = {"data": DATA, "labels": LABELS} if op == "silhouette" else {"data": DATA, "k": 2}
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(vtcd_ops, op)(**(good | case.public))
    assert str(caught.value) == f"{op}: {case.message}"


def test_good_calls_are_good() -> None:
    """What the cases differ from is itself accepted."""
    for op in GOOD:
        call(op, {})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([DATA, DATA.double()], TypeError, "data expected one dtype and device, got torch.float32"),
        ([DATA, DATA[:, :2]], ValueError, "data expected the same channels in all matrices, got 3"),
        ([DATA, DATA[0]], ValueError, "data expected [N, C], got [3]"),
        ([DATA, DATA[:0]], ValueError, "data expected at least 1 row, got [0, 3]"),
        ([DATA, "keys"], TypeError, "data expected tensors, got str"),
    ],
)
def test_lists_that_do_not_fit_together(data: list, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        vtcd_ops.kmeans(data, 1)
    assert str(caught.value).startswith(f"kmeans: {message}")


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        ([1, 2, 3], ValueError, "k expected one per matrix (2), got 3"),
        ([1, 2.0], TypeError, "k expected an integer, got float"),
        ([True, 1], TypeError, "k expected an integer, got bool"),
    ],
)
def test_numbers_of_concepts(k: list, error: type, message: str) -> None:
    for op in (vtcd_ops.cnmf, vtcd_ops.kmeans):
        with pytest.raises(error) as caught:
            op([DATA, DATA], k)
        assert str(caught.value) == f"{op.__name__}: {message}"


def test_start_and_labels_of_a_list() -> None:
    with pytest.raises(
        ValueError, match=r"^cnmf: init expected kmeans or a labelling, got random$"
    ):
        vtcd_ops.cnmf(DATA, 2, init="random")
    with pytest.raises(ValueError, match=r"^cnmf: init expected one per matrix \(2\), got 1$"):
        vtcd_ops.cnmf([DATA, DATA], 2, init=[LABELS])
    with pytest.raises(TypeError, match=r"^silhouette: labels expected a tensor for a tensor"):
        vtcd_ops.silhouette(DATA, [LABELS])


MIXED = [torch.arange(40.0).reshape(10, 4), torch.arange(20.0).reshape(5, 4)]
SWAPPED = [torch.arange(5) % 2, torch.arange(10) % 2]  # as many labels as rows, all together


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (SWAPPED, ValueError, "expected [10], one per row of matrix 0, got [5]"),
        ([SWAPPED[1], SWAPPED[1]], ValueError, "expected [5], one per row of matrix 1, got [10]"),
        ([SWAPPED[1]], ValueError, "expected one per matrix (2), got 1"),
        ([*SWAPPED, SWAPPED[0]], ValueError, "expected one per matrix (2), got 3"),
        ([SWAPPED[1], SWAPPED[0].bool()], TypeError, "expected int32 or int64, got bool"),
        ([SWAPPED[1], [0, 1, 0, 1, 0]], TypeError, "expected tensors, got list"),
        ([SWAPPED[1], SWAPPED[0].to("meta")], ValueError, "expected on cpu, got meta"),
    ],
)
def test_labels_of_a_list_fit_their_own_matrix(
    labels: list, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        vtcd_ops.silhouette(MIXED, labels)
    assert str(caught.value) == f"silhouette: labels {message}"
    with pytest.raises(error) as caught:
        vtcd_ops.cnmf(MIXED, 2, init=labels)
    assert str(caught.value) == f"cnmf: init {message}"


def test_one_labelling_for_several_matrices() -> None:
    with pytest.raises(TypeError, match=r"^cnmf: init expected a list of tensors for a list, got"):
        vtcd_ops.cnmf(MIXED, 2, init=torch.cat(SWAPPED))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": None}, TypeError, "data expected a tensor or a list of tensors, got NoneType"),
        (
            {"data": DATA.numpy()},
            TypeError,
            "data expected a tensor or a list of tensors, got ndarray",
        ),
        ({"data": [[1.0, 2.0]]}, TypeError, "data expected tensors, got list"),
        ({"k": None}, TypeError, "k expected an integer, got NoneType"),
        ({"k": 2.0}, TypeError, "k expected an integer, got float"),
        ({"k": "2"}, TypeError, "k expected an integer, got str"),
        ({"k": 2**63}, ValueError, f"k expected -2**63 to 2**63 - 1, got {2**63}"),
        ({"seed": 2**63}, ValueError, f"seed expected -2**63 to 2**63 - 1, got {2**63}"),
        ({"seed": 0.5}, TypeError, "seed expected an integer, got float"),
        ({"max_num_iter": 10.0}, TypeError, "max_num_iter expected an integer, got float"),
        ({"tol": "1"}, TypeError, "tol expected a number, got str"),
        ({"tol": None}, TypeError, "tol expected a number, got NoneType"),
    ],
)
def test_arguments_that_are_no_tensors_or_numbers(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    for op in (vtcd_ops.cnmf, vtcd_ops.kmeans):
        with pytest.raises(error) as caught:
            op(**({"data": DATA, "k": 2} | arguments))
        assert str(caught.value) == f"{op.__name__}: {message}"


def test_numbers_of_numpy_are_numbers() -> None:
    expected = vtcd_ops.kmeans(DATA, 2, seed=3)
    found = vtcd_ops.kmeans(DATA, np.int64(2), seed=np.int32(3), tol=np.float32(1e-4))
    assert torch.equal(found.labels, expected.labels)
    assert len(vtcd_ops.kmeans([DATA, DATA], np.array([1, 2]))[1].centers) == 2


def test_device_of_the_surroundings_does_not_matter() -> None:
    """Offsets and numbers stay on the processor; once they landed on the device of a context."""
    expected = vtcd_ops.cnmf(DATA, 2), vtcd_ops.choose_num_concepts(DATA)
    with torch.device("meta"):
        found = vtcd_ops.cnmf(DATA, 2), vtcd_ops.choose_num_concepts(DATA)
        silhouette = vtcd_ops.silhouette(DATA, LABELS)
    assert torch.equal(found[0].error, expected[0].error)
    assert found[1] == expected[1]
    assert silhouette.device.type == "cpu"
