"""Derivatives of concept_mask and tubelet_pool in every mode, against plain torch operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils import _pytree

import vtcd_ops

BATCH, HEADS, TOKENS, CHANNELS, PREFIX, UNITS = 2, 2, 4, 3, 1, 4
GRID, SIZE, TUBELETS = (2, 3, 2), (3, 5, 4), 4
Function = Callable[..., Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(7))


ASSIGN = {
    "own": integers(-1, UNITS, BATCH, HEADS, TOKENS - PREFIX).int(),
    "shared": integers(-1, UNITS, 1, HEADS, TOKENS - PREFIX).int(),
}
LABELS = integers(-1, TUBELETS - 1, BATCH, *SIZE)  # the last tubelet is empty


def masked_by(assign: Tensor) -> tuple[Function, Function, tuple[Tensor, ...]]:
    """concept_mask, the same in torch's own operations, and what both are given."""

    def plain(x: Tensor, keep: Tensor) -> Tensor:
        units = torch.where(assign < 0, UNITS, assign).long().expand(BATCH, -1, -1)
        factors = torch.nn.functional.pad(keep, (0, 1), value=1.0)
        factors = factors.gather(1, units.flatten(1)).unflatten(1, units.shape[1:])
        return x * torch.nn.functional.pad(factors, (PREFIX, 0), value=1.0)[..., None]

    def ours(x: Tensor, keep: Tensor) -> Tensor:
        return vtcd_ops.concept_mask(x, assign, keep, PREFIX)

    return ours, plain, (draw(BATCH, HEADS, TOKENS, CHANNELS), draw(BATCH, UNITS, seed=1))


