"""The estimators against scikit-learn, closed forms and repeated sampling."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from torch import Tensor

from vtcd_ops.common.errors import InputError
from vtcd_ops.estimates import mask_regression
from vtcd_ops.estimates.estimators import DESIGNS, ESTIMATORS, estimate, reliability
from vtcd_ops.estimates.mask_regression import Regression, Removals, common_penalty, one_thread
from vtcd_ops.estimates.mask_scores import MaskScores, spearman
from vtcd_ops.ops import cris_sample

MEANS = ("removed", "kept", "difference", "kept_sum")


def scores_of(
    effects: np.ndarray,  # [V, U]
    num_masks: int,
    *,
    noise: float = 0.0,
    design: str = "simple",
    ratio: float = 0.5,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Scores of an additive metric, and its value without a mask."""
    keep = cris_sample(effects.shape[1], num_masks, ratio, seed, design=design).numpy()
    rng = np.random.default_rng(seed)
    scores = effects @ keep.T + noise * rng.standard_normal((len(effects), num_masks))
    return torch.from_numpy(scores), torch.from_numpy(effects.sum(1))


def settings(units: int, **changes: Any) -> dict[str, Any]:
    return {"num_units": units, "ratio": 0.5, "seed": 0} | changes


def effects_of(videos: int, units: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((videos, units))


@pytest.mark.parametrize("design", DESIGNS)
def test_means_are_means(design: str) -> None:
    """Loops over videos and masks, with units that are absent from videos."""
    rng = np.random.default_rng(1)
    present = rng.random((3, 7)) < 0.7
    present[:, 0], present[:, 1] = True, False
    scores, baseline = scores_of(effects_of(3, 7) * present, 45, noise=1.0, design=design)
    keep = cris_sample(7, 45, 0.5, 0, design=design).numpy()
    arguments = settings(7, design=design, present=torch.from_numpy(present), baseline=baseline)
    for name in MEANS:
        by_video = np.full((3, 7), np.nan)
        for v, i in zip(*np.nonzero(present)):
            drop = baseline[v].item() - scores[v].numpy()
            removed, kept = drop[~keep[:, i]], drop[keep[:, i]]
            by_video[v, i] = {
                "removed": removed.mean(),
                "kept": -kept.mean(),
                "difference": removed.mean() - kept.mean(),
                "kept_sum": scores[v].numpy()[keep[:, i]].sum(),
            }[name]
        found = estimate(scores, estimator=name, **arguments)
        some = present.any(0)
        np.testing.assert_allclose(found.value[some], np.nanmean(by_video[:, some], 0), atol=1e-12)
        assert found.value[1].isnan()
        assert found.value[found.order[-1]].isnan()
        count = present[:, some].sum(0)
        expected = np.nanstd(by_video[:, some], axis=0) / np.sqrt(np.maximum(count - 1, 1))
        stderr = found.stderr_videos.numpy()[some]
        np.testing.assert_allclose(stderr[count > 1], expected[count > 1], atol=1e-12)
        assert np.isnan(stderr[count == 1]).all()


@pytest.mark.parametrize(("units", "masks"), [(30, 200), (200, 60)])
@pytest.mark.parametrize("dense", [1500, 1])
def test_regression_is_ridge(
    units: int, masks: int, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Primal, dual and matrix-free: the coefficients of scikit-learn."""
    monkeypatch.setattr(mask_regression, "DENSE", dense)
    scores, _ = scores_of(effects_of(2, units), masks, noise=1.0)
    data = MaskScores(-scores.numpy(), np.zeros(2), np.ones((2, units), bool), 0.5, 0, "simple")
    removed = (~cris_sample(units, masks, 0.5, 0).numpy()).astype(float)
    used = np.stack([np.ones(masks, bool), np.arange(masks) % 3 > 0], axis=1)
    chosen = np.arange(3, units)
    with one_thread():
        regression = Regression(Removals(data, 0), chosen)
        for i, found in regression.coefficients(torch.from_numpy(data.drops.T.copy()), used, 2.5):
            rows = used[:, i]
            oracle = Ridge(alpha=2.5).fit(removed[rows][:, chosen], data.drops[:, rows].T)
            np.testing.assert_allclose(found.numpy(), oracle.coef_.T, atol=1e-8)
            predicted = regression.predict(found).numpy()[rows]
            fitted = oracle.predict(removed[rows][:, chosen])
            np.testing.assert_allclose(
                predicted - predicted.mean(0), fitted - fitted.mean(0), atol=1e-7
            )


@pytest.mark.parametrize(("units", "masks"), [(30, 200), (200, 60)])
def test_penalty_is_that_of_generalised_cross_validation(
    units: int, masks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, _ = scores_of(effects_of(1, units), masks, noise=3.0)
    data = MaskScores(-scores.numpy(), np.zeros(1), np.ones((1, units), bool), 0.5, 0, "simple")
    removed = (~cris_sample(units, masks, 0.5, 0).numpy()).astype(float)
    x, y = removed - removed.mean(0), data.drops[0] - data.drops[0].mean()
    u, s, _ = np.linalg.svd(x, full_matrices=False)

    def criterion(penalty: float) -> float:
        shrink = s**2 / (s**2 + penalty)
        residual = y - u @ (shrink * (u.T @ y))
        return float((residual**2).sum() / (masks - 1 - shrink.sum()) ** 2)

    grid = np.logspace(-8, 3, 111) * s[0] ** 2
    best = min(grid, key=criterion)
    for dense, within in ((1500, 1e-9), (1, 0.1)):  # exact, and by quadrature with random probes
        monkeypatch.setattr(mask_regression, "DENSE", dense)
        with one_thread():
            regression = Regression(Removals(data, 0), np.arange(units))
            drops = torch.from_numpy(data.drops.T.copy())
            found = common_penalty([regression.spectrum(drops, np.ones(masks, bool))])
        assert criterion(found) <= criterion(best) * (1 + within)


def test_an_additive_metric_is_recovered() -> None:
    effects = effects_of(1, 40)
    scores, baseline = scores_of(effects, 200)
    assert estimate(scores, baseline=baseline, **settings(40)).estimator == "regression"
    found = estimate(scores, baseline=baseline, estimator="adjusted", **settings(40))
    assert found.r2 > 0.999999
    assert found.reliability > 0.999999
    # Given that one of 40 is removed, 19 of the 39 others are.
    expected = effects[0] + (effects.sum() - effects[0]) * 19 / 39
    centred = found.value.numpy() - found.value.numpy().mean()
    np.testing.assert_allclose(centred, expected - expected.mean(), atol=1e-4)
    raw = estimate(scores, baseline=baseline, estimator="regression", **settings(40)).value.numpy()
    np.testing.assert_allclose(raw, effects[0] - effects.mean(), atol=1e-4)
    removed = estimate(scores, baseline=baseline, estimator="removed", **settings(40))
    assert spearmanr(removed.value, effects[0])[0] < spearmanr(found.value, effects[0])[0]


def test_auto_is_a_mean_where_nothing_is_additive() -> None:
    noise = torch.randn(1, 300, dtype=torch.float64)
    found = estimate(noise, **settings(50))
    assert found.estimator == "difference"
    assert found.r2 <= 0
    assert abs(found.reliability) < 0.6
    assert torch.equal(found.value, estimate(noise, estimator="difference", **settings(50)).value)


@pytest.mark.parametrize("name", ["removed", "kept", "difference", "kept_sum", "regression"])
@pytest.mark.parametrize("design", DESIGNS)
def test_standard_errors_are_the_spread_of_repeated_estimates(name: str, design: str) -> None:
    effects = effects_of(1, 12)
    values, errors = [], []
    for seed in range(120):
        scores, _ = scores_of(effects, 160, noise=1.0, design=design, seed=seed)
        found = estimate(scores, estimator=name, **settings(12, design=design, seed=seed))
        values.append(found.value.numpy())
        errors.append(found.stderr_masks.numpy())
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0, ddof=1)
    assert 0.8 < ratio.mean() < 1.25, ratio


def test_one_regression_for_each_set_of_units() -> None:
    """Absent units: fits of the units that occur, averaged over their videos."""
    rng = np.random.default_rng(3)
    present = rng.random((4, 20)) < 0.6
    effects = effects_of(4, 20) * present
    scores, _ = scores_of(effects, 400)
    found = estimate(
        scores, present=torch.from_numpy(present), estimator="regression", **settings(20)
    )
    some = present.any(0)
    expected = effects.sum(0)[some] / present.sum(0)[some]
    np.testing.assert_allclose(found.value.numpy()[some], expected, atol=1e-4)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_threads_do_not_matter(name: str) -> None:
    present = torch.rand(3, 60) < 0.7
    scores, baseline = scores_of(effects_of(3, 60), 100, noise=1.0)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(
            estimate(scores, present=present, baseline=baseline, estimator=name, **settings(60))
        )
        assert torch.get_num_threads() == threads
    for field in ("value", "stderr_masks", "stderr_videos"):
        first, second = (getattr(result, field) for result in found)
        assert torch.equal(first.nan_to_num(7.0), second.nan_to_num(7.0))
    assert found[0].reliability == found[1].reliability
    again = reliability(scores, present=present, baseline=baseline, estimator=name, **settings(60))
    assert again == found[0].reliability


BITS = """
import numpy as np, torch
from vtcd_ops.estimates import mask_regression
from vtcd_ops.estimates.estimators import estimate

mask_regression.DENSE = 1  # by conjugate gradients, over columns that BLAS would divide
rng = np.random.default_rng(0)
scores, present = torch.from_numpy(rng.standard_normal((2, 1500))), rng.random((2, 40)) < 0.8
found = estimate(
    scores, num_units=40, ratio=0.5, seed=0, estimator="regression",
    present=torch.from_numpy(present),
)
print(found.value.numpy().tobytes().hex(), found.stderr_masks.numpy().tobytes().hex(), found.r2)
"""


def test_threads_of_blas_do_not_matter() -> None:
    """NumPy's own, which torch does not set."""
    found = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        command = [sys.executable, "-c", BITS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


def test_reliability_foretells_the_correlation_with_another_run() -> None:
    effects = effects_of(1, 100)
    values = []
    for seed in (0, 1):
        scores, _ = scores_of(effects, 400, noise=5.0, seed=seed)
        values.append(estimate(scores, estimator="removed", **settings(100, seed=seed)))
    measured = spearmanr(values[0].value, values[1].value)[0]
    assert abs(values[0].reliability - measured) < 0.15


def test_spearman_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 50).astype(float), rng.integers(0, 5, 50).astype(float)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)


def test_few_masks_and_one_video() -> None:
    for masks in (1, 2, 3, 9):
        scores, _ = scores_of(effects_of(1, 5), masks)
        for name in ESTIMATORS:
            found = estimate(scores, estimator=name, **settings(5))
            assert found.value.shape == (5,)
            assert found.stderr_videos.isnan().all()
            assert np.isnan(found.r2)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("exponent", [-1060, -1000, -500, 500, 1000])
def test_scores_of_any_size(name: str, exponent: int) -> None:
    """All is linear in the scores: times a power of two, the same bits times it."""
    rng = np.random.default_rng(0)
    scores, baseline = scores_of(effects_of(2, 12), 60, noise=1.0)
    present = torch.from_numpy(rng.random((2, 12)) < 0.8)
    if exponent == -1060:  # denormal: few digits, which are there in both
        scores, baseline = ((one * 2**12).round() / 2**12 for one in (scores, baseline))
    expected = estimate(scores, baseline=baseline, present=present, estimator=name, **settings(12))
    found = estimate(
        torch.from_numpy(np.ldexp(scores.numpy(), exponent)),
        baseline=torch.from_numpy(np.ldexp(baseline.numpy(), exponent)),
        present=present, estimator=name, **settings(12),
    )  # fmt: skip
    for field in ("value", "stderr_masks", "stderr_videos"):
        wanted = np.ldexp(getattr(expected, field).numpy(), exponent)
        np.testing.assert_array_equal(getattr(found, field).numpy(), wanted)
    assert (found.reliability, found.r2, found.estimator) == (
        expected.reliability,
        expected.r2,
        expected.estimator,
    )


def test_the_largest_scores() -> None:
    """A drop beyond float64 is right where the result fits, and refused by name where not."""
    big = float(np.finfo(np.float64).max)
    keep = cris_sample(4, 64, 0.5, 0).numpy()
    scores = np.where(keep[:, 0], big, -big)[None]
    found = estimate(torch.from_numpy(scores), estimator="kept", **settings(4))
    assert found.value[0] == pytest.approx(big)
    with pytest.raises(InputError, match="estimate: difference expected to fit into float64, got"):
        estimate(torch.from_numpy(scores), estimator="difference", **settings(4))
    with pytest.raises(InputError, match="estimate: kept_sum expected to fit into float64, got"):
        estimate(torch.from_numpy(scores), estimator="kept_sum", **settings(4))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("masks", [1, 40, 400])
def test_videos_and_units_that_are_absent(name: str, masks: int) -> None:
    """A video without units tells nothing of them; without units anywhere there is no value."""
    scores, baseline = scores_of(effects_of(3, 20), masks, noise=0.5)
    present = torch.ones(3, 20, dtype=torch.bool)
    present[2] = False
    ask = {"estimator": name, **settings(20)}
    found = estimate(scores, present=present, baseline=baseline, **ask)
    if name in MEANS:
        alone = estimate(scores[:2], baseline=baseline[:2], **ask)
        np.testing.assert_allclose(found.value, alone.value, atol=1e-12)
    assert masks == 1 or not found.value.isnan().any()
    none = estimate(scores, present=torch.zeros_like(present), baseline=baseline, **ask)
    assert none.value.isnan().all()
    assert none.stderr_masks.isnan().all()
    assert np.isnan(none.reliability)


def test_scores_that_never_change() -> None:
    for name in ESTIMATORS:
        found = estimate(torch.full((2, 50), 0.25), estimator=name, **settings(6))
        assert not found.value.isinf().any()
        assert found.r2 == 0
        if name in ("regression", "difference", "auto"):
            np.testing.assert_allclose(found.value, 0, atol=1e-15)


def test_estimates_are_equal_by_content() -> None:
    scores, baseline = scores_of(effects_of(1, 6), 30, noise=1.0)
    one, same = (estimate(scores, baseline=baseline, **settings(6)) for _ in range(2))
    assert one == same
    assert one != estimate(scores + 1, estimator="kept", **settings(6))
    assert one != "estimate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": torch.zeros(3)}, "scores expected [V, M], got [3]"),
        (
            {"scores": torch.tensor([[1.0, 2.0], [0.5, float("nan")]])},
            "scores expected finite numbers, got nan for video 1 under mask 1",
        ),
        ({"baseline": torch.zeros(3)}, "baseline expected finite [2], got [3]"),
        (
            {"baseline": torch.tensor([1.0, float("inf")])},
            "baseline expected finite [2], got [2] with NaN or infinity",
        ),
        ({"present": torch.ones(2, 5)}, "present expected bool [2, 6], got float32 [2, 5]"),
        (
            {"estimator": "lasso"},
            f"estimator expected one of {', '.join(ESTIMATORS)}, got lasso",
        ),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    scores = arguments.pop("scores", torch.zeros(2, 8))
    with pytest.raises(InputError) as caught:
        estimate(scores, **settings(6, **arguments))
    assert str(caught.value) == f"estimate: {message}"


def test_wrong_masks() -> None:
    with pytest.raises(ValueError, match="ratio expected above 0 and below 1, got 1"):
        estimate(torch.zeros(1, 4), **settings(6, ratio=1.0))
    with pytest.raises(ValueError, match="num_units expected 2 to"):
        estimate(torch.zeros(1, 4), **settings(1))


MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
PEAK = """
import scipy.sparse.linalg, scipy.stats, torch
from vtcd_ops.estimates.estimators import estimate

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

torch.set_num_threads(1)
scores = torch.randn(1, 1000, dtype=torch.float64)
settings = dict(ratio=0.5, seed=0, estimator="regression")
for few in (1001, 2001):
    estimate(scores, num_units=few, **settings)  # what the libraries take once
before = peak()
estimate(scores, num_units=20_000, **settings)
print(peak() - before)
"""


@pytest.mark.slow
def test_many_units_take_little_memory() -> None:
    """20,000 units, without their Gram matrix of 3 GB."""
    # what is freed goes back at once, so that the peak does not hang on glibc's luck
    environment = os.environ | dict.fromkeys(MALLOC, "65536")
    command = [sys.executable, "-c", PEAK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB
