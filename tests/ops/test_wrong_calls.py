"""Every argument of every operator, wrong in every way: a generated table.

Each call is made through the public function, the kernel (`torch.ops`) and the fake kernel. What
they say has to be the same, and to name operator, argument, what was expected and what was got. The
dispatcher stands before the kernels with words of its own for arguments of another type; those name
operator and argument, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import vtcd_ops

INT32, INT64, FLOAT64 = torch.int32, torch.int64, torch.float64
FEATURES = torch.arange(2 * 3 * 2 * 4 * 4, dtype=torch.float32).reshape(2, 3, 2, 4, 4)
DATA = torch.arange(21, dtype=torch.float32).reshape(7, 3)
OFFSETS = torch.tensor([0, 3, 7])
SUPPORTS = {
    "supports": torch.arange(12),
    "videos": torch.tensor([0, 1, 3]),
    "models": torch.tensor([0, 2, 4]),
}
KERNELS: dict[str, Callable[[], dict[str, Any]]] = {
    "slic3d": lambda: {
        "features": FEATURES, "size": [4, 8, 8], "n_segments": 2, "compactness": 0.1,
        "max_num_iter": 2, "spacing": [1.0, 1.0, 1.0], "enforce_connectivity": True,
        "min_size_factor": 0.5, "max_size_factor": 3.0, "interpolation": "nearest",
    },
    "tubelet_pool": lambda: {
        "features": FEATURES, "labels": torch.zeros(2, 4, 8, 8, dtype=INT64), "num_tubelets": 3,
        "interpolation": "nearest",
    },
    "_tubelet_pool_backward": lambda: {
        "grad_means": torch.ones(2, 3, 5), "labels": torch.zeros(2, 4, 8, 8, dtype=INT64),
        "counts": torch.full((2, 3), 256), "grid": [2, 4, 4], "interpolation": "nearest",
    },
    "cnmf": lambda: {
        "data": DATA, "offsets": OFFSETS, "k": torch.tensor([2, 2]),
        "init": torch.tensor([0, 1, 0, 1, 0, 1, 0]), "solver": "cd", "max_num_iter": 3,
        "tol": 1e-3, "seed": 1,
    },
    "kmeans": lambda: {
        "data": DATA, "offsets": OFFSETS, "k": torch.tensor([2, 2]), "num_restarts": 2,
        "max_num_iter": 3, "tol": 1e-3, "seed": 1,
    },
    "silhouette": lambda: {
        "data": DATA, "offsets": OFFSETS, "labels": torch.tensor([0, 1, 0, 1, 0, 1, 0]),
    },
    "concept_mask": lambda: {
        "x": torch.ones(2, 3, 5, 4), "assign": torch.zeros(2, 3, 4, dtype=INT32),
        "keep": torch.ones(2, 6, dtype=torch.bool), "num_prefix_tokens": 1,
    },
    "_concept_mask_backward": lambda: {
        "grad": torch.ones(2, 3, 5, 4), "x": torch.ones(2, 3, 5, 4),
        "assign": torch.zeros(2, 3, 4, dtype=INT32), "keep": torch.ones(2, 6),
        "num_prefix_tokens": 1,
    },
    "cris_sample": lambda: {
        "num_units": 5, "num_masks": 3, "ratio": 0.5, "seed": 0, "start": 2, "design": "balanced",
    },
    "_cris_sample_like": lambda: {
        "like": torch.ones(1), "num_units": 5, "num_masks": 3, "ratio": 0.5, "seed": 0, "start": 2,
        "design": "balanced",
    },
    "cris_accumulate": lambda: {
        "count": torch.zeros(2, 6, dtype=INT64), "total": torch.zeros(2, 6, dtype=FLOAT64),
        "total_sq": torch.zeros(2, 6, dtype=FLOAT64), "keep": torch.ones(4, 6, dtype=torch.bool),
        "drop": torch.ones(4, dtype=FLOAT64), "present": torch.ones(6, dtype=torch.bool),
    },
    "rosetta_search": lambda: {
        **SUPPORTS, "delta": 0.1, "max_order": 2, "top": 1, "max_tuples": 10,
    },
    "rosetta_ratios": lambda: {**SUPPORTS, "tuples": torch.tensor([[0, 1]], dtype=INT32)},
    "contour_match": lambda: {
        "prediction": torch.ones(2, 3, 5, dtype=torch.bool),
        "truth": torch.ones(2, 3, 5, dtype=torch.bool), "radius": 1,
    },
}  # fmt: skip
RAGGED = ("cnmf", "kmeans", "silhouette")  # whose public functions take matrices, not offsets
PUBLIC: dict[str, Callable[[], dict[str, Any]]] = {
    name: good for name, good in KERNELS.items() if name[0] != "_" and name not in RAGGED
} | {
    "cnmf": lambda: {
        "data": DATA, "k": 2, "init": torch.tensor([0, 1, 0, 1, 0, 1, 0]), "solver": "cd",
        "max_num_iter": 3, "tol": 1e-3, "seed": 1,
    },
    "kmeans": lambda: {
        "data": DATA, "k": 2, "num_restarts": 2, "max_num_iter": 3, "tol": 1e-3, "seed": 1,
    },
    "silhouette": lambda: {"data": DATA, "labels": torch.tensor([0, 1, 0, 1, 0, 1, 0])},
    "choose_num_concepts": lambda: {
        "data": DATA, "criterion": "elbow", "threshold": 0.9,
        "num_restarts": 2, "seed": 0,
    },
    "pack_supports": lambda: {"masks": [torch.ones(3, 70, dtype=torch.bool)]},
}  # fmt: skip
OPTIONAL = {("cnmf", "init"), ("cris_accumulate", "present")}
ENDLESS = {"num_restarts", "max_num_iter"}  # as often as they are asked to
LARGE = {"num_tubelets", "num_units", "num_masks"}  # 2**31 is gigabytes of what is returned

DTYPES = [
    torch.float16, torch.bfloat16, torch.float32, FLOAT64, torch.uint8, torch.int8, torch.int16,
    INT32, INT64, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
STRANGERS: dict[str, Any] = {
    "None": None, "a list": [1, 2], "an array": np.zeros(3), "a text": "three", "a dict": {},
    "1.5": 1.5, "1j": 1j, "an object": object(), "a type": int,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A call whose one argument differs from a good one."""

    op: str
    argument: str
    what: str
    value: Any
    is_type: bool  # of another type than the schema's

    def __str__(self) -> str:
        return f"{self.op}-{self.argument}-{self.what}"


