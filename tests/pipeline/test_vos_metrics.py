"""J and F: what trackeval says, and what can be worked out by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from trackeval.metrics import JAndF

from vtcd_ops.vos_metrics import contour_accuracy, region_similarity, statistics

Sides = dict[int, np.ndarray]  # masks [T, H, W] by object


def ellipses(num_frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """A moving, growing ellipse with a ragged edge, [T, H, W]; it leaves the frame at times."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    frames = []
    for t in range(num_frames):
        centre = random.uniform(0.2, 0.8, 2) * (height, width)
        radii = random.uniform(0.1, 0.4, 2) * (height, width)
        distance = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
        frames.append(distance + 0.2 * np.sin(x / 3 + t) < 1)
    return np.stack(frames)


def by_trackeval(predictions: Sides, truths: Sides) -> tuple[np.ndarray, np.ndarray, dict]:
    """J and F [K, T] and the summary of trackeval, object k against object k."""

    def encoded(sides: Sides) -> list[list[Any]]:
        frames = zip(*sides.values())
        return [[coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in f] for f in frames]

    count, num_frames = len(truths), len(next(iter(truths.values())))
    ids = [np.arange(count)] * num_frames
    ours, theirs = encoded(predictions), encoded(truths)
    metric = JAndF()
    j = metric._compute_j(theirs, ours, count, count, num_frames)
    f = [metric._compute_f(theirs, ours, k, k, 0.008) for k in range(count)]
    data = {
        "num_timesteps": num_frames, "num_tracker_ids": count, "num_gt_ids": count,
        "gt_dets": theirs, "tracker_dets": ours, "gt_ids": ids, "tracker_ids": ids,
    }  # fmt: skip
    return j[np.arange(count), np.arange(count)], np.array(f), metric.eval_sequence(data)


@pytest.mark.parametrize("size", [(60, 100), (120, 70), (240, 427)])
def test_scores_are_those_of_trackeval(size: tuple[int, int]) -> None:
    prediction, truth = ellipses(10, *size, seed=1), ellipses(10, *size, seed=2)
    prediction[3] = truth[4] = prediction[5] = truth[5] = False
    prediction[6] = truth[6]
    j, f, _ = by_trackeval({1: prediction}, {1: truth})
    np.testing.assert_allclose(region_similarity(prediction, truth), j[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(contour_accuracy(prediction, truth), f[0], rtol=0, atol=1e-12)
    assert contour_accuracy(prediction, truth)[[3, 4, 5, 6]].tolist() == [0, 0, 1, 1]
    assert region_similarity(prediction, truth)[[3, 4, 5, 6]].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 7, 43, 104])
def test_statistics_are_those_of_trackeval(num_frames: int) -> None:
    prediction, truth = ellipses(num_frames, 40, 60, seed=3), ellipses(num_frames, 40, 60, seed=4)
    _, _, summary = by_trackeval({1: prediction}, {1: truth})
    for name, scores in (
        ("J", region_similarity(prediction, truth)),
        ("F", contour_accuracy(prediction, truth)),
    ):
        found = statistics(scores)
        assert found.mean == pytest.approx(summary[f"{name}-Mean"], abs=1e-12)
        assert found.recall == pytest.approx(summary[f"{name}-Recall"], abs=1e-12)
        assert found.decay == pytest.approx(summary[f"{name}-Decay"], abs=1e-12)


@pytest.mark.parametrize("num_frames", [256, 257, 400, 1000])
def test_decay_of_more_frames_than_a_byte_counts(num_frames: int) -> None:
    """Scores that fall evenly from 1 to 0: a quarter's mean is known, whatever their number."""
    scores = np.linspace(1, 0, num_frames)
    bins = np.array_split(np.arange(num_frames), 4)
    expected = scores[bins[0]].mean() - scores[bins[3]].mean()
    assert statistics(scores).decay == pytest.approx(expected, abs=2 / num_frames)
    assert 0.74 < statistics(scores).decay < 0.76


