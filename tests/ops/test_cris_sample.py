"""cris_sample: its definition, what every design promises, and how masks are spread."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from vtcd_ops.ops import cris_sample, reference

DESIGNS = ["simple", "antithetic", "balanced"]


def removed_of(num_units: int, ratio: float) -> int:
    return min(max(int(np.floor(ratio * num_units + 0.5)), 1), num_units - 1)


@pytest.mark.parametrize(("num_units", "ratio"), [(10, 0.3), (7, 0.5), (33, 0.95), (2, 0.5)])
@pytest.mark.parametrize("seed", [0, 2**40 + 3])
def test_same_as_definition(num_units: int, ratio: float, seed: int) -> None:
    start = 2**33 - 2
    found = cris_sample(num_units, 5, ratio, seed, start=start).numpy()
    for i, mask in enumerate(found):
        np.testing.assert_array_equal(
            mask, reference.cris_sample(num_units, ratio, seed, start + i)
        )


@given(
    num_units=st.integers(2, 60),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(-(2**63), 2**63 - 1),
    start=st.integers(0, 10**6),
    design=st.sampled_from(DESIGNS),
)
def test_every_mask_removes_the_same_number(
    num_units: int, ratio: float, seed: int, start: int, design: str
) -> None:
    keep = cris_sample(num_units, 23, ratio, seed, start, design)
    assert set((~keep).sum(1).tolist()) == {removed_of(num_units, ratio)}


@given(
    num_units=st.integers(2, 40),
    ratio=st.floats(0.01, 0.99),
    cuts=st.lists(st.integers(0, 57), max_size=4),
    design=st.sampled_from(DESIGNS),
)
def test_a_mask_does_not_depend_on_what_is_drawn_with_it(
    num_units: int, ratio: float, cuts: list[int], design: str
) -> None:
    whole = cris_sample(num_units, 57, ratio, 3, 5, design)
    edges = [0, *sorted(cuts), 57]
    parts = [
        cris_sample(num_units, end - begin, ratio, 3, 5 + begin, design)
        for begin, end in pairwise(edges)
    ]
    assert torch.equal(torch.cat(parts), whole)


@given(num_units=st.integers(2, 50), ratio=st.floats(0.01, 0.99), seed=st.integers(0, 999))
def test_antithetic_pairs(num_units: int, ratio: float, seed: int) -> None:
    """Two ends of one permutation: they overlap as little as their sizes allow."""
    keep = cris_sample(num_units, 8, ratio, seed, design="antithetic")
    removed = removed_of(num_units, ratio)
    for first, second in (~keep).reshape(4, 2, num_units):
        assert int((first & second).sum()) == max(0, 2 * removed - num_units)


@given(num_units=st.integers(2, 50), ratio=st.floats(0.01, 0.99), seed=st.integers(0, 999))
def test_balanced_blocks(num_units: int, ratio: float, seed: int) -> None:
    keep = cris_sample(num_units, 60, ratio, seed, design="balanced")
    for block in (~keep).reshape(3, 20, num_units):
        counts = block.sum(0)
        assert int(counts.max() - counts.min()) <= 1


@pytest.mark.parametrize("design", DESIGNS)
def test_units_and_pairs_of_units_are_equally_likely(design: str) -> None:
    """Frequencies over 40,000 masks lie within five standard errors of what they should be."""
    units, masks, removed = 7, 40_000, 3
    gone = (~cris_sample(units, masks, removed / units, 11, design=design)).double()
    together = gone.T @ gone / masks
    single = removed / units
    pair = single * (removed - 1) / (units - 1)
    assert (together.diagonal() - single).abs().max() < 5 * (single * (1 - single) / masks) ** 0.5
    pairs = together[~torch.eye(units, dtype=torch.bool)]
    assert (pairs - pair).abs().max() < 5 * (pair * (1 - pair) / masks) ** 0.5


def test_blocks_are_independent() -> None:
    """Neighbouring masks of different blocks share removals as often as chance has it."""
    for design, length in (("simple", 1), ("antithetic", 2), ("balanced", 20)):
        gone = ~cris_sample(50, 200 * length, 0.5, 2, design=design)
        first, last = gone[length::length], gone[length - 1 :: length][:-1]
        shared = (first & last).sum(1).double()
        assert abs(float(shared.mean()) - 12.5) < 5 * float(shared.std()) / len(shared) ** 0.5


def test_rounding() -> None:
    assert int((~cris_sample(10, 1, 0.25, 0)).sum()) == 3  # 2.5, a half upwards
    assert int((~cris_sample(10, 1, 0.001, 0)).sum()) == 1
    assert int((~cris_sample(10, 1, 0.999, 0)).sum()) == 9


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("design", DESIGNS)
def test_threads_do_not_matter(design: str) -> None:
    torch.set_num_threads(1)
    expected = cris_sample(5000, 90, 0.3, 7, design=design)
    torch.set_num_threads(2)
    assert torch.equal(cris_sample(5000, 90, 0.3, 7, design=design), expected)


def test_empty_seeds_and_opcheck() -> None:
    assert cris_sample(3, 0, 0.5, 0).shape == (0, 3)
    assert not torch.equal(cris_sample(50, 4, 0.5, 0), cris_sample(50, 4, 0.5, 1))
    torch.library.opcheck(torch.ops.vtcd.cris_sample.default, (10, 5, 0.3, 7, 2, "balanced"))


def test_compiled() -> None:
    def draw(offset: torch.Tensor) -> torch.Tensor:
        return torch.ops.vtcd.cris_sample(6, 4, 0.5, 1) & offset

    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    everything = torch.ones(6, dtype=torch.bool)
    assert torch.equal(compiled(everything), cris_sample(6, 4, 0.5, 1))


def test_device() -> None:
    expected = cris_sample(10, 5, 0.3, 7, 2)
    for device in ("cpu", torch.device("cpu"), None):
        assert torch.equal(cris_sample(10, 5, 0.3, 7, 2, device=device), expected)
    like = torch.zeros(3)
    found = torch.ops.vtcd._cris_sample_like(like, 10, 5, 0.3, 7, 2, "simple")
    assert torch.equal(found, expected)
    torch.library.opcheck(
        torch.ops.vtcd._cris_sample_like.default, (like, 10, 5, 0.3, 7, 2, "balanced")
    )
    with pytest.raises(ValueError, match="cris_sample: device expected cpu or cuda, got meta"):
        cris_sample(10, 5, 0.3, 7, device="meta")
    with pytest.raises(RuntimeError, match="cris_sample: device expected cpu or cuda, got meta"):
        torch.ops.vtcd.cris_sample(10, 5, 0.3, 7, device="meta")
    with pytest.raises(TypeError, match="cris_sample: device expected a device, got int"):
        cris_sample(10, 5, 0.3, 7, device=0)  # type: ignore[arg-type]