def of_tensors(good: Tensor) -> Iterator[tuple[str, Any]]:
    for dtype in DTYPES:
        if dtype != good.dtype:
            yield str(dtype), good.to(dtype)
    yield "an axis more", good[None]
    yield "an axis less", good[0]
    yield "a number", good.flatten()[0]
    for axis in range(good.dim()):
        yield f"shorter in {axis}", good.narrow(axis, 0, good.shape[axis] - 1)
        yield f"longer in {axis}", torch.cat([good, good.narrow(axis, 0, 1)], axis)
        yield f"empty in {axis}", good.narrow(axis, 0, 0)
    yield "on meta", good.to("meta")
    if good.is_floating_point():
        for value in (float("nan"), float("inf"), -float("inf")):
            yield f"full of {value}", torch.full_like(good, value)
    elif good.dtype != torch.bool:
        limits = torch.iinfo(good.dtype)
        for value in (-2, limits.max, limits.min):
            yield f"full of {value}", torch.full_like(good, value)


def of_integers() -> Iterator[tuple[str, Any]]:
    for value in (-1, 0, 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)):
        yield str(value), value


def of_numbers() -> Iterator[tuple[str, Any]]:
    for text in ("nan", "inf", "-inf", "-1", "0", "5e-324", "1e-300", "1e308", "-1e308", "2"):
        yield text, float(text)


