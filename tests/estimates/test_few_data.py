"""Little to rank by: fewer masks than units, two videos, videos without units, noise alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from vtcd_ops.estimates.estimators import ESTIMATORS, estimate, pairs_of
from vtcd_ops.importance.comparisons import compare_units
from vtcd_ops.importance.importance import Importance
from vtcd_ops.ops import cris_sample

U = 50


def measured(videos: int, masks: int, noise: float = 0.0) -> tuple[np.ndarray, dict[str, Any]]:
    rng = np.random.default_rng(4)
    effects = rng.standard_normal(U)
    keep = np.stack([cris_sample(U, masks, 0.5, seed).numpy() for seed in range(videos)])
    scores = keep @ effects + noise * rng.standard_normal(keep.shape[:2])
    return effects, {
        "scores": torch.from_numpy(scores), "num_units": U, "ratio": 0.5,
        "seed": torch.arange(videos), "baseline": torch.full((videos,), effects.sum()),
    }  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("masks", [2, 9, 30])
def test_fewer_masks_than_units(estimator: str, masks: int) -> None:
    """Finite where some mask removed and some kept the unit, and what little they tell is right."""
    effects, asked = measured(3, masks)
    found = estimate(**asked, estimator=estimator)
    known = np.isfinite(found.value.numpy())
    assert known.mean() > 0.8
    if masks == 30 and estimator not in ("kept_sum",):
        assert spearmanr(found.value[known], effects[known])[0] > 0.6
    if masks == 2:
        assert np.isnan(found.r2)  # nobody can tell
        assert np.isnan(found.reliability)


def test_a_video_without_any_unit_changes_nothing() -> None:
    """Nothing is removed from it: its scores are its baseline, and it counts nowhere."""
    _, asked = measured(2, 120, noise=0.5)
    present = np.ones((3, U), dtype=bool)
    present[2] = False
    level = asked["baseline"][:1]
    more = asked | {
        "scores": torch.cat([asked["scores"], level.expand(1, 120)]),
        "seed": torch.arange(3),
        "baseline": torch.cat([asked["baseline"], level]),
        "present": torch.from_numpy(present),
    }
    for estimator in ("auto", "removed", "difference", "regression", "adjusted"):
        with_it, without = (
            estimate(**one, estimator=estimator, errors=False) for one in (more, asked)
        )
        np.testing.assert_allclose(with_it.value, without.value, rtol=1e-9, atol=1e-12)
    pairs = [pairs_of(**one, top=3).value for one in (more, asked)]
    np.testing.assert_allclose(*pairs, rtol=1e-6)
    nowhere = estimate(**more | {"present": torch.zeros(3, U, dtype=torch.bool)}, errors=False)
    assert nowhere.value.isnan().all()


def test_noise_is_said_to_be_noise() -> None:
    """R² below 0: means instead of a regression, and a line that says so."""
    for seed in range(6):  # by chance it may lie a little above 0 too
        scores = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 200)))
        found = estimate(scores, num_units=U, ratio=0.5, seed=torch.arange(2))
        if found.r2 < 0:
            break
    assert found.r2 < 0
    assert found.estimator == "difference"
    settings = {"units": "concepts", "metric": "m", "videos": [0, 1], "method": "cris"}
    units = np.stack([np.zeros(U), np.zeros(U), np.arange(U)], axis=1).astype(np.int64)
    importance = Importance(
        "noise", settings, {"units": units, "scores": scores.numpy()}, found.estimator,
        found.value.numpy(), found.stderr_masks.numpy(), found.stderr_videos.numpy(),
        found.reliability, found.r2,
    )  # fmt: skip
    assert "R2 is below 0: removals foretell no mask" in importance.summary()[1]


def test_two_videos_decide_nothing() -> None:
    found = compare_units(np.array([5.0, 5.1]))
    assert found.p_value == found.smallest_p_value == 0.5
    assert compare_units(np.arange(1.0, 9.0)).p_value == 2.0**-7
    assert compare_units(np.arange(1.0, 31.0)).smallest_p_value < 2e-4
