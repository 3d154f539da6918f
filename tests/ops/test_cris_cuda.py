"""cris_sample and cris_accumulate on a GPU: the CPU's masks, the CPU's bits, the CPU's words."""

import pytest
import torch
from ops.cuda import expect_same_words

import vtcd_ops


@pytest.mark.parametrize("design", ["simple", "antithetic", "balanced"])
@pytest.mark.parametrize(
    ("units", "masks", "ratio", "seed", "start"),
    [
        (2, 1, 0.5, 0, 0),
        (37, 45, 0.3, -1, 7),
        (864, 130, 0.8, 2**62, 2**62 - 200),
        (5, 0, 0.5, 0, 3),
    ],
)
def test_masks_are_those_of_the_cpu(
    cuda_device: torch.device,
    design: str,
    units: int,
    masks: int,
    ratio: float,
    seed: int,
    start: int,
) -> None:
    expected = vtcd_ops.cris_sample(units, masks, ratio, seed, start, design)
    found = vtcd_ops.cris_sample(units, masks, ratio, seed, start, design, device=cuda_device)
    assert found.device == cuda_device
    assert torch.equal(found.cpu(), expected)
    like = torch.empty(0, device=cuda_device)
    again = torch.ops.vtcd._cris_sample_like(like, units, masks, ratio, seed, start, design)
    assert torch.equal(again, found)


def test_sampling_refuses_in_the_words_of_the_cpu(cuda_device: torch.device) -> None:
    for arguments in [(1, 3, 0.5, 0), (5, -1, 0.5, 0), (5, 3, 1.0, 0), (5, 3, 0.5, 0, -1)]:
        with pytest.raises(RuntimeError) as on_cpu:
            torch.ops.vtcd.cris_sample(*arguments)
        with pytest.raises(RuntimeError) as on_gpu:
            torch.ops.vtcd.cris_sample(*arguments, device=cuda_device)
        assert str(on_gpu.value) == str(on_cpu.value)
    with pytest.raises(RuntimeError, match="num_masks expected an output that fits into memory"):
        torch.ops.vtcd.cris_sample(2**31 - 1, 2**31, 0.5, 0, device=cuda_device)
    assert vtcd_ops.cris_sample(5, 3, 0.5, 0, device="cuda").shape == (3, 5)


def test_sampling_compiles(cuda_device: torch.device) -> None:
    def masks(offset: torch.Tensor) -> torch.Tensor:
        return torch.ops.vtcd.cris_sample(6, 4, 0.5, 1, device=offset.device) & offset

    everything = torch.ones(4, 6, dtype=torch.bool, device=cuda_device)
    compiled = torch.compile(masks, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(everything), masks(everything))


def _sums(units: int, masks: int) -> dict[str, torch.Tensor]:
    return {
        "count": torch.randint(0, 9, (2, units)),
        "total": torch.randn(2, units, dtype=torch.float64),
        "total_sq": torch.rand(2, units, dtype=torch.float64),
        "keep": torch.rand(masks, units) > 0.4,
        "drop": torch.randn(masks, dtype=torch.float64),
        "present": torch.rand(units) > 0.2,
    }


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize(("units", "masks"), [(1, 1), (864, 1000), (33, 7), (5, 0), (0, 3)])
def test_sums_are_those_of_the_cpu(
    cuda_device: torch.device, units: int, masks: int, present: bool
) -> None:
    sums = _sums(units, masks)
    if not present:
        del sums["present"]
    on_device = {name: tensor.to(cuda_device, copy=True) for name, tensor in sums.items()}
    vtcd_ops.cris_accumulate(**sums)
    vtcd_ops.cris_accumulate(**on_device)
    for name, tensor in sums.items():
        assert torch.equal(on_device[name].cpu(), tensor), name


def test_sums_that_are_not_contiguous(cuda_device: torch.device) -> None:
    sums = _sums(40, 30)
    on_device = {
        name: torch.empty_strided(t.shape, [3 * s for s in t.stride()], dtype=t.dtype,
                                  device=cuda_device).copy_(t)
        for name, t in sums.items()
    }  # fmt: skip
    vtcd_ops.cris_accumulate(**sums)
    vtcd_ops.cris_accumulate(**on_device)
    assert all(torch.equal(on_device[name].cpu(), tensor) for name, tensor in sums.items())


def test_sums_do_not_depend_on_how_masks_are_handed_over(cuda_device: torch.device) -> None:
    sums = {name: tensor.to(cuda_device) for name, tensor in _sums(50, 64).items()}
    apart = {name: tensor.clone() for name, tensor in sums.items()}
    vtcd_ops.cris_accumulate(**sums)
    for begin, end in [(0, 1), (1, 40), (40, 64)]:
        part = {name: apart[name][begin:end] for name in ("keep", "drop")}
        vtcd_ops.cris_accumulate(**(apart | part))
    assert all(torch.equal(sums[name], apart[name]) for name in ("count", "total", "total_sq"))


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_nothing_is_added_by_a_call_that_fails(cuda_device: torch.device, bad: float) -> None:
    sums = _sums(40, 30)
    sums["drop"][29] = bad
    expect_same_words(cuda_device, "cris_accumulate", **sums)
    on_device = {name: tensor.to(cuda_device) for name, tensor in sums.items()}
    before = {name: tensor.clone() for name, tensor in on_device.items()}
    with pytest.raises(ValueError, match="drop expected finite numbers"):
        vtcd_ops.cris_accumulate(**on_device)
    for name in ("count", "total", "total_sq"):
        assert torch.equal(on_device[name], before[name])


def test_wrong_sums_are_told_in_the_words_of_the_cpu(cuda_device: torch.device) -> None:
    sums = _sums(6, 4)
    op = "cris_accumulate"
    expect_same_words(cuda_device, op, **(sums | {"drop": sums["drop"][:3]}))
    expect_same_words(cuda_device, op, **(sums | {"total": sums["total"].float()}))
    expect_same_words(cuda_device, op, **(sums | {"present": sums["present"][:5]}))
    on_device = {name: tensor.to(cuda_device) for name, tensor in sums.items()}
    with pytest.raises(
        RuntimeError, match="total_sq expected memory of its own, got that of total"
    ):
        torch.ops.vtcd.cris_accumulate(**(on_device | {"total_sq": on_device["total"]}))
    with pytest.raises(RuntimeError, match="keep expected on cuda:0, got cpu"):
        torch.ops.vtcd.cris_accumulate(**(on_device | {"keep": sums["keep"]}))
    expanded = torch.zeros(2, 1, dtype=torch.float64, device=cuda_device).expand(2, 6)
    with pytest.raises(RuntimeError, match="total expected elements that share no memory"):
        torch.ops.vtcd.cris_accumulate(**(on_device | {"total": expanded}))


def test_opcheck(cuda_device: torch.device) -> None:
    sums = [tensor.to(cuda_device) for tensor in _sums(6, 4).values()]
    torch.library.opcheck(torch.ops.vtcd.cris_accumulate.default, tuple(sums))
    torch.library.opcheck(
        torch.ops.vtcd.cris_sample.default,
        (10, 5, 0.3, 7, 2, "balanced"),
        {"device": cuda_device},
    )
    like = torch.empty(0, device=cuda_device)
    torch.library.opcheck(
        torch.ops.vtcd._cris_sample_like.default, (like, 10, 5, 0.3, 7, 2, "simple")
    )
