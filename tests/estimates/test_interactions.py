"""Interactions against enumeration and planted pairs; comparisons against SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapiq
import torch
from scipy import stats

from vtcd_ops.common.errors import InputError
from vtcd_ops.estimates.estimators import pairs_of
from vtcd_ops.importance.comparisons import Interactions, compare_units, find_unit
from vtcd_ops.ops import cris_sample

U = 30
PLANTED = {(2, 7): 3.0, (11, 12): -2.5, (0, 29): 2.0}  # the drop that both removed add


def scores_under(seeds: list[int], masks: int) -> torch.Tensor:
    """Planted pairs, effects that differ from video to video, and noise."""
    rng = np.random.default_rng(1)
    rows = []
    for seed in seeds:
        removed = ~cris_sample(U, masks, 0.5, seed).numpy()
        drop = removed @ rng.standard_normal(U) + 0.5 * rng.standard_normal(masks)
        for (i, j), weight in PLANTED.items():
            drop += weight * (removed[:, i] & removed[:, j])
        rows.append(-drop)
    return torch.from_numpy(np.stack(rows))


def test_planted_pairs_are_found() -> None:
    """Both signs, in the right order, within their errors; nothing else stands out."""
    seeds = [5, 6]
    asked = {"num_units": U, "ratio": 0.5, "seed": torch.tensor(seeds)}
    found = pairs_of(scores_under(seeds, 1000), top=6, **asked)
    assert {tuple(pair) for pair in found.pairs[:3].tolist()} == set(PLANTED)
    for pair, value, error in zip(found.pairs[:3].tolist(), found.value, found.stderr):
        assert abs(value - PLANTED[tuple(pair)]) < 4 * error
        assert abs(value) > 10 * error
    assert (np.abs(found.value[3:]) < 4 * found.stderr[3:]).all()


def test_they_are_the_banzhaf_interactions_of_a_game() -> None:
    """A game with a triple: shapiq's exact index, which goes over all sets."""
    size = 6

    def game(removed: np.ndarray) -> np.ndarray:
        triple = removed[..., 0] & removed[..., 1] & removed[..., 2]
        return 4.0 * triple + 1.5 * (removed[..., 3] & ~removed[..., 4]) + removed[..., 5]

    index = shapiq.ExactComputer(game=game, n_players=size)("BII", 2).get_n_order_values(2)
    exact = {(i, j): float(index[i, j]) for i, j in itertools.combinations(range(size), 2)}
    assert exact[0, 1] == 2.0
    assert exact[3, 4] == -1.5
    padded = 40  # units that do nothing: each mask then removes any number of the six
    keep = cris_sample(padded, 6000, 0.5, 8).numpy()
    found = pairs_of(
        torch.from_numpy(-game(~keep[:, :size])[None]), num_units=padded, ratio=0.5, seed=8, top=5
    )
    wanted = {pair for pair, value in exact.items() if value != 0}
    assert {tuple(pair) for pair in found.pairs[:4].tolist()} == wanted
    for pair, value, error in zip(found.pairs[:4].tolist(), found.value, found.stderr):
        assert abs(value - exact[tuple(pair)]) < 4 * error + 0.05


def test_errors_are_those_of_pairs_that_do_nothing() -> None:
    """Of noise: what the other half of the masks says is within its errors."""
    seeds = list(range(20))
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((20, 200)))
    ratios = []
    for seed in seeds:
        found = pairs_of(noise[seed : seed + 1], num_units=12, ratio=0.5, seed=seed, top=4)
        ratios += (found.value / found.stderr).tolist()
    assert 0.6 < np.std(ratios) < 1.6


def test_few_masks() -> None:
    with pytest.raises(InputError, match="at least 40 masks a video expected, got 39"):
        pairs_of(torch.zeros(1, 39), num_units=4, ratio=0.5, seed=0)
    assert len(pairs_of(torch.zeros(1, 50), num_units=4, ratio=0.5, seed=0).value) <= 6


def test_a_graph_of_them() -> None:
    units = np.array([[[0, 1, 2], [1, 0, 3]]])
    found = Interactions(units, np.array([[4, 9]]), np.array([-0.5]), np.array([0.1]))
    assert found.graph() == {
        "nodes": [
            {"unit": 4, "layer": 0, "head": 1, "concept": 2},
            {"unit": 9, "layer": 1, "head": 0, "concept": 3},
        ],
        "edges": [
            {"source": 4, "target": 9, "value": -0.5, "stderr": 0.1, "kind": "need each other"}
        ],
    }
    [line] = found.summary()
    assert line.startswith("layer 0 head 1 concept 2 and layer 1 head 0 concept 3 need each other")


@pytest.mark.parametrize("count", [6, 30])
def test_comparisons_are_scipys(count: int) -> None:
    rng = np.random.default_rng(count)
    differences = rng.standard_normal(count) + 0.5
    found = compare_units(differences)
    permuted = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9_999, rng=rng
    )
    assert found.p_value == pytest.approx(permuted.pvalue, abs=0.02 if count > 14 else 1e-12)
    drawn = stats.bootstrap((differences,), np.mean, method="percentile", rng=rng)
    wanted = drawn.confidence_interval
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.06)
    assert found.num_videos == count


def test_units_are_found_and_refused() -> None:
    table = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert find_unit(table, 2) == find_unit(table, (1, 0, 0)) == 2
    for unit in (3, -1, (1, 1, 1)):
        with pytest.raises(InputError, match="unit expected 0 to 2 or"):
            find_unit(table, unit)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least two videos expected"):
        compare_units(np.array([1.0]))
