"""kmeans on a GPU: the CPU's bits, the CPU's words."""

from __future__ import annotations

import math

import pytest
import torch
from ops.cuda import expect_same_words, to_device
from ops.ragged import batch, blobs, planted

import vtcd_ops

NAMES = ("labels", "centers", "inertia", "num_iter")


def _expect_same_bits(
    device: torch.device, data: torch.Tensor, offsets: torch.Tensor, k: list[int], **options: float
) -> None:
    arguments = (data, offsets, torch.tensor(k))
    expected = torch.ops.vtcd.kmeans(*arguments, **options)
    found = torch.ops.vtcd.kmeans(*(to_device(tensor, device) for tensor in arguments), **options)
    for name, one, other in zip(NAMES, found, expected, strict=True):
        assert one.device.type == "cuda"
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_channels", [1, 7, 64, 100])
def test_equals_the_cpu(cuda_device: torch.device, num_channels: int, dtype: torch.dtype) -> None:
    sizes = (1, 32, 333, 2, 129, 360)
    data, offsets = batch(*(planted(n, num_channels, 4, seed=n) for n in sizes))
    _expect_same_bits(cuda_device, data.to(dtype), offsets, [1, 5, 8, 2, 1, 6])


def test_the_tubelets_of_a_model(cuda_device: torch.device) -> None:
    """144 heads."""
    data, offsets = batch(*(planted(360, 64, 6, seed=n) for n in range(144)))
    _expect_same_bits(cuda_device, data.float(), offsets, [6] * 144)
    _expect_same_bits(cuda_device, torch.randn(144 * 360, 64), offsets, [6] * 144, seed=5)


@pytest.mark.parametrize(
    ("num_rows", "num_channels", "k"),
    [(20_000, 16, 5), (3000, 64, 12), (400, 64, 100), (64, 3000, 9), (500, 2, 300)],
)
def test_more_than_a_multiprocessor_has_memory_for(
    cuda_device: torch.device, num_rows: int, num_channels: int, k: int
) -> None:
    data, offsets = batch(planted(num_rows, num_channels, 8, seed=0), blobs(9, num_channels, 2, 1))
    _expect_same_bits(cuda_device, data, offsets, [k, 2], num_restarts=2, max_num_iter=15)


@pytest.mark.parametrize("options", [{"tol": 0.0}, {"max_num_iter": 1}, {"num_restarts": 40}])
def test_options(cuda_device: torch.device, options: dict[str, float]) -> None:
    data, offsets = batch(blobs(150, 8, 6, seed=0, noise=2.0))
    _expect_same_bits(cuda_device, data, offsets, [7], **options)


