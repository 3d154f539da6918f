"""cris_accumulate and CrisAccumulator against sums over stored masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vtcd_ops import CrisAccumulator
from vtcd_ops.ops import cris_accumulate, cris_sample, reference


def empty(num_units: int) -> tuple[Tensor, Tensor, Tensor]:
    count = torch.zeros(2, num_units, dtype=torch.int64)
    return count, count.double(), count.double()


def masks_and_drops(num_masks: int, num_units: int) -> tuple[Tensor, Tensor]:
    keep = cris_sample(num_units, num_masks, 0.3, 0)
    return keep, torch.randn(num_masks, dtype=torch.float64)


def test_same_as_definition() -> None:
    keep, drop = masks_and_drops(300, 700)
    sums = empty(700)
    cris_accumulate(*sums, keep, drop)
    for found, expected in zip(sums, reference.cris_accumulate(keep.numpy(), drop.numpy())):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_absent_units_are_neither_removed_nor_kept() -> None:
    keep, drop = masks_and_drops(40, 9)
    present = torch.arange(9) % 2 == 0
    everywhere, some = empty(9), empty(9)
    cris_accumulate(*everywhere, keep, drop)
    cris_accumulate(*some, keep, drop, present)
    for all_units, found in zip(everywhere, some):
        assert torch.equal(found, all_units * present)


@pytest.mark.usefixtures("num_threads")
def test_calls_and_threads_do_not_matter() -> None:
    """Masks are added one by one, so the same bits come from any division of them."""
    keep, drop = masks_and_drops(500, 3000)
    torch.set_num_threads(1)
    expected = empty(3000)
    cris_accumulate(*expected, keep, drop)
    torch.set_num_threads(2)
    found = empty(3000)
    for begin, end in ((0, 1), (1, 1), (1, 255), (255, 500)):
        cris_accumulate(*found, keep[begin:end], drop[begin:end])
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_layout_and_empty_inputs() -> None:
    keep, drop = masks_and_drops(30, 8)
    expected = empty(8)
    cris_accumulate(*expected, keep, drop)
    strided = tuple(torch.zeros(8, 2, dtype=sums.dtype).T for sums in expected)
    cris_accumulate(*strided, keep.T.contiguous().T, torch.stack([drop, drop], 1)[:, 0])
    assert all(torch.equal(a, b) for a, b in zip(strided, expected))
    cris_accumulate(*strided, keep[:0], drop[:0])
    assert all(torch.equal(a, b) for a, b in zip(strided, expected))
    cris_accumulate(*empty(0), torch.ones(3, 0, dtype=torch.bool), drop[:3])


def test_nothing_is_added_of_a_wrong_call_and_versions_move() -> None:
    keep, drop = masks_and_drops(3, 4)
    sums = empty(4)
    with pytest.raises(ValueError, match="drop expected finite numbers"):
        cris_accumulate(*sums, keep, torch.tensor([1.0, float("nan"), 2.0]).double())
    assert not any(tensor.any() for tensor in sums)
    before = [tensor._version for tensor in sums]
    cris_accumulate(*sums, keep, drop)
    assert all(tensor._version > version for tensor, version in zip(sums, before))


def test_opcheck_and_compiled() -> None:
    keep, drop = masks_and_drops(10, 6)
    torch.library.opcheck(torch.ops.vtcd.cris_accumulate.default, (*empty(6), keep, drop))

    def step(count: Tensor, total: Tensor, total_sq: Tensor, drop: Tensor) -> Tensor:
        torch.ops.vtcd.cris_accumulate(count, total, total_sq, keep, drop)
        return total * 2

    expected, found = empty(6), empty(6)
    step(*expected, drop)
    torch.compile(step, fullgraph=True, backend="aot_eager")(*found, drop)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_accumulator_is_the_means() -> None:
    keep, score = masks_and_drops(200, 5)
    score = score + 1e6  # an offset that would cost naive squares their digits
    accumulator = CrisAccumulator(5)
    for begin in range(0, 200, 30):
        accumulator.update(keep[begin : begin + 30], score[begin : begin + 30])
    drop = 1e6 + 1.5 - score.numpy()
    for unit in range(5):
        gone, kept = drop[~keep[:, unit]], drop[keep[:, unit]]
        errors = [part.std(ddof=1) / len(part) ** 0.5 for part in (gone, kept)]
        expected = {
            "removed": (gone.mean(), errors[0]),
            "kept": (-kept.mean(), errors[1]),
            "difference": (gone.mean() - kept.mean(), np.hypot(*errors)),
            "kept_sum": (score.numpy()[keep[:, unit]].sum(), errors[1] * len(kept)),
        }
        for name, pair in expected.items():
            value, stderr = accumulator.importance(name, baseline=1e6 + 1.5)
            np.testing.assert_allclose([value[unit], stderr[unit]], pair, rtol=1e-8, atol=1e-8)


def test_accumulators_merge_and_go_on() -> None:
    keep, score = masks_and_drops(60, 4)
    present = torch.tensor([True, True, False, True])
    whole, first, second = (CrisAccumulator(4) for _ in range(3))
    whole.update(keep, score)
    first.update(keep[:25], score[:25])
    second.update(keep[25:], score[25:])
    first.merge(second)
    first.merge(CrisAccumulator(4))
    resumed = CrisAccumulator(4)
    resumed.load_state_dict(first.state_dict())
    for accumulator in (whole, resumed):
        accumulator.update(keep, 2 * score, present)
    for a, b in zip(whole.importance("difference"), resumed.importance("difference")):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="other expected of 4 units, got 5"):
        first.merge(CrisAccumulator(5))
    with pytest.raises(ValueError, match="state expected"):
        first.load_state_dict(CrisAccumulator(5).state_dict())
    with pytest.raises(ValueError, match="estimator expected one of removed, kept"):
        first.importance("regression")


def test_a_unit_no_mask_removed_has_no_value() -> None:
    accumulator = CrisAccumulator(2)
    accumulator.update(torch.tensor([[True, False]]), torch.tensor([0.5]))
    value, stderr = accumulator.importance("removed")
    assert value.isnan().tolist() == [True, False]
    assert stderr.isnan().all()
