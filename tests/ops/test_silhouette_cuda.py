"""silhouette on a GPU: the CPU's coefficients but for rounding, the CPU's words.

The products behind the distances are summed in another order than on the CPU; of a squared distance
at most three digits of the sixteen are lost.
"""

import pytest
import torch
from ops.cuda import expect_same_words, to_device
from ops.ragged import batch, blobs, planted

import vtcd_ops

TOLERANCE = {torch.float32: 2e-7, torch.float64: 1e-11}


def _expect_close(device: torch.device, data: torch.Tensor, *rest: torch.Tensor) -> None:
    expected = torch.ops.vtcd.silhouette(data, *rest)
    found = torch.ops.vtcd.silhouette(*(to_device(tensor, device) for tensor in (data, *rest)))
    assert found.device.type == "cuda"
    assert found.dtype == data.dtype
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=TOLERANCE[data.dtype])


@pytest.mark.parametrize("labels_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_channels", [1, 7, 64, 100])
def test_equals_the_cpu(
    cuda_device: torch.device, num_channels: int, dtype: torch.dtype, labels_dtype: torch.dtype
) -> None:
    sizes = (1, 64, 333, 2, 65, 1000)
    data, offsets = batch(*(planted(n, num_channels, 4, seed=n) for n in sizes))
    labels = 3 * torch.randint(5, (len(data),), dtype=labels_dtype)
    _expect_close(cuda_device, data.to(dtype), offsets, labels)


@pytest.mark.parametrize("scale", [1e-320, 1e-150, 1e150, 1e308])
def test_extreme_numbers(cuda_device: torch.device, scale: float) -> None:
    data, offsets = batch(blobs(200, 12, 5, seed=0) / 20 * scale)
    _expect_close(cuda_device, data, offsets, torch.arange(200) % 5)


def test_far_from_the_origin_with_equal_and_with_close_points(cuda_device: torch.device) -> None:
    data, offsets = batch(blobs(300, 8, 3, seed=0))
    data[50:100] = data[0]
    data[100:150] = data[1] + 1e-9 * data[100:150]
    _expect_close(cuda_device, data + 1e4, offsets, torch.arange(300) % 4)


def test_every_point_alone_and_one_cluster(cuda_device: torch.device) -> None:
    data, offsets = batch(blobs(100, 8, 3, seed=0), blobs(100, 8, 3, seed=1))
    labels = torch.cat([torch.arange(100), torch.zeros(100, dtype=torch.int64)])
    found = torch.ops.vtcd.silhouette(*(t.to(cuda_device) for t in (data, offsets, labels)))
    assert not found.any()


def test_same_bits_again_and_alone_and_from_any_layout(cuda_device: torch.device) -> None:
    data, offsets = batch(*(planted(n, 64, 4, seed=n) for n in (70, 360, 129)))
    data, labels = data.to(cuda_device), torch.randint(6, (559,), device=cuda_device)
    together = torch.ops.vtcd.silhouette(data, offsets, labels)
    assert torch.equal(torch.ops.vtcd.silhouette(data, offsets.to(cuda_device), labels), together)
    columns = data.t().contiguous().t()
    assert torch.equal(torch.ops.vtcd.silhouette(columns, offsets, labels), together)
    alone = vtcd_ops.silhouette(data[70:430], labels[70:430])
    assert torch.equal(alone, together[70:430])


def test_empty(cuda_device: torch.device) -> None:
    labels = torch.zeros(0, dtype=torch.int64, device=cuda_device)
    found = torch.ops.vtcd.silhouette(
        torch.zeros(0, 5, device=cuda_device), torch.tensor([0]), labels
    )
    assert found.shape == (0,)


@pytest.mark.parametrize("wrong", [{5: -1}, {3: -(2**31), 6: -1}, {0: -7, 1: -8}])
def test_a_negative_label(cuda_device: torch.device, wrong: dict[int, int]) -> None:
    data, offsets = batch(blobs(4, 3, 2, seed=0), blobs(4, 3, 2, seed=1))
    labels = torch.arange(8)
    for row, label in wrong.items():
        labels[row] = label
    expect_same_words(cuda_device, "silhouette", data, offsets, labels)
    expect_same_words(cuda_device, "silhouette", data, offsets, labels.int())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_told_first(cuda_device: torch.device, value: float) -> None:
    data, offsets = batch(blobs(4, 3, 2, seed=0), blobs(4, 3, 2, seed=1))
    data[6, 1] = value
    expect_same_words(cuda_device, "silhouette", data, offsets, torch.arange(8))
    expect_same_words(cuda_device, "silhouette", data, offsets, torch.arange(8) - 1)
    expect_same_words(cuda_device, "silhouette", data, offsets, torch.arange(7))


def test_wrong_offsets(cuda_device: torch.device) -> None:
    data = torch.rand(8, 3)
    for offsets in ([1, 8], [0, 5, 3], [0, 9]):
        expect_same_words(
            cuda_device, "silhouette", data, torch.tensor(offsets), torch.zeros(8).int()
        )


def test_labels_on_another_device(cuda_device: torch.device) -> None:
    data, offsets = batch(blobs(4, 3, 2, seed=0))
    with pytest.raises(RuntimeError, match="silhouette: labels expected on cuda:0, got cpu"):
        torch.ops.vtcd.silhouette(data.to(cuda_device), offsets, torch.arange(4))


def test_opcheck(cuda_device: torch.device) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    labels = torch.arange(29, device=cuda_device) % 3
    torch.library.opcheck(
        torch.ops.vtcd.silhouette.default, (data.to(cuda_device), offsets, labels)
    )