def test_equal_points(cuda_device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    coarse = torch.randint(-2, 3, (200, 3), generator=random).double()
    heaps = torch.arange(200).remainder(5)[:, None] * 10.0 + 1e-3 * coarse
    few = coarse[:4].repeat(30, 1)
    zeros = torch.where(torch.rand(50, 3, generator=random) > 0.5, 0.0, -0.0).double()
    data, offsets = batch(*(tensor.numpy() for tensor in (coarse, heaps, few, zeros)))
    for seed in range(5):
        _expect_same_bits(cuda_device, data, offsets, [9, 40, 7, 2], seed=seed)


@pytest.mark.parametrize("seed", [10755, 12068])
def test_a_cluster_that_becomes_empty(cuda_device: torch.device, seed: int) -> None:
    """With these seeds the points of the middle cluster go to its neighbours."""
    points = [-3.1, *4 * [-1.1], -1, -1, 1, *4 * [2.1], 3.1]
    data, offsets = torch.tensor(points).double()[:, None], torch.tensor([0, len(points)])
    for rounds in (1, 2, 300):
        options: dict[str, float] = {"num_restarts": 1, "max_num_iter": rounds, "seed": seed}
        _expect_same_bits(cuda_device, data, offsets, [3], tol=0.0, **options)


@pytest.mark.parametrize("scale", [1e-320, 1e-170, 1e-100, 1e100])
def test_extreme_numbers(cuda_device: torch.device, scale: float) -> None:
    data, offsets = batch(blobs(200, 12, 5, seed=0) / 20, blobs(50, 12, 3, seed=1) / 20)
    data *= scale
    data[0] = 1.0 if scale < 1 else scale
    if scale == 1e-320:  # squares that vanish: an inertia of 0 would say something else
        data[0] = 0.0
        with pytest.raises(RuntimeError):
            torch.ops.vtcd.kmeans(data, offsets, torch.tensor([4, 3]))
        expect_same_words(cuda_device, "kmeans", data, offsets, torch.tensor([4, 3]))
        return
    if scale == 1e-170:  # the second problem alone is out of reach
        expect_same_words(cuda_device, "kmeans", data, offsets, torch.tensor([4, 3]))
        data, offsets = data[:200], offsets[:2]
        _expect_same_bits(cuda_device, data, offsets, [4])
        return
    _expect_same_bits(cuda_device, data, offsets, [4, 3])


def test_same_bits_again_and_alone_and_from_any_layout(cuda_device: torch.device) -> None:
    data, offsets = batch(*(planted(n, 64, 4, seed=n) for n in (70, 360, 129)))
    data, k = data.to(cuda_device), torch.tensor([3, 6, 5])
    together = torch.ops.vtcd.kmeans(data, offsets, k)
    columns = data.t().contiguous().t()
    again = torch.ops.vtcd.kmeans(columns, offsets.to(cuda_device), k.to(cuda_device))
    assert all(torch.equal(one, other) for one, other in zip(again, together, strict=True))
    alone = vtcd_ops.kmeans(data[70:430], 6)
    assert torch.equal(alone.labels, together[0][70:430])
    assert torch.equal(alone.centers, together[1][1])
    assert torch.equal(alone.inertia, together[2][1])


def test_empty(cuda_device: torch.device) -> None:
    data = torch.zeros(0, 5, device=cuda_device)
    k = torch.zeros(0, dtype=torch.int64)
    outputs = torch.ops.vtcd.kmeans(data, torch.tensor([0]), k)
    assert [list(output.shape) for output in outputs] == [[0], [0, 0, 5], [0], [0]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_told_first(cuda_device: torch.device, value: float) -> None:
    data, offsets = batch(blobs(4, 3, 2, seed=0), blobs(4, 3, 2, seed=1))
    data[6, 1] = value
    for k in ([2, 2], [2, 5], [2], [0, 9]):
        expect_same_words(cuda_device, "kmeans", data, offsets, torch.tensor(k))
    k = torch.tensor([2, 2])
    expect_same_words(cuda_device, "kmeans", data, offsets, k, num_restarts=0)


def test_wrong_arguments(cuda_device: torch.device) -> None:
    data, offsets = batch(blobs(4, 3, 2, seed=0), blobs(4, 3, 2, seed=1))
    for k in ([2, 5], [0, 2], [2], [2, 2, 2]):
        expect_same_words(cuda_device, "kmeans", data, offsets, torch.tensor(k))
    k = torch.tensor([2, 2])
    wrong_options: list[dict[str, float]] = [
        {"num_restarts": 0}, {"max_num_iter": 0}, {"tol": -1.0}, {"tol": math.inf},
    ]  # fmt: skip
    for wrong in wrong_options:
        expect_same_words(cuda_device, "kmeans", data, offsets, k, **wrong)
    for wrong_offsets in ([1, 4, 8], [0, 5, 3], [0, 4, 9]):
        expect_same_words(cuda_device, "kmeans", data, torch.tensor(wrong_offsets), k)


def test_an_inertia_that_float32_cannot_hold(cuda_device: torch.device) -> None:
    data, offsets = batch(blobs(30, 3, 2, seed=0), blobs(30, 3, 2, seed=1), blobs(9, 3, 2, seed=2))
    for scale in (1e25, 1e-30):
        scaled = data.clone()
        scaled[30:] *= scale
        expect_same_words(cuda_device, "kmeans", scaled.float(), offsets, torch.tensor([2, 2, 2]))


def test_opcheck(cuda_device: torch.device) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    torch.library.opcheck(
        torch.ops.vtcd.kmeans.default,
        (data.to(cuda_device), offsets, torch.tensor([2, 4])),
        {"num_restarts": 2},
    )
