"""concept_mask against its definition, its derivatives, and under every way to run it."""

from __future__ import annotations

import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import vtcd_ops
from vtcd_ops.ops import concept_mask, reference

UNITS = 5


def example(
    shape: tuple[int, int, int, int] = (3, 2, 7, 6),
    prefix: int = 1,
    *,
    shared: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, units of the tokens, a bool and a floating table."""
    batch, heads, tokens, _ = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator).to(dtype)
    rows = 1 if shared else batch
    size = (rows, heads, tokens - prefix)
    assign = torch.randint(-1, UNITS, size, generator=generator, dtype=torch.int32)
    table = torch.rand(batch, UNITS, generator=generator).to(dtype)
    return x, assign, torch.rand(batch, UNITS, generator=generator) > 0.5, table


def transposed(x: Tensor) -> Tensor:
    """The same numbers in the layout [B, N, A, C] that projections have."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_same_as_definition(shared: bool, prefix: int) -> None:
    x, assign, keep, table = example(prefix=prefix, shared=shared)
    for mask in (keep, table):
        expected = reference.concept_mask(x.numpy(), assign.numpy(), mask.numpy(), prefix)
        np.testing.assert_array_equal(concept_mask(x, assign, mask, prefix).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_dtypes(dtype: torch.dtype) -> None:
    x, assign, keep, table = example((2, 3, 40, 64), dtype=dtype)
    units = torch.where(assign < 0, UNITS, assign).long().flatten(1)
    for mask in (keep, table.float(), table.to(dtype)):
        padded = torch.nn.functional.pad(mask.float(), (0, 1), value=1.0)
        factor = padded.gather(1, units).reshape(2, 3, 39, 1)
        expected = torch.cat([x[:, :, :1], (x[:, :, 1:].float() * factor).to(dtype)], dim=2)
        found = concept_mask(x, assign, mask, 1)
        assert found.dtype == dtype
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_layout_is_kept(dtype: torch.dtype) -> None:
    x, assign, keep, table = example((2, 3, 40, 8), dtype=dtype)
    for mask in (keep, table):
        expected = concept_mask(x, assign, mask, 1)
        for view in (
            transposed(x),
            x.mT.contiguous().mT,  # channels far apart
            torch.stack([x, x], -1)[..., 0],
            torch.cat([x, x], -1)[..., :8],
        ):
            found = concept_mask(view, assign, mask, 1)
            assert torch.equal(found, expected)
            assert found.stride() == torch.empty_like(view).stride()
    odd = assign.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(
        concept_mask(x, odd, keep.T.contiguous().T, 1), concept_mask(x, assign, keep, 1)
    )


def test_a_bool_table_selects_and_a_floating_one_multiplies() -> None:
    x = torch.tensor([float("nan"), float("inf"), -1.0]).reshape(1, 1, 3, 1)
    assign = torch.zeros(1, 1, 3, dtype=torch.int32)
    assert concept_mask(x, assign, torch.tensor([[False]])).flatten().tolist() == [0, 0, 0]
    multiplied = concept_mask(x, assign, torch.tensor([[0.0]])).flatten()
    assert multiplied[:2].isnan().all()


@given(
    shape=st.tuples(*(st.integers(0, 4) for _ in range(4))),
    prefix=st.integers(0, 4),
    seed=st.integers(0, 999),
)
def test_invariants(shape: tuple[int, int, int, int], prefix: int, seed: int) -> None:
    """Keeping all changes nothing, masks compose, prefix and unassigned tokens stay."""
    prefix = min(prefix, shape[2])
    x, assign, keep, table = example(shape, prefix, seed=seed)
    everything = torch.ones_like(keep)
    assert torch.equal(concept_mask(x, assign, everything, prefix), x)
    once = concept_mask(x, assign, keep, prefix)
    assert torch.equal(concept_mask(once, assign, keep, prefix), once)
    both = concept_mask(once, assign, table, prefix)
    torch.testing.assert_close(both, concept_mask(x, assign, keep * table, prefix))
    assert torch.equal(once[:, :, :prefix], x[:, :, :prefix])
    free = assign < 0
    assert torch.equal(once[:, :, prefix:][free], x[:, :, prefix:][free])


@pytest.mark.parametrize("layout", [lambda x: x, transposed])
@pytest.mark.parametrize("shared", [False, True])
def test_gradients(layout: object, shared: bool) -> None:
    x, assign, keep, table = example((2, 2, 4, 3), shared=shared)
    x, table = layout(x).requires_grad_(), table.requires_grad_()

    def floating(features: Tensor, mask: Tensor) -> Tensor:
        return concept_mask(features, assign, mask, 1)

    assert torch.autograd.gradcheck(floating, (x, table))
    assert torch.autograd.gradgradcheck(floating, (x, table))
    assert torch.autograd.gradcheck(lambda features: concept_mask(features, assign, keep, 1), x)
    assert torch.autograd.gradgradcheck(lambda features: concept_mask(features, assign, keep, 1), x)
    fixed = x.detach()
    assert torch.autograd.gradcheck(lambda mask: concept_mask(fixed, assign, mask, 1), table)


def test_gradient_of_the_table_adds_in_float64() -> None:
    """A long sum of float32 products loses nothing to its length."""
    x = torch.full((1, 1, 4096, 64), 0.1)
    assign, keep = torch.zeros(1, 1, 4096, dtype=torch.int32), torch.ones(1, 1, requires_grad=True)
    concept_mask(x, assign, keep).sum().backward()
    assert float(keep.grad) == float(torch.tensor(0.1).double() * 4096 * 64)


@pytest.mark.usefixtures("num_threads")
def test_threads_and_batch_do_not_matter() -> None:
    x, assign, _, table = example((3, 12, 500, 64), dtype=torch.float32)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for view in (x, transposed(x)):
            features, mask = view.clone().requires_grad_(), table.clone().requires_grad_()
            masked = concept_mask(features, assign, mask, 1)
            masked.square().sum().backward()
            found.append((masked.detach(), features.grad, mask.grad))
        mask = table[1:2].clone().requires_grad_()
        concept_mask(x[1:2], assign[1:2], mask, 1).square().sum().backward()
        assert torch.equal(mask.grad[0], found[0][2][1])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))