def of_lists(good: list[Any]) -> Iterator[tuple[str, Any]]:
    for length in (0, 1, 2, 4, 5):
        yield f"{length} of them", (good * 2)[:length]
    for value in (0, -1, 2**31, 2**62):
        yield f"one is {value}", [good[0], type(good[0])(value), good[2]]
    if isinstance(good[0], float):
        for text in ("nan", "inf", "1e308", "5e-324"):
            yield f"one is {text}", [good[0], float(text), good[2]]


def values(argument: str, good: Any) -> Iterator[tuple[str, Any]]:
    """Values of the right type, most of them wrong."""
    if isinstance(good, Tensor):
        yield from of_tensors(good)
    elif isinstance(good, bool):
        return
    elif isinstance(good, int):
        yield from (each for each in of_integers() if argument not in LARGE or each[1] != 2**31)
    elif isinstance(good, float):
        yield from of_numbers()
    elif isinstance(good, str):
        yield "unknown", "unknown"
        yield "empty", ""
    elif isinstance(good[0], (int, float)):
        yield from of_lists(good)


def strangers(op: str, argument: str, good: Any) -> Iterator[tuple[str, Any]]:
    """Values of a type that the argument is not."""
    for what, value in STRANGERS.items():
        if value is None and (op, argument) in OPTIONAL:
            continue
        if isinstance(good, float) and what == "1.5":
            continue
        yield what, value
    if isinstance(good, int) and not isinstance(good, bool):
        yield "2**63", 2**63
        yield "-2**63 - 1", -(2**63) - 1
        yield "a bool", True
    if isinstance(good, list) and not isinstance(good[0], Tensor):
        yield "texts", ["a", "b", "c"]
        yield "Nones", [None] * 3
        if isinstance(good[0], int):
            yield "fractions", [1.5] * 3
            yield "too large", [2**63] * 3


def table(of: dict[str, Callable[[], dict[str, Any]]]) -> list[Any]:
    cases = []
    for op, good in of.items():
        for argument, value in good().items():
            for is_type, others in (
                (True, strangers(op, argument, value)),
                (False, values(argument, value)),
            ):
                cases += [Case(op, argument, what, other, is_type) for what, other in others]
    return cases


CASES = table(KERNELS)
PUBLIC_CASES = table(PUBLIC)


def said(call: Callable[[], Any]) -> Exception | None:
    """What a call raises."""
    try:
        call()
    except Exception as error:
        return error
    return None


def words(error: Exception | None) -> str:
    return str(error).splitlines()[0] if error is not None and str(error) else ""


def named(op: str, error: Exception | None) -> str:
    """The argument that a message of ours names, or nothing."""
    found = re.match(rf"{op}: (\w+) expected .+, got .*$", words(error))
    return found[1] if found else ""


def called(case: Case) -> Exception | None:
    arguments = KERNELS[case.op]() | {case.argument: case.value}
    return said(lambda: getattr(torch.ops.vtcd, case.op)(**arguments))


def called_fake(case: Case) -> Exception | None:
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        arguments = {
            name: mode.from_tensor(value, static_shapes=True)
            if isinstance(value, Tensor)
            else value
            for name, value in (KERNELS[case.op]() | {case.argument: case.value}).items()
        }
        return said(lambda: getattr(torch.ops.vtcd, case.op)(**arguments))


def called_public(case: Case) -> Exception | None:
    arguments = PUBLIC[case.op]() | {case.argument: case.value}
    return said(lambda: getattr(vtcd_ops, case.op)(**arguments))


def of_dispatcher(case: Case, error: Exception | None) -> bool:
    """Whether the dispatcher, or the conversion before the kernel, has refused the type."""
    message = words(error)
    if case.what == "on meta":  # torch's own, where the size of the output depends on values
        return f"vtcd::{case.op}" in message
    if case.value is None:  # to the dispatcher an undefined tensor, which it cannot name
        return error is not None
    return f"vtcd::{case.op}" in message and f"'{case.argument}'" in message


