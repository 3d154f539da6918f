"""tubelet_pool and its derivative on a GPU: the CPU's bits, the CPU's words."""

import pytest
import torch
from ops.cuda import expect_same_words, to_device

FLOATING = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
CASES = [
    # batch, channels, grid, size, tubelets, interpolation
    (1, 1, (1, 1, 1), (1, 1, 1), 1, "trilinear"),
    (2, 3, (2, 3, 3), (4, 7, 20), 5, "trilinear"),
    (2, 33, (3, 2, 5), (5, 11, 9), 17, "nearest"),
    (3, 64, (8, 14, 14), (16, 112, 112), 12, "trilinear"),
    (1, 40, (4, 20, 17), (9, 83, 70), 150, "trilinear"),
    (1, 5, (1, 1, 4), (2, 3, 161), 2, "trilinear"),
]


def _labels(case: tuple) -> torch.Tensor:
    """Return blobs of labels, a tenth of the voxels with any other one, -1 among them."""
    batch, _, _, size, tubelets, _ = case
    z, y, x = torch.meshgrid(*(torch.arange(length) for length in size), indexing="ij")
    blobs = (x // 5 + 3 * (y // 4) + 7 * (z // 2)) % (tubelets + 1)
    other = torch.randint(0, tubelets + 1, (batch, *size))
    return torch.where(torch.rand(batch, *size) < 0.1, other, blobs.expand(batch, *size)) - 1


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu(
    cuda_device: torch.device, case: tuple, dtype: torch.dtype, wide: bool
) -> None:
    batch, channels, grid, _, tubelets, interpolation = case
    features = torch.randn(batch, channels, *grid).to(dtype)
    labels = _labels(case) if wide else _labels(case).int()
    means, counts = torch.ops.vtcd.tubelet_pool(features, labels, tubelets, interpolation)
    on_device = features.to(cuda_device), labels.to(cuda_device)
    found, found_counts = torch.ops.vtcd.tubelet_pool(*on_device, tubelets, interpolation)
    assert torch.equal(found_counts.cpu(), counts)
    assert found.dtype == dtype
    assert torch.equal(found.cpu(), means)


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("case", CASES)
def test_derivative_equals_that_of_the_cpu(
    cuda_device: torch.device, case: tuple, dtype: torch.dtype
) -> None:
    batch, channels, grid, _, tubelets, interpolation = case
    labels = _labels(case)
    counts = torch.ops.vtcd.tubelet_pool(
        torch.zeros(batch, 1, *grid), labels, tubelets, interpolation
    )[1]
    grad = torch.randn(batch, tubelets, channels).to(dtype)
    arguments = (grad, labels, counts, grid, interpolation)
    expected = torch.ops.vtcd._tubelet_pool_backward(*arguments)
    found = torch.ops.vtcd._tubelet_pool_backward(*(to_device(a, cuda_device) for a in arguments))
    assert found.dtype == dtype
    assert torch.equal(found.cpu(), expected)


def test_not_contiguous(cuda_device: torch.device) -> None:
    features = torch.randn(3, 2, 4, 3, 6).movedim(0, 1)
    labels = torch.randint(-1, 4, (7, 11, 2, 5)).movedim(2, 0)
    expected = torch.ops.vtcd.tubelet_pool(features, labels, 4)
    found = torch.ops.vtcd.tubelet_pool(features.to(cuda_device), labels.to(cuda_device), 4)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))


def test_what_is_not_finite_stays_with_its_tubelets(cuda_device: torch.device) -> None:
    case = (1, 6, (2, 3, 3), (4, 7, 20), 5, "trilinear")
    features, labels = torch.randn(1, 6, 2, 3, 3), _labels(case)
    features[0, 0, 0, 0, 0], features[0, 1, 1, 2, 2] = float("nan"), float("inf")
    features[0, 2] = torch.finfo(torch.float32).max
    means, _ = torch.ops.vtcd.tubelet_pool(features, labels, 5)
    found, _ = torch.ops.vtcd.tubelet_pool(features.to(cuda_device), labels.to(cuda_device), 5)
    torch.testing.assert_close(found.cpu(), means, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("batch", "tubelets"), [(0, 3), (2, 0)])