def test_a_shifted_square() -> None:
    """A square of 20 moved by 5: J by its area, F by how far the radius reaches."""
    truth = np.zeros((1, 60, 80), dtype=bool)
    truth[0, 20:40, 30:50] = True
    prediction = np.roll(truth, 5, axis=2)
    assert region_similarity(prediction, truth)[0] == pytest.approx(15 / 25)
    assert contour_accuracy(prediction, truth, tolerance=5)[0] == 1
    # the contour has 80 pixels; 4 pixels do not reach the 21 of the edge that is 5 away from the
    # other's, nor the 11 in the middle of the opposite one, which lies inside the other square
    assert contour_accuracy(prediction, truth, tolerance=4)[0] == pytest.approx(48 / 80)


def test_the_radius_is_a_share_of_the_diagonal() -> None:
    """8 pixels in 854 x 480, as published."""
    truth, prediction = np.zeros((2, 1, 480, 854), dtype=bool)
    truth[:, :, :400] = True
    prediction[:, :, :408] = True
    assert contour_accuracy(prediction, truth)[0] == 1
    assert contour_accuracy(np.roll(prediction, 1, axis=2) | truth, truth)[0] == 0


def test_void_pixels_count_on_neither_side() -> None:
    prediction, truth = ellipses(4, 60, 100, seed=5), ellipses(4, 60, 100, seed=6)
    void = ellipses(4, 60, 100, seed=7)
    cut = prediction & ~void, truth & ~void
    assert void.any()
    np.testing.assert_array_equal(
        region_similarity(prediction, truth, void), region_similarity(*cut)
    )
    np.testing.assert_array_equal(contour_accuracy(prediction, truth, void), contour_accuracy(*cut))


def test_tensors_come_back_as_tensors() -> None:
    prediction, truth = ellipses(4, 60, 100, seed=5), ellipses(4, 60, 100, seed=6)
    for measure in (region_similarity, contour_accuracy):
        found = measure(torch.from_numpy(prediction), torch.from_numpy(truth))
        assert found.dtype == torch.float64
        assert found.tolist() == measure(prediction, truth).tolist()


@pytest.mark.parametrize("measure", [region_similarity, contour_accuracy])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (("a", np.ones((1, 2, 2), bool)), "prediction expected masks [T, H, W], got str"),
        ((np.ones((1, 2, 2)), np.ones((1, 2, 2), bool)), "prediction expected bool, got float64"),
        ((np.ones((2, 2), bool),) * 2, "prediction expected [T, H, W] with pixels, got [2, 2]"),
        (
            (np.ones((1, 2, 2), bool), np.ones((2, 2, 2), bool)),
            "truth expected [1, 2, 2], as prediction, got [2, 2, 2]",
        ),
        (
            (np.ones((1, 2, 2), bool),) * 2 + (np.ones((1, 2, 2), np.uint8),),
            "void expected bool, got uint8",
        ),
    ],
)
def test_wrong_calls(measure: Any, masks: tuple[Any, ...], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        measure(*masks)
    assert str(caught.value) == f"{measure.__name__}: {message}"


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_wrong_tolerance(tolerance: float) -> None:
    mask = np.ones((1, 2, 2), bool)
    with pytest.raises(ValueError, match="contour_accuracy: tolerance expected finite and at le"):
        contour_accuracy(mask, mask, tolerance=tolerance)


def test_no_scores() -> None:
    with pytest.raises(ValueError, match=r"statistics: scores expected \[T\], at least 1"):
        statistics([])


def test_real_masks() -> None:
    """Each mask of a DAVIS sequence against the one before it, as a tracker that lags."""
    masks = Path(os.environ.get("VTCD_DATA", "/nonexistent")) / "davis16/breakdance/masks"
    if not masks.is_dir():
        pytest.skip("real masks: VTCD_DATA names no folder with davis16/breakdance/masks")
    volume = np.stack([np.asarray(Image.open(path)) > 0 for path in sorted(masks.iterdir())[:20]])
    prediction, truth = volume[:-1], volume[1:]
    j, f, _ = by_trackeval({1: prediction}, {1: truth})
    np.testing.assert_allclose(region_similarity(prediction, truth), j[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(contour_accuracy(prediction, truth), f[0], rtol=0, atol=1e-12)
    assert 0.2 < region_similarity(prediction, truth).mean() < 0.99
