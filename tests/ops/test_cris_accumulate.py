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


def refused(message: str, sums: tuple[Tensor, ...], *rest: Tensor) -> None:
    """Both forms say the same, and have changed nothing."""
    before = [tensor.detach().clone() for tensor in sums]
    for call in (cris_accumulate, torch.ops.vtcd.cris_accumulate):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            call(*sums, *rest)
        assert str(caught.value).splitlines()[0] == f"cris_accumulate: {message}"
        for tensor, old in zip(sums, before, strict=True):
            assert torch.equal(tensor.detach(), old)


def test_nothing_is_added_by_a_call_that_fails() -> None:
    keep, drop = masks_and_drops(3, 4)
    nan = torch.tensor([1.0, float("nan"), 2.0]).double()
    refused("drop expected finite numbers, got NaN or infinity", empty(4), keep, nan)
    one_row = torch.zeros(1, 4)
    for name, which in (("count", 0), ("total", 1), ("total_sq", 2)):
        sums = list(empty(4))
        sums[which] = one_row.to(sums[which].dtype).expand(2, 4)
        message = f"{name} expected elements that share no memory, got an expanded tensor"
        refused(message, tuple(sums), keep, drop)


def test_sums_share_no_memory() -> None:
    keep, drop = masks_and_drops(4, 4)
    count, total, total_sq = empty(4)
    own = "expected memory of its own, got that of"
    refused(f"total_sq {own} total", (count, total, total), keep, drop)
    overlapping = torch.zeros(3, 4, dtype=torch.float64)
    refused(f"total_sq {own} total", (count, overlapping[:2], overlapping[1:]), keep, drop)
    refused(f"total {own} count", (count, count.view(torch.float64), total_sq), keep, drop)
    refused(f"drop {own} total", (count, total, total_sq), keep, total[0])
    refused(
        f"keep {own} count",
        (count, total, total_sq),
        count.view(torch.bool)[:, :8][:, :4],
        drop[:2],
    )
    # neighbours in memory that do not touch are two things
    both = torch.zeros(2, 4, 2, dtype=torch.float64)
    cris_accumulate(count, both[..., 0], both[..., 1], keep, drop)
    expected = empty(4)
    cris_accumulate(*expected, keep, drop)
    assert torch.equal(both[..., 0], expected[1])
    assert torch.equal(both[..., 1], expected[2])


def test_a_huge_drop_stays_in_its_row() -> None:
    keep = torch.tensor([[True, False], [False, True], [True, True]])
    drop = torch.tensor([1e200, -1e200, 1.0], dtype=torch.float64)
    count, total, total_sq = empty(2)
    cris_accumulate(count, total, total_sq, keep, drop)
    assert count.tolist() == [[1, 1], [2, 2]]
    assert total.tolist() == [[-1e200, 1e200], [1e200, -1e200]]
    assert total_sq.tolist() == [[float("inf")] * 2] * 2  # 1e400 is beyond float64
    cris_accumulate(count, total, total_sq, keep[:0], drop[:0])
    sums = empty(3)
    cris_accumulate(*sums, torch.tensor([[True, False, True]]), drop[:1])
    assert sums[2].tolist() == [[0, float("inf"), 0], [float("inf"), 0, float("inf")]]


def test_any_byte_but_0_is_true() -> None:
    keep, drop = masks_and_drops(5, 6)
    present = torch.tensor([1, 0, 1, 1, 0, 1], dtype=torch.uint8)
    expected, found = empty(6), empty(6)
    cris_accumulate(*expected, keep, drop, present.bool())
    bytes_ = (keep.to(torch.uint8) * 2).view(torch.bool)
    cris_accumulate(*found, bytes_, drop, (present * 255).view(torch.bool))
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    accumulators = [CrisAccumulator(6), CrisAccumulator(6)]
    for accumulator, masks in zip(accumulators, (keep, bytes_)):
        accumulator.update(masks, drop)
    states = [accumulator.state_dict() for accumulator in accumulators]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_versions_move_and_gradients_are_refused() -> None:
    keep, drop = masks_and_drops(3, 4)
    for call in (cris_accumulate, torch.ops.vtcd.cris_accumulate):
        sums = empty(4)
        before = [tensor._version for tensor in sums]
        call(*sums, keep, drop)
        assert all(tensor._version > version for tensor, version in zip(sums, before))
    count, total, total_sq = empty(4)
    message = "expected a tensor that requires no gradient, got one that does"
    refused(f"total {message}", (count, total.requires_grad_(), total_sq), keep, drop)
    with torch.no_grad():
        cris_accumulate(count, total, total_sq, keep, drop)
    assert total.detach().any()
    with torch.inference_mode():
        inside = empty(4)
        cris_accumulate(*inside, keep, drop)
    cris_accumulate(*inside, keep, drop)
    assert int(inside[0].sum()) == 2 * 3 * 4
    used = torch.zeros(2, 4, dtype=torch.float64)
    weight = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    product = (weight * used).sum()
    torch.ops.vtcd.cris_accumulate(count, used, total_sq, keep, drop)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("argument", ["total", "total_sq", "keep", "drop", "present"])