def test_empty(cuda_device: torch.device, batch: int, tubelets: int) -> None:
    features = torch.ones(batch, 3, 2, 2, 2, device=cuda_device, requires_grad=True)
    labels = torch.full((batch, 2, 4, 4), -1, device=cuda_device)
    means, counts = torch.ops.vtcd.tubelet_pool(features, labels, tubelets)
    assert means.shape == (batch, tubelets, 3)
    assert counts.shape == (batch, tubelets)
    (grad,) = torch.autograd.grad(means.sum(), features)
    assert torch.equal(grad, torch.zeros_like(features))


def test_does_not_depend_on_the_batch(cuda_device: torch.device) -> None:
    case = CASES[3]
    features = torch.randn(3, 64, *case[2], device=cuda_device)
    labels = _labels(case).to(cuda_device)
    means, counts = torch.ops.vtcd.tubelet_pool(features, labels, 12)
    again, _ = torch.ops.vtcd.tubelet_pool(features, labels, 12)
    assert torch.equal(means, again)
    for b in range(3):
        one, count = torch.ops.vtcd.tubelet_pool(features[b : b + 1], labels[b : b + 1], 12)
        assert torch.equal(one, means[b : b + 1])
        assert torch.equal(count, counts[b : b + 1])


@pytest.mark.parametrize("label", [5, -2, 2**62, -(2**63), 2**63 - 1])
def test_a_label_outside_is_told_in_the_words_of_the_cpu(
    cuda_device: torch.device, label: int
) -> None:
    case = CASES[1]
    features, labels = torch.randn(2, 3, 2, 3, 3), _labels(case)
    labels[1, 3, 6, 19] = label
    expect_same_words(cuda_device, "tubelet_pool", features, labels, 5)
    grad, counts = torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.int64)
    expect_same_words(
        cuda_device, "_tubelet_pool_backward", grad, labels, counts, [2, 3, 3], "trilinear"
    )


def test_wrong_shapes_are_told_in_the_words_of_the_cpu(cuda_device: torch.device) -> None:
    features, labels = torch.randn(2, 3, 2, 3, 3), _labels(CASES[1])
    op = "tubelet_pool"
    expect_same_words(cuda_device, op, features[0], labels, 5)
    expect_same_words(cuda_device, op, features, labels[:1], 5)
    expect_same_words(cuda_device, op, features, labels.float(), 5)
    expect_same_words(cuda_device, op, features, labels, -1)
    expect_same_words(cuda_device, op, features, labels, 5, "cubic")
    with pytest.raises(RuntimeError, match="tubelet_pool: labels expected on cuda:0, got cpu"):
        torch.ops.vtcd.tubelet_pool(features.to(cuda_device), labels, 5)


def test_is_recorded_into_a_graph(cuda_device: torch.device) -> None:
    features = torch.randn(2, 3, 2, 3, 3, device=cuda_device)
    labels = _labels(CASES[1]).to(cuda_device)
    torch.ops.vtcd.tubelet_pool(features, labels, 5)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        means, counts = torch.ops.vtcd.tubelet_pool(features, labels, 5)
    features.copy_(torch.randn_like(features))
    labels.copy_(labels.flip(3))
    graph.replay()
    expected = torch.ops.vtcd.tubelet_pool(features, labels, 5)
    assert torch.equal(means, expected[0])
    assert torch.equal(counts, expected[1])


def test_gradcheck(cuda_device: torch.device) -> None:
    features = torch.randn(2, 2, 2, 3, 3, dtype=torch.float64, device=cuda_device)
    labels = _labels(CASES[1]).to(cuda_device)

    def means(tokens: torch.Tensor) -> torch.Tensor:
        return torch.ops.vtcd.tubelet_pool(tokens, labels, 5)[0]

    inputs = features.requires_grad_()
    assert torch.autograd.gradcheck(means, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(means, inputs)


def test_opcheck(cuda_device: torch.device) -> None:
    features = torch.randn(2, 3, 2, 3, 3, device=cuda_device, requires_grad=True)
    labels = _labels(CASES[1]).to(cuda_device)
    torch.library.opcheck(torch.ops.vtcd.tubelet_pool.default, (features, labels, 5))
    counts = torch.ones(2, 5, dtype=torch.int64, device=cuda_device)
    grad = torch.randn(2, 5, 3, device=cuda_device)
    torch.library.opcheck(
        torch.ops.vtcd._tubelet_pool_backward.default,
        (grad, labels, counts, [2, 3, 3], "trilinear"),
    )