@pytest.mark.parametrize("op", KERNELS)
def test_kernels_and_fakes(op: str) -> None:
    """Both refuse in the same words; a fake kernel cannot see values, so may let a call pass."""
    wrong = 0
    for case in CASES:
        if case.op != op:
            continue
        kernel, fake = called(case), called_fake(case)
        for error in (kernel, fake):
            if error is not None:
                wrong += 1
                assert named(op, error) or of_dispatcher(case, error), f"{case}: {error!r}"
        if kernel is None:
            assert fake is None, f"{case}: the kernel took it, the fake kernel said {fake}"
        if case.value is not None and named(op, kernel) and named(op, kernel) == named(op, fake):
            assert words(kernel) == words(fake), str(case)
    assert wrong > 20


@pytest.mark.parametrize("op", PUBLIC)
def test_public_functions(op: str) -> None:
    """A wrong call says operator, argument, expected and got; the same as the kernel says."""
    wrong = 0
    for case in PUBLIC_CASES:
        if case.op != op:
            continue
        error = called_public(case)
        if error is None:
            continue
        wrong += 1
        if case.what == "on meta" and of_dispatcher(case, error):
            continue
        assert isinstance(error, (ValueError, TypeError)), f"{case}: {error!r}"
        assert named(op, error), f"{case}: {error!r}"
        if case.is_type:
            assert named(op, error) == case.argument, f"{case}: {error}"
        if op in KERNELS and op not in RAGGED:
            kernel = called(case)
            if named(op, kernel) == named(op, error) and not case.is_type:
                assert words(kernel) == words(error), str(case)
            assert kernel is not None or case.is_type, f"{case}: only the function said {error}"
    assert wrong > 8


@pytest.mark.parametrize("op", PUBLIC)
def test_types_are_refused(op: str) -> None:
    """No value of another type is taken."""
    taken = []
    for case in PUBLIC_CASES:
        if case.op == op and case.is_type and called_public(case) is None:
            taken.append(str(case))
    assert not taken


def test_good_calls_are_good() -> None:
    for op, good in KERNELS.items():
        getattr(torch.ops.vtcd, op)(**good())
    for op, good in PUBLIC.items():
        getattr(vtcd_ops, op)(**good())


@pytest.mark.parametrize("count", [1_000_001, 2**31, 2**62])
@pytest.mark.parametrize(
    ("op", "argument"),
    [
        ("cnmf", "max_num_iter"),
        ("kmeans", "max_num_iter"),
        ("kmeans", "num_restarts"),
        ("slic3d", "max_num_iter"),
        ("choose_num_concepts", "num_restarts"),
    ],
)
def test_what_would_never_end_is_not_begun(op: str, argument: str, count: int) -> None:
    error = called_public(Case(op, argument, str(count), count, False))
    assert str(error) == f"{op}: {argument} expected at most 1000000, got {count}"


def test_numpy_integers_are_integers() -> None:
    two = np.int64(2)
    assert vtcd_ops.kmeans(DATA, two).centers.shape == (2, 3)
    assert vtcd_ops.cnmf(DATA, two).centers.shape == (2, 3)
    assert vtcd_ops.cris_sample(np.int32(5), two, np.float32(0.5), two).shape == (2, 5)
    assert vtcd_ops.slic3d(FEATURES, [np.int64(4), 8, 8], two).shape == (2, 4, 8, 8)


def test_inside_another_default_device() -> None:
    """Tensors that the operators make lie where the data lie."""
    with torch.device("meta"):
        labels = vtcd_ops.kmeans(DATA, 2).labels
        assert labels.device.type == "cpu"
        assert vtcd_ops.cnmf(DATA, 2).error.device.type == "cpu"
        supports, videos = vtcd_ops.pack_supports([DATA > 3])
        assert supports.device.type == videos.device.type == "cpu"
        assert vtcd_ops.cris_sample(5, 3, 0.5, 0).device.type == "cpu"
        accumulator = vtcd_ops.CrisAccumulator(3)
        accumulator.update(DATA > 3, DATA[:, 0])
        value, _ = accumulator.importance("kept")
        assert value.device.type == "cpu"
        assert accumulator.state_dict()["mean"].device.type == "cpu"
