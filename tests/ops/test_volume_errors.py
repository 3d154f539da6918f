"""Wrong calls of slic3d and tubelet_pool: the same words from kernel, fake and function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import vtcd_ops

FEATURES = torch.arange(2 * 3 * 2 * 4 * 4, dtype=torch.float32).reshape(2, 3, 2, 4, 4)
LABELS = torch.zeros(2, 4, 8, 8, dtype=torch.int64)
GOOD: dict[str, dict[str, Any]] = {
    "slic3d": {"features": FEATURES, "size": [4, 8, 8]},
    "tubelet_pool": {"features": FEATURES, "labels": LABELS, "num_tubelets": 3},
}
BOTH = ("slic3d", "tubelet_pool")
SLIC3D, POOL = ("slic3d",), ("tubelet_pool",)


@dataclass(frozen=True)
class Case:
    """A wrong call: what differs from a good one, and what is said."""

    message: str  # after "operator: "
    arguments: dict[str, Any]
    ops: tuple[str, ...]
    fake_knows: bool = True  # shapes, dtypes and parameters, not values

    def __str__(self) -> str:
        return self.message


def with_value(value: float) -> torch.Tensor:
    features = FEATURES.clone()
    features[1, 2, 1, 3, 3] = value
    return features


CASES = [
    Case("features expected [B, C, t, h, w], got [3]", {"features": torch.zeros(3)}, BOTH),
    Case("features expected [B, C, t, h, w], got [3, 2, 4, 4]", {"features": FEATURES[0]}, BOTH),
    Case("features expected a floating dtype, got int64", {"features": FEATURES.long()}, BOTH),
    Case(
        "features expected a floating dtype, got complex64",
        {"features": FEATURES.to(torch.complex64)},
        BOTH,
    ),
    Case(
        "features expected channels and tokens, got [2, 0, 2, 4, 4]",
        {"features": FEATURES[:, :0]},
        BOTH,
    ),
    Case(
        "features expected channels and tokens, got [2, 3, 2, 0, 4]",
        {"features": FEATURES[:, :, :, :0]},
        BOTH,
    ),
    *[
        Case(
            "features expected finite numbers, got NaN or infinity",
            {"features": with_value(value).to(dtype)},
            SLIC3D,
            fake_knows=False,
        )
        for value in (float("nan"), float("inf"), -float("inf"))
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    ],
    Case("size expected positive numbers (T, H, W), got [4, 0, 8]", {"size": [4, 0, 8]}, SLIC3D),
    Case("size expected positive numbers (T, H, W), got [-4, 8, 8]", {"size": [-4, 8, 8]}, SLIC3D),
    Case(
        "size expected fewer than 2^31 voxels, got [2048, 1024, 1024]",
        {"size": [2048, 1024, 1024]},
        SLIC3D,
    ),
    Case("size expected positive numbers (T, H, W), got []", {"size": []}, SLIC3D),
    Case("size expected positive numbers (T, H, W), got [4, 8]", {"size": [4, 8]}, SLIC3D),
    Case(
        "size expected positive numbers (T, H, W), got [4, 8, 8, 1]",
        {"size": [4, 8, 8, 1]},
        SLIC3D,
    ),
    Case(
        f"size expected fewer than 2^31 voxels, got [{2**62}, {2**62}, {2**62}]",
        {"size": [2**62] * 3},
        SLIC3D,
    ),
    *[
        Case(
            f"spacing expected 3 numbers from 1e-100 to 1e+100, got {said}",
            {"spacing": spacing},
            SLIC3D,
        )
        for spacing, said in (
            ([], "[]"),
            ([1.0], "[1]"),
            ([1.0, 2.0], "[1, 2]"),
            ([1.0, 2.0, 3.0, 4.0], "[1, 2, 3, 4]"),
            ([1e300, 1.0, 1.0], "[1e+300, 1, 1]"),
            ([1.0, 5e-324, 1.0], "[1, 4.94066e-324, 1]"),
            ([1.0, float("nan"), 1.0], "[1, nan, 1]"),
            ([1.0, float("inf"), 1.0], "[1, inf, 1]"),
        )
    ],
    Case("n_segments expected at least 1, got 0", {"n_segments": 0}, SLIC3D),
    Case("n_segments expected at least 1, got -3", {"n_segments": -3}, SLIC3D),
    Case("compactness expected finite and above 0, got 0", {"compactness": 0.0}, SLIC3D),
    Case("compactness expected finite and above 0, got -0.5", {"compactness": -0.5}, SLIC3D),
    Case("compactness expected finite and above 0, got nan", {"compactness": float("nan")}, SLIC3D),
    Case("compactness expected finite and above 0, got inf", {"compactness": float("inf")}, SLIC3D),
    Case("max_num_iter expected at least 1, got 0", {"max_num_iter": 0}, SLIC3D),
    Case(
        "spacing expected 3 numbers from 1e-100 to 1e+100, got [1, 0, 1]",
        {"spacing": [1.0, 0.0, 1.0]},
        SLIC3D,
    ),
    Case(
        "spacing expected 3 numbers from 1e-100 to 1e+100, got [1, -0.5, 1]",
        {"spacing": [1.0, -0.5, 1.0]},
        SLIC3D,
    ),
    Case(
        "min_size_factor expected finite and at least 0, got -1", {"min_size_factor": -1.0}, SLIC3D
    ),
    Case("max_size_factor expected finite and above 0, got 0", {"max_size_factor": 0.0}, SLIC3D),
    Case(
        "interpolation expected trilinear or nearest, got cubic", {"interpolation": "cubic"}, BOTH
    ),
    Case("labels expected int32 or int64, got float32", {"labels": LABELS.float()}, POOL),
    Case("labels expected [2, T, H, W], got [4, 8, 8]", {"labels": LABELS[0]}, POOL),
    Case("labels expected [2, T, H, W], got [1, 4, 8, 8]", {"labels": LABELS[:1]}, POOL),
    Case("labels expected voxels, got [2, 4, 0, 8]", {"labels": LABELS[:, :, :0]}, POOL),
    Case("num_tubelets expected at least 0, got -1", {"num_tubelets": -1}, POOL),
    Case("labels expected -1 to 2, got 3", {"labels": LABELS + 3}, POOL, fake_knows=False),
    Case("labels expected -1 to 2, got -2", {"labels": LABELS - 2}, POOL, fake_knows=False),
    Case("labels expected -1 to 2, got 7", {"labels": LABELS.int() + 7}, POOL, fake_knows=False),
]
CALLS = [pytest.param(op, case, id=f"{op}: {case}") for case in CASES for op in case.ops]


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_kernel(op: str, case: Case) -> None:
    with pytest.raises(RuntimeError) as caught:
        getattr(torch.ops.vtcd, op)(**(GOOD[op] | case.arguments))
    assert str(caught.value).splitlines()[0] == f"{op}: {case.message}"


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_function(op: str, case: Case) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(vtcd_ops.ops, op)(**(GOOD[op] | case.arguments))
    assert str(caught.value) == f"{op}: {case.message}"


@pytest.mark.parametrize(
    ("op", "case"),
    [call for call in CALLS if call.values[1].fake_knows],  # type: ignore[union-attr]
)
def test_fake(op: str, case: Case) -> None:
    with FakeTensorMode() as mode:
        arguments = {
            name: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
            for name, value in (GOOD[op] | case.arguments).items()
        }
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(torch.ops.vtcd, op)(**arguments)
    assert str(caught.value).splitlines()[0] == f"{op}: {case.message}"


@pytest.mark.parametrize("grid", [[], [2], [2, 4], [2, 4, 4, 1], [2, 0, 4], [2, -4, 4]], ids=str)
def test_grid_of_the_backward_kernel(grid: list[int]) -> None:
    means, counts = torch.ops.vtcd.tubelet_pool(FEATURES, LABELS, 3)
    with pytest.raises(RuntimeError) as caught:
        torch.ops.vtcd._tubelet_pool_backward(means, LABELS, counts, grid, "trilinear")
    assert str(caught.value).splitlines()[0] == (
        f"_tubelet_pool_backward: grid expected positive numbers (t, h, w), got {grid}"
    )


@pytest.mark.parametrize("op", BOTH)
def test_the_good_calls_are_good(op: str) -> None:
    getattr(vtcd_ops.ops, op)(**GOOD[op])


def test_labels_on_another_device() -> None:
    with pytest.raises(ValueError, match="tubelet_pool: labels expected on cpu, got meta"):
        vtcd_ops.ops.tubelet_pool(FEATURES, LABELS.to("meta"), 3)


def test_channels_last_is_warned_of() -> None:
    features, size = torch.zeros(1, 4, 7, 7, 64), (8, 28, 28)
    said = r"have \(7, 7, 64\) tokens for \(8, 28, 28\) voxels.*channels last"
    with pytest.warns(UserWarning, match=f"slic3d: .*{said}") as warned:
        vtcd_ops.ops.slic3d(features, size)
    assert warned[0].filename == __file__
    labels = torch.zeros(1, *size, dtype=torch.int32)
    with pytest.warns(UserWarning, match=f"tubelet_pool: .*{said}"):
        vtcd_ops.ops.tubelet_pool(features, labels, 1)


@pytest.mark.filterwarnings("error")
def test_fewer_voxels_along_all_axes_are_not_warned_of() -> None:
    vtcd_ops.ops.slic3d(torch.zeros(1, 2, 7, 7, 7), (4, 7, 3))