def test_opcheck() -> None:
    x, assign, keep, table = example()
    floating = (x.requires_grad_(), assign, table.requires_grad_(), 1)
    torch.library.opcheck(torch.ops.vtcd.concept_mask.default, floating)
    torch.library.opcheck(torch.ops.vtcd.concept_mask.default, (transposed(x), assign, keep, 1))
    torch.library.opcheck(
        torch.ops.vtcd._concept_mask_backward.default,
        (torch.randn_like(x).requires_grad_(), *floating),
    )


def test_vmap() -> None:
    x, assign, _, _ = example()
    keeps = torch.rand(4, 3, UNITS, generator=torch.Generator().manual_seed(1)) > 0.5
    expected = torch.stack([concept_mask(x, assign, keep, 1) for keep in keeps])
    masked = torch.vmap(lambda keep: torch.ops.vtcd.concept_mask(x, assign, keep, 1))(keeps)
    assert torch.equal(masked, expected)
    views = torch.stack([x, 2 * x], dim=2)
    shared = torch.stack([assign[:1], assign[1:2]])
    both = torch.vmap(torch.ops.vtcd.concept_mask, in_dims=(2, 0, 0, None))(
        views, shared, keeps[:2], 1
    )
    for i in range(2):
        assert torch.equal(both[i], concept_mask(views[:, :, i], shared[i], keeps[i], 1))


def test_autocast() -> None:
    x, assign, _, table = example(dtype=torch.float32)
    weight = torch.eye(6)
    with torch.autocast("cpu", torch.bfloat16):
        masked = concept_mask(x @ weight, assign, table.requires_grad_(), 1)
    assert masked.dtype == torch.bfloat16
    masked.float().sum().backward()
    assert table.grad.dtype == torch.float32


def test_compiles_once_for_all_masks() -> None:
    counter = CompileCounterWithBackend("aot_eager")

    def loss(x: Tensor, assign: Tensor, keep: Tensor) -> Tensor:
        return torch.ops.vtcd.concept_mask(x * 2, assign, keep, 1).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    for seed in range(5):
        x, assign, _, table = example(seed=seed)
        inputs = x.requires_grad_(), assign, table.requires_grad_()
        found = torch.autograd.grad(compiled(*inputs), (x, table))
        expected = torch.autograd.grad(loss(*inputs), (x, table))
        for a, b in zip(found, expected):
            torch.testing.assert_close(a, b)
    assert counter.frame_count == 1


class Masked(torch.nn.Module):
    """A linear layer whose heads are masked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(6, 6)

    def forward(self, x: Tensor, assign: Tensor, keep: Tensor) -> Tensor:
        return torch.ops.vtcd.concept_mask(self.linear(x), assign, keep, 1).sum(-1)


def test_export(tmp_path: Path) -> None:
    x, assign, keep, _ = example(dtype=torch.float32)
    batch = torch.export.Dim("batch", min=2)
    model = Masked().eval()
    program = torch.export.export(
        model, (x, assign, keep), dynamic_shapes=({0: batch}, {0: batch}, {0: batch})
    )
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    x, assign, keep, _ = example((5, 2, 7, 6), dtype=torch.float32, seed=1)
    torch.testing.assert_close(loaded(x, assign, keep), model(x, assign, keep))


@pytest.mark.slow
def test_ahead_of_time(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: concept_mask under AOTInductor was NOT tested")
    x, assign, keep, _ = example(dtype=torch.float32)
    model = Masked().eval()
    with torch.no_grad():
        program = torch.export.export(model, (x, assign, keep))
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "model.pt2")
        )
        loaded = torch._inductor.aoti_load_package(package)
        for mask in (keep, ~keep):
            torch.testing.assert_close(loaded(x, assign, mask), model(x, assign, mask))


def test_units_need_not_be_concepts() -> None:
    """Heads as units: one column a head."""
    x = torch.randn(2, 3, 4, 5)
    heads = torch.arange(3, dtype=torch.int32).reshape(1, 3, 1).expand(1, 3, 4)
    keep = torch.tensor([[True, False, True], [False, True, True]])
    assert torch.equal(vtcd_ops.concept_mask(x, heads, keep), x * keep[:, :, None, None])