def pooled(interpolation: str) -> tuple[Function, Function, tuple[Tensor, ...]]:
    """tubelet_pool, the same in torch's own operations, and what both are given."""

    def plain(features: Tensor) -> Tensor:
        if interpolation == "trilinear":
            volume = torch.nn.functional.interpolate(
                features, SIZE, mode="trilinear", align_corners=True
            )
        else:
            indices = [torch.arange(n) * t // n for n, t in zip(SIZE, GRID, strict=True)]
            volume = features[:, :, indices[0]][:, :, :, indices[1]][..., indices[2]]
        members = (LABELS[:, None] == torch.arange(TUBELETS)[:, None, None, None]).double()
        counts = members.sum((2, 3, 4)).clamp(min=1)
        return torch.einsum("bsthw,bcthw->bsc", members, volume) / counts[..., None]

    def ours(features: Tensor) -> Tensor:
        return vtcd_ops.tubelet_pool(features, LABELS, TUBELETS, interpolation)[0]

    return ours, plain, (draw(BATCH, CHANNELS, *GRID),)


CASES = {
    "concept_mask": masked_by(ASSIGN["own"]),
    "concept_mask, shared units": masked_by(ASSIGN["shared"]),
    "tubelet_pool": pooled("trilinear"),
    "tubelet_pool, nearest": pooled("nearest"),
}


def cubed(function: Function) -> Function:
    return lambda *inputs: function(*inputs).pow(3).sum()


def everything(inputs: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(range(len(inputs)))


def stacked(inputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    return tuple(torch.stack([x * (i + 1) for i in range(count)]) for x in inputs)


Way = Callable[[Function, tuple[Tensor, ...]], Any]
WAYS: dict[str, Way] = {
    "jvp": lambda f, x: jvp(f, x, tuple(draw(*t.shape, seed=5) for t in x)),
    "grad": lambda f, x: grad(cubed(f), everything(x))(*x),
    "vjp": lambda f, x: vjp(f, *x)[1](torch.ones_like(f(*x))),
    "jacrev": lambda f, x: jacrev(f, everything(x))(*x),
    "jacfwd": lambda f, x: jacfwd(f, everything(x))(*x),
    "hessian": lambda f, x: hessian(cubed(f), everything(x))(*x),
    "jacrev twice": lambda f, x: jacrev(jacrev(cubed(f), everything(x)), everything(x))(*x),
    "jacfwd twice": lambda f, x: jacfwd(jacfwd(cubed(f), everything(x)), everything(x))(*x),
    "jacrev of jacfwd": lambda f, x: jacrev(jacfwd(cubed(f), everything(x)), everything(x))(*x),
    "third": lambda f, x: grad(lambda *y: jacfwd(jacrev(cubed(f)))(*y).pow(2).sum())(*x),
    "vmap": lambda f, x: vmap(f)(*stacked(x, 3)),
    "vmap of grad": lambda f, x: vmap(grad(cubed(f), everything(x)))(*stacked(x, 3)),
    "vmap of one": lambda f, x: vmap(grad(cubed(f)), (0, *[None] * (len(x) - 1)))(
        stacked(x, 3)[0], *x[1:]
    ),
    "vmap of vjp": lambda f, x: vmap(vjp(f, *x)[1])(stacked((f(*x),), 4)[0]),
}


@pytest.mark.filterwarnings("ignore:.*vmap.*:UserWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_every_way(case: str, way: str) -> None:
    ours, plain, inputs = CASES[case]
    found = _pytree.tree_leaves(WAYS[way](ours, inputs))
    expected = _pytree.tree_leaves(WAYS[way](plain, inputs))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert any(bool(b.any()) for b in expected)


@pytest.mark.parametrize("case", CASES)
def test_mapped_over_an_empty_axis(case: str) -> None:
    ours, _, inputs = CASES[case]
    nothing = tuple(x.new_empty(0, *x.shape) for x in inputs)
    assert vmap(ours)(*nothing).shape == (0, *ours(*inputs).shape)
    for gradient, x in zip(vmap(grad(cubed(ours), everything(inputs)))(*nothing), inputs):
        assert gradient.shape == (0, *x.shape)


@pytest.mark.parametrize("case", CASES)
def test_numerically(case: str) -> None:
    """Both modes, batched, and over each other, against differences."""
    ours, _, inputs = CASES[case]
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(
        ours, inputs, check_forward_ad=True, check_batched_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip
    assert torch.autograd.gradgradcheck(ours, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("case", CASES)
def test_dual_numbers(case: str) -> None:
    """Forward mode without torch.func, of each input alone."""
    ours, plain, inputs = CASES[case]
    for which in everything(inputs):
        tangents = []
        for function in (ours, plain):
            with forward_ad.dual_level():
                duals = list(inputs)
                duals[which] = forward_ad.make_dual(inputs[which], draw(*inputs[which].shape))
                tangents.append(forward_ad.unpack_dual(function(*duals)).tangent)
        torch.testing.assert_close(tangents[0], tangents[1])
        assert bool(tangents[0].any())


@pytest.mark.parametrize("case", CASES)
def test_backward_through_a_tangent(case: str) -> None:
    ours, plain, inputs = CASES[case]
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    gradients = []
    for function in (ours, plain):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(x, draw(*x.shape, seed=3)) for x in inputs]
            tangent = forward_ad.unpack_dual(cubed(function)(*duals)).tangent
            gradients.append(torch.autograd.grad(tangent, inputs))
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


def test_a_bool_table_has_no_tangent() -> None:
    x, assign = draw(BATCH, HEADS, TOKENS, CHANNELS), ASSIGN["own"]
    keep = draw(BATCH, UNITS) > 0
    masked, tangent = jvp(lambda x: vtcd_ops.concept_mask(x, assign, keep, PREFIX), (x,), (2 * x,))
    assert torch.equal(tangent, 2 * masked)
    of_x = grad(lambda x: vtcd_ops.concept_mask(x, assign, keep, PREFIX).sum())(x)
    assert torch.equal(of_x * x, masked)


def test_counts_are_constant() -> None:
    features = draw(BATCH, CHANNELS, *GRID)
    (_, counts), (_, tangent) = jvp(
        lambda features: vtcd_ops.tubelet_pool(features, LABELS, TUBELETS), (features,), (features,)
    )
    assert counts.dtype == torch.int64
    assert not tangent.any()


def test_float32_forward_and_backward_agree() -> None:
    ours, _, inputs = CASES["concept_mask"]
    x, keep = (t.float() for t in inputs)
    forward = jvp(lambda k: ours(x, k), (keep,), (torch.ones_like(keep),))[1].sum()
    backward = grad(lambda k: ours(x, k).sum())(keep).sum()
    torch.testing.assert_close(forward, backward)


@pytest.mark.parametrize("case", CASES)
def test_compiled_with_its_gradient(case: str) -> None:
    """The public functions, without a graph break."""
    ours, plain, inputs = CASES[case]
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    compiled = torch.compile(cubed(ours), fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(*inputs), inputs)
    expected = torch.autograd.grad(cubed(plain)(*inputs), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
