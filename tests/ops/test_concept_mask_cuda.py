"""concept_mask on a GPU: the CPU's bits, the CPU's words."""

import pytest
import torch
from ops.cuda import expect_same_words

CASES = [
    # batch, heads, tokens, channels, prefix tokens, units, one assignment for the batch
    (1, 1, 1, 1, 0, 1, False),
    (2, 3, 5, 7, 1, 4, False),
    (3, 12, 197, 64, 1, 100, True),
    (2, 4, 300, 16, 5, 3, False),
]


def _arguments(case: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    batch, heads, tokens, channels, prefix, units, shared = case
    x = torch.randn(batch, heads, tokens, channels).to(dtype)
    assign = torch.randint(-1, units, (1 if shared else batch, heads, tokens - prefix))
    return x, assign.to(torch.int32)


@pytest.mark.parametrize("keep_dtype", [torch.bool, torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("transposed", [False, True])
def test_equals_the_cpu(
    cuda_device: torch.device,
    case: tuple[int, ...],
    dtype: torch.dtype,
    keep_dtype: torch.dtype,
    transposed: bool,
) -> None:
    x, assign = _arguments(case, dtype)
    if transposed:
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    keep = torch.rand(case[0], case[5])
    keep = keep > 0.5 if keep_dtype == torch.bool else keep.to(keep_dtype)
    expected = torch.ops.vtcd.concept_mask(x, assign, keep, case[4])
    found = torch.ops.vtcd.concept_mask(*(t.to(cuda_device) for t in (x, assign, keep)), case[4])
    assert found.stride() == expected.stride()
    assert torch.equal(found.cpu(), expected)


def test_empty(cuda_device: torch.device) -> None:
    x = torch.empty(0, 2, 3, 4, device=cuda_device)
    assign = torch.empty(0, 2, 3, dtype=torch.int32, device=cuda_device)
    keep = torch.empty(0, 5, dtype=torch.bool, device=cuda_device)
    assert torch.ops.vtcd.concept_mask(x, assign, keep).shape == (0, 2, 3, 4)


@pytest.mark.parametrize("unit", [4, 100, -2, -(2**31), 2**31 - 1])
def test_a_unit_outside_is_told_in_the_words_of_the_cpu(
    cuda_device: torch.device, unit: int
) -> None:
    x, assign = _arguments((2, 3, 5, 7, 0, 4, False), torch.float32)
    assign[1, 2, 3] = unit
    expect_same_words(cuda_device, "concept_mask", x, assign, torch.rand(2, 4))


def test_a_tensor_on_another_device_is_refused(cuda_device: torch.device) -> None:
    x, assign = _arguments((2, 3, 5, 7, 0, 4, False), torch.float32)
    with pytest.raises(RuntimeError, match="concept_mask: assign expected on cuda:0, got cpu"):
        torch.ops.vtcd.concept_mask(x.to(cuda_device), assign, torch.rand(2, 4, device=cuda_device))


def test_is_recorded_into_a_graph(cuda_device: torch.device) -> None:
    x, assign = _arguments((2, 3, 50, 8, 0, 4, False), torch.float32)
    x, assign = x.to(cuda_device), assign.to(cuda_device)
    keep = torch.ones(2, 4, dtype=torch.bool, device=cuda_device)
    torch.ops.vtcd.concept_mask(x, assign, keep)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = torch.ops.vtcd.concept_mask(x, assign, keep)
    keep.copy_(torch.rand(2, 4, device=cuda_device) > 0.5)
    graph.replay()
    assert torch.equal(out, torch.ops.vtcd.concept_mask(x, assign, keep))