def test_another_device_is_refused(argument: str) -> None:
    keep, drop = masks_and_drops(3, 4)
    names = ("count", "total", "total_sq", "keep", "drop", "present")
    tensors = dict(
        zip(names, (*empty(4), keep, drop, torch.ones(4, dtype=torch.bool)), strict=True)
    )
    tensors[argument] = tensors[argument].to("meta")
    for call in (cris_accumulate, torch.ops.vtcd.cris_accumulate):
        with pytest.raises(
            ValueError, match=f"^cris_accumulate: {argument} expected on cpu, got me"
        ):
            call(**tensors)
    assert not tensors["count"].any()


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


@pytest.mark.parametrize("huge", [1e8, -1e12, 1e150])
def test_one_huge_score_costs_the_others_nothing(huge: float) -> None:
    """Units that the mask of the huge first score keeps have, removed, the error of the rest."""
    keep, score = masks_and_drops(400, 6)
    keep[0] = torch.arange(6) < 3
    score[0] = huge
    accumulator = CrisAccumulator(6)
    accumulator.update(keep, score)
    exact = score.numpy().astype(np.longdouble)
    for row, estimator in ((~keep, "removed"), (keep, "kept")):
        value, stderr = accumulator.importance(estimator)
        for unit in range(6):
            some = exact[row[:, unit].numpy()]
            mean = some.mean() * (-1 if estimator == "removed" else 1)
            error = np.sqrt(((some - some.mean()) ** 2).sum() / (len(some) - 1) / len(some))
            np.testing.assert_allclose(value[unit], float(mean), rtol=1e-12)
            np.testing.assert_allclose(stderr[unit], float(error), rtol=1e-10)


def test_accumulator_does_not_depend_on_the_calls() -> None:
    keep, score = masks_and_drops(90, 5)
    whole, parts = CrisAccumulator(5), CrisAccumulator(5)
    whole.update(keep, score)
    for begin, end in ((0, 1), (1, 1), (1, 40), (40, 90)):
        parts.update(keep[begin:end], score[begin:end])
    for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean", float("nan"), "state expected a mean that masks could have left, got nan"),
        ("mean", float("inf"), "state expected a mean that masks could have left, got inf"),
        ("spread", float("nan"), "state expected a spread that masks could have left, got nan"),
        ("spread", -1.0, "state expected a spread that masks could have left, got -1"),
        ("count", -1, "state expected a count that masks could have left, got -1"),
        ("count", 0, "state expected a mean that masks could have left, got "),
    ],
)
def test_states_that_cannot_be(name: str, value: float, message: str) -> None:
    accumulator = CrisAccumulator(3)
    accumulator.update(*masks_and_drops(20, 3))
    before = accumulator.state_dict()
    state = accumulator.state_dict()
    state[name][0, 1] = value
    with pytest.raises(ValueError, match=f"^CrisAccumulator: {message}"):
        accumulator.load_state_dict(state)
    with pytest.raises(ValueError, match=r"^CrisAccumulator: state expected"):
        accumulator.load_state_dict(before | {"count": before["count"].double()})
    for key, kept in accumulator.state_dict().items():
        assert torch.equal(kept, before[key])


def test_scores_that_are_refused_change_nothing() -> None:
    keep, score = masks_and_drops(3, 4)
    accumulator = CrisAccumulator(4)
    accumulator.update(keep, score)
    before = accumulator.state_dict()
    largest = torch.finfo(torch.float64).max
    for scores, error, message in (
        (score * float("nan"), ValueError, "score expected finite numbers, got NaN or infinity"),
        (score[:2], ValueError, r"score expected \[3\], one per mask, got \[2\]"),
        (score > 0, TypeError, "score expected real numbers, got bool"),
        (score.tolist(), TypeError, "score expected a tensor, got list"),
        (
            torch.tensor([largest, -largest, largest], dtype=torch.float64),
            ValueError,
            "score expected numbers whose differences are finite, got -1.79769e.308 to 1.79769e",
        ),
    ):
        with pytest.raises(error, match=f"^CrisAccumulator: {message}"):
            accumulator.update(keep, scores)
    for masks, message in (
        (keep[:, :3], r"keep expected \[M, 4\]"),
        (keep.int(), "keep expected bool"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"^CrisAccumulator: {message}"):
            accumulator.update(masks, score)
    for key, kept in accumulator.state_dict().items():
        assert torch.equal(kept, before[key])


def test_a_unit_no_mask_removed_has_no_value() -> None:
    accumulator = CrisAccumulator(2)
    accumulator.update(torch.tensor([[True, False]]), torch.tensor([0.5]))
    value, stderr = accumulator.importance("removed")
    assert value.isnan().tolist() == [True, False]
    assert stderr.isnan().all()
