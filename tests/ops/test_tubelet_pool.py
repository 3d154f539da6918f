"""tubelet_pool against the interpolated volume itself."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from ops.volumes import noise, to_volume
from torch import Tensor

from vtcd_ops.ops import reference, slic3d, tubelet_pool

pytestmark = pytest.mark.filterwarnings("ignore:.*channels last:UserWarning")


def direct(features: Tensor, labels: Tensor, count: int, interpolation: str) -> Tensor:
    """Means over the interpolated volume by torch, [B, S, C]; differentiable."""
    means = []
    for volume, label in zip(features, labels, strict=True):
        values = to_volume(volume, tuple(label.shape), interpolation)
        rows = [values[:, label == s] for s in range(count)]
        zero = torch.zeros(len(values), dtype=values.dtype)
        means.append(torch.stack([row.mean(1) if row.numel() else zero for row in rows]))
    return torch.stack(means)


def random_labels(size: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    return torch.randint(-1, count, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("interpolation", ["trilinear", "nearest"])
@pytest.mark.parametrize(
    ("grid", "size"),
    [
        ((8, 14, 14), (16, 56, 56)),
        ((3, 5, 7), (7, 33, 41)),
        ((2, 3, 4), (2, 3, 4)),
        ((8, 9, 9), (3, 4, 5)),
        ((1, 1, 1), (4, 5, 40)),
        ((1, 6, 6), (1, 20, 1)),
    ],
)
@pytest.mark.parametrize("labels_dtype", [torch.int32, torch.int64])
def test_same_as_the_volume(
    grid: tuple[int, int, int],
    size: tuple[int, int, int],
    interpolation: str,
    labels_dtype: torch.dtype,
) -> None:
    features = torch.stack([noise(5, grid, seed).double() for seed in (0, 1)])
    labels = random_labels((2, *size), 7).to(labels_dtype)
    means, counts = tubelet_pool(features, labels, 9, interpolation)
    torch.testing.assert_close(means, direct(features, labels, 9, interpolation))
    assert counts.tolist() == [[int((label == s).sum()) for s in range(9)] for label in labels]
    assert not means[:, 7:].any()  # labels that do not occur


def test_same_as_definition() -> None:
    features, size = noise(6, (4, 7, 5)), (7, 20, 30)
    labels = slic3d(features[None], size)
    means, counts = tubelet_pool(features[None].double(), labels, 12)
    expected = reference.tubelet_pool(features.numpy(), labels[0].numpy(), 12)
    np.testing.assert_allclose(means[0].numpy(), expected[0], atol=1e-12)
    assert counts[0].tolist() == expected[1].tolist()


def test_more_labels_than_are_held_at_once() -> None:
    features = noise(3, (2, 4, 5)).double()[None]
    labels = torch.arange(4 * 9 * 10).reshape(1, 4, 9, 10) - 1
    means, counts = tubelet_pool(features, labels, 360)
    volume = to_volume(features[0], (4, 9, 10), "trilinear").flatten(1)
    torch.testing.assert_close(means[0, :359], volume[:, 1:].T)
    assert counts[0].tolist() == [1] * 359 + [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_of_the_features_comes_back(dtype: torch.dtype) -> None:
    features = noise(6, (4, 7, 5))[None].to(dtype)
    labels = random_labels((1, 8, 20, 30), 5)
    means, _ = tubelet_pool(features, labels, 5)
    assert means.dtype == dtype
    expected = direct(features, labels, 5, "trilinear").to(dtype)
    torch.testing.assert_close(means, expected)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("count", [1, 7, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_voxels_that_are_tokens(value: float, count: int, dtype: torch.dtype) -> None:
    """Their means need no weights, and are those of a volume with unlabelled voxels between."""
    features = noise(3, (2, 9, 13), 1).to(dtype)[None]
    features[0, 1, 1, 4, 6] = value
    labels = random_labels((1, 2, 9, 13), count, 2)
    spread = torch.full((1, 3, 17, 25), -1)
    spread[:, ::2, ::2, ::2] = labels
    gradients, found = [], []
    for volume in (labels, spread):
        learnt = features.clone().requires_grad_()
        means, counts = tubelet_pool(learnt, volume, count)
        weight = torch.arange(means.numel(), dtype=dtype).reshape(means.shape)
        gradients.append(torch.autograd.grad((means * weight).sum(), learnt)[0])
        found.append((means.detach(), counts))
    for direct_one, interpolated in zip(*found, strict=True):
        torch.testing.assert_close(direct_one, interpolated, atol=0, rtol=0, equal_nan=True)
    torch.testing.assert_close(*gradients, atol=0, rtol=0)
    for s in labels[labels >= 0].unique().tolist():
        expected = features[0][:, labels[0] == s].double().mean(1).to(dtype)
        torch.testing.assert_close(found[0][0][0, s], expected, equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_nan_and_infinity_reach_the_tubelets_that_use_them(
    value: float, dtype: torch.dtype
) -> None:
    """As in a mean of the volume; a voxel on a token has weight 0 on the others."""
    tokens = torch.tensor([1.0, 1.0, 1.0, 1.0, value]).to(dtype).reshape(1, 1, 1, 1, 5)
    features = torch.cat([tokens, torch.ones_like(tokens)], dim=1)
    for labels, expected in (
        ([0, 0, 0, 0, 1], [[1, 1], [value, 1]]),
        ([0, 0, 0, 0, -1], [[1, 1], [0, 0]]),
        ([0, 1, 1, 1, 0], [[value, 1], [1, 1]]),
    ):
        means, _ = tubelet_pool(features, torch.tensor(labels).reshape(1, 1, 1, 5), 2)
        torch.testing.assert_close(
            means[0], torch.tensor(expected).to(dtype), equal_nan=True, atol=0, rtol=0
        )
    between = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 2]).reshape(1, 1, 1, 9)  # 7 is half of each
    means, _ = tubelet_pool(features, between, 3)
    expected_between = torch.tensor([1, value, value]).to(dtype)
    torch.testing.assert_close(means[0, :, 0], expected_between, equal_nan=True, atol=0, rtol=0)


def test_nan_gradients_reach_the_tokens_that_are_used() -> None:
    features = torch.ones(1, 1, 1, 1, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1]).reshape(1, 1, 1, 5)
    means, _ = tubelet_pool(features, labels, 2)
    weight = torch.tensor([[[float("nan")], [3.0]]], dtype=torch.float64)
    (found,) = torch.autograd.grad((means * weight).sum(), features)
    assert found.flatten()[:3].isnan().all()
    assert found.flatten()[3:].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("exponent", [-1074, -1022, -900, 0, 900, 1023])
def test_means_and_gradients_at_any_scale(exponent: int) -> None:
    """Powers of 2 change no digit while the numbers are within the range."""
    scale = 2.0**exponent
    features = torch.randint(0, 2, (1, 3, 2, 4, 4), dtype=torch.float64) * scale
    labels = random_labels((1, 4, 8, 8), 5)
    means, _ = tubelet_pool(features.requires_grad_(), labels, 5)
    volume = torch.stack([to_volume(f, (4, 8, 8), "trilinear") for f in features / scale])
    expected = torch.stack([volume[0][:, labels[0] == s].mean(1) for s in range(5)])
    # a denormal mean has as many digits as are left
    torch.testing.assert_close(means[0], expected * scale, rtol=1e-12, atol=2.0**-1074)
    ones = torch.ones_like(means)
    (of_ones,) = torch.autograd.grad(means, features, ones, retain_graph=True)
    (found,) = torch.autograd.grad(means, features, ones * scale)
    torch.testing.assert_close(found, of_ones * scale, rtol=1e-12, atol=2.0**-1070)


@given(
    grid=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 40)),
    count=st.integers(1, 70),
    interpolation=st.sampled_from(["trilinear", "nearest"]),
    seed=st.integers(0, 9999),
)
def test_weights_of_all_labels_add_up(
    grid: tuple[int, int, int],
    size: tuple[int, int, int],
    count: int,
    interpolation: str,
    seed: int,
) -> None:
    """Interpolation weights of a voxel add up to 1: a constant is its own mean, and the sums over
    all labels are the sum over the volume."""
    features = torch.stack([torch.full(grid, 2.5).double(), noise(1, grid, seed)[0].double()])
    labels = random_labels((1, *size), count, seed).clamp(min=0)
    means, counts = tubelet_pool(features[None], labels, count, interpolation)
    assert int(counts.sum()) == labels.numel()
    occurs = counts[0] > 0
    torch.testing.assert_close(means[0, occurs, 0], torch.full_like(means[0, occurs, 0], 2.5))
    total = (means[0, :, 1] * counts[0]).sum()
    volume = to_volume(features[1:], size, interpolation)
    torch.testing.assert_close(total, volume.sum(), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("interpolation", ["trilinear", "nearest"])
def test_gradients(interpolation: str) -> None:
    features = torch.stack([noise(3, (2, 3, 4), s).double() for s in (0, 1)]).requires_grad_()
    labels = random_labels((2, 4, 5, 7), 4)

    def means(values: Tensor) -> Tensor:
        return tubelet_pool(values, labels, 6, interpolation)[0]

    assert torch.autograd.gradcheck(means, features)
    assert torch.autograd.gradgradcheck(means, features)
    (found,) = torch.autograd.grad(means(features).square().sum(), features)
    expected_means = direct(features, labels, 6, interpolation)
    (expected,) = torch.autograd.grad(expected_means.square().sum(), features)
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("num_threads")
def test_threads_and_batch_do_not_matter() -> None:
    features = torch.stack([noise(40, (4, 7, 9), seed) for seed in range(3)])
    labels = random_labels((3, 8, 30, 40), 70)
    torch.set_num_threads(1)
    expected = tubelet_pool(features, labels, 70)[0]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert torch.equal(tubelet_pool(features, labels, 70)[0], expected)
        for b in range(3):
            alone = tubelet_pool(features[b : b + 1], labels[b : b + 1], 70)[0]
            assert torch.equal(alone[0], expected[b])


def test_layout_and_empty_inputs() -> None:
    features, labels = noise(4, (3, 5, 5))[None], random_labels((1, 6, 20, 20), 5)
    expected = tubelet_pool(features, labels, 5)
    strided = features.movedim(1, -1).contiguous().movedim(-1, 1)
    found = tubelet_pool(strided, labels.mT.contiguous().mT, 5)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    means, counts = tubelet_pool(features[:0], labels[:0], 5)
    assert means.shape == (0, 5, 4)
    assert counts.shape == (0, 5)
    means, counts = tubelet_pool(features, torch.full_like(labels, -1), 0)
    assert means.shape == (1, 0, 4)
    assert counts.shape == (1, 0)


def test_opcheck() -> None:
    features = noise(3, (2, 3, 4)).double()[None].requires_grad_()
    labels = random_labels((1, 4, 5, 7), 4)
    torch.library.opcheck(torch.ops.vtcd.tubelet_pool.default, (features, labels, 5))
    means, counts = torch.ops.vtcd.tubelet_pool(features, labels.int(), 5, "nearest")
    torch.library.opcheck(
        torch.ops.vtcd._tubelet_pool_backward.default,
        (means.detach().requires_grad_(), labels.int(), counts, [2, 3, 4], "nearest"),
    )


def test_compiled_gradient() -> None:
    features = noise(3, (2, 3, 4))[None].requires_grad_()
    labels = random_labels((1, 4, 5, 7), 4)

    def loss(values: Tensor) -> Tensor:
        return torch.ops.vtcd.tubelet_pool(values, labels, 4)[0].square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(features), features)
    (expected,) = torch.autograd.grad(loss(features), features)
    torch.testing.assert_close(found, expected)
