"""concept_mask and its derivatives on a GPU: the CPU's bits, the CPU's words."""

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


FLOATING = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("keep_dtype", FLOATING)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("case", [*CASES, (1, 2, 2500, 8, 0, 5000, False)])
def test_derivatives_equal_those_of_the_cpu(
    cuda_device: torch.device, case: tuple[int, ...], dtype: torch.dtype, keep_dtype: torch.dtype
) -> None:
    x, assign = _arguments(case, dtype)
    grad = torch.randn(x.shape).to(dtype).transpose(1, 2).contiguous().transpose(1, 2)
    arguments = (grad, x, assign, torch.randn(case[0], case[5]).to(keep_dtype))
    expected = torch.ops.vtcd._concept_mask_backward(*arguments, case[4])
    on_device = [tensor.to(cuda_device) for tensor in arguments]
    found = torch.ops.vtcd._concept_mask_backward(*on_device, case[4])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.stride() == theirs.stride()
        assert torch.equal(ours.cpu(), theirs)


def test_a_gradient_of_another_dtype(cuda_device: torch.device) -> None:
    x, assign = _arguments((2, 3, 5, 7, 1, 4, False), torch.float16)
    arguments = (torch.randn(x.shape), x, assign, torch.randn(2, 4))
    expected = torch.ops.vtcd._concept_mask_backward(*arguments, 1)
    found = torch.ops.vtcd._concept_mask_backward(*(t.to(cuda_device) for t in arguments), 1)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))


def test_derivatives_do_not_depend_on_the_batch(cuda_device: torch.device) -> None:
    x, assign = _arguments((3, 12, 197, 64, 1, 100, False), torch.float32)
    arguments = [t.to(cuda_device) for t in (torch.randn(x.shape), x, assign, torch.randn(3, 100))]
    both = torch.ops.vtcd._concept_mask_backward(*arguments, 1)
    again = torch.ops.vtcd._concept_mask_backward(*arguments, 1)
    for b in range(3):
        single = torch.ops.vtcd._concept_mask_backward(*(t[b : b + 1] for t in arguments), 1)
        for whole, repeated, part in zip(both, again, single, strict=True):
            assert torch.equal(whole, repeated)
            assert torch.equal(whole[b : b + 1], part)


@pytest.mark.parametrize("unit", [4, -2])
def test_derivatives_refuse_in_the_words_of_the_cpu(cuda_device: torch.device, unit: int) -> None:
    x, assign = _arguments((2, 3, 5, 7, 0, 4, False), torch.float32)
    keep, op = torch.rand(2, 4), "_concept_mask_backward"
    expect_same_words(cuda_device, op, x[..., :5], x, assign, keep, 0)
    expect_same_words(cuda_device, op, x, x, assign, keep > 0.5, 0)
    assign[1, 2, 3] = unit
    expect_same_words(cuda_device, op, x, x, assign, keep, 0)


def test_derivatives_of_nothing(cuda_device: torch.device) -> None:
    x = torch.empty(2, 3, 0, 4, device=cuda_device)
    assign = torch.empty(1, 3, 0, dtype=torch.int32, device=cuda_device)
    keep = torch.ones(2, 5, device=cuda_device)
    grad_x, grad_keep = torch.ops.vtcd._concept_mask_backward(x, x, assign, keep, 0)
    assert grad_x.shape == x.shape
    assert torch.equal(grad_keep, torch.zeros_like(keep))


def _differentiable(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    x, assign = _arguments((2, 2, 5, 3, 1, 4, False), torch.float64)
    keep = torch.randn(2, 4, dtype=torch.float64)
    return x.to(device).requires_grad_(), assign.to(device), keep.to(device).requires_grad_(), 1


def test_gradcheck(cuda_device: torch.device) -> None:
    arguments = _differentiable(cuda_device)
    assert torch.autograd.gradcheck(
        torch.ops.vtcd.concept_mask, arguments, check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(torch.ops.vtcd.concept_mask, arguments)


def test_opcheck(cuda_device: torch.device) -> None:
    x, assign, keep, prefix = _differentiable(cuda_device)
    torch.library.opcheck(torch.ops.vtcd.concept_mask.default, (x, assign, keep, prefix))
    torch.library.opcheck(torch.ops.vtcd.concept_mask.default, (x, assign, keep > 0, prefix))
    grad = torch.randn_like(x)
    torch.library.opcheck(
        torch.ops.vtcd._concept_mask_backward.default, (grad, x, assign, keep, prefix)
    )
