"""What a segmentation is made of: prompts, log-odds, the way from pixels to tokens and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vtcd_ops.common.errors import InputError
from vtcd_ops.segmentation.concept_supports import overlaps
from vtcd_ops.segmentation.first_mask import read_objects
from vtcd_ops.segmentation.log_odds import (
    TokenConcepts,
    best_threshold,
    concept_log_odds,
    followed_scores,
    token_scores,
)
from vtcd_ops.segmentation.refinement import prompts, refine_labels, refine_mask
from vtcd_ops.segmentation.view import View


def block(rows: slice, columns: slice, size: tuple[int, int] = (200, 300)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def test_prompts_of_a_block() -> None:
    mask = block(slice(80, 120), slice(150, 160))  # 40 high, 10 wide
    found = [prompts(mask, frame) for frame in range(2000)]
    assert all(one is not None and one.box == (150, 80, 159, 119) for one in found)
    points = np.stack([one.points for one in found if one is not None])
    assert (points[:, 0] == [154.5, 99.5]).all()
    drawn = points[:, 1:].reshape(-1, 2)
    # of 4000 points: mean and variance within five of their standard errors
    variance = np.array([1.0, 4.0])  # of x a tenth of the width, of y a tenth of the height
    assert (abs(drawn.mean(axis=0) - [154.5, 99.5]) < 5 * np.sqrt(variance / 4000)).all()
    assert (abs(drawn.var(axis=0) - variance) < 5 * variance * np.sqrt(2 / 4000)).all()
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 5 / np.sqrt(4000)


def test_prompts_depend_on_seed_and_frame_alone() -> None:
    mask = block(slice(80, 120), slice(150, 160))

    def points(frame: int, seed: int) -> list[list[float]]:
        found = prompts(mask, frame, seed)
        assert found is not None
        return found.points.tolist()

    once = points(3, 0)
    points(4, 0)
    assert points(3, 0) == once
    assert points(4, 0) != once
    assert points(3, 1) != once


def test_points_stay_on_the_frame() -> None:
    corner = block(slice(0, 1), slice(0, 300))
    found = [prompts(corner, frame) for frame in range(50)]
    ys = np.concatenate([one.points[:, 1] for one in found if one is not None])
    assert ys.min() == 0.0
    assert ys.max() > 0


def test_an_empty_mask_stays_empty_and_nobody_is_asked() -> None:
    empty = np.zeros((4, 5), dtype=bool)

    def refine(*_: object) -> np.ndarray:
        raise AssertionError("asked")

    assert prompts(empty, 0) is None
    assert not refine_mask(np.zeros((4, 5, 3), np.uint8), empty, refine, 0).any()


def test_the_mask_of_the_largest_iou_is_chosen() -> None:
    frame, mask = np.zeros((8, 8, 3), np.uint8), block(slice(2, 4), slice(2, 4), (8, 8))
    everything = np.ones((8, 8), dtype=bool)  # overlaps in all 4 pixels, IoU 4 / 64
    half = block(slice(2, 4), slice(2, 3), (8, 8))  # 2 / 4
    larger = block(slice(2, 5), slice(2, 5), (8, 8))  # 4 / 9
    given = np.stack([everything, larger, half])
    for found in (given, torch.from_numpy(given)):
        assert np.array_equal(refine_mask(frame, mask, lambda *_: found, 0), half)  # noqa: B023
    elsewhere = block(slice(6, 8), slice(6, 8), (8, 8))[None]
    assert np.array_equal(refine_mask(frame, mask, lambda *_: elsewhere, 0), mask)
    for bad in (given[0], given.astype(np.uint8), given[:0], given[:, 1:]):
        with pytest.raises(InputError, match=r"refine expected to return masks bool \[M, 8, 8\]"):
            refine_mask(frame, mask, lambda *_: bad, 0)  # noqa: B023


def test_refined_objects_that_overlap() -> None:
    labels = np.array([[1, 1, 0, 2, 2]], dtype=np.int32)
    refined = {0: [[1, 1, 1, 1, 0]], 3: [[0, 0, 1, 1, 1]]}  # by the left edge of the box

    def refine(_: np.ndarray, box: tuple[int, ...], __: np.ndarray) -> np.ndarray:
        return np.array([refined[box[0]]], dtype=bool)

    found = refine_labels(np.zeros((1, 5, 3), np.uint8), labels, refine, 0)
    assert found.tolist() == [[1, 1, 1, 2, 2]]


def test_every_token_has_its_nearest_concept() -> None:
    """Two plain halves: two concepts, each the mean of its own tokens."""
    features = torch.randn(2, 3, 4, 6, 8, generator=torch.Generator().manual_seed(0)) * 0.01
    features[:, 0, ..., :4] += 2
    features[:, 1, ..., 4:] += 3
    concepts, counts = TokenConcepts(num_concepts=2, tokens_per_tubelet=8).find(features)
    assert counts == [2, 2]
    assert concepts.shape == (2, 4 * 6 * 8)
    halves = concepts.reshape(2, 4, 6, 8)
    for head in halves:
        assert (head[..., :4] == head[0, 0, 0]).all()
        assert (head[..., 4:] == head[0, 0, 7]).all()
        assert head[0, 0, 0] != head[0, 0, 7]


def test_log_odds_of_concepts() -> None:
    concept = np.array([0, 0, 0, 1, 2, 2])
    covered = np.array([1.0, 1.0, 0.4, 0.0, 1.0, 0.6])
    prior = 4 / 6
    share = np.array([2.4, 0.0, 1.6, 0.0]) + 2 * prior
    share /= np.array([3, 1, 2, 0]) + 2
    assert concept_log_odds(concept, covered, 4) == pytest.approx(np.log(share / (1 - share)))


def test_a_sure_concept_keeps_a_doubt() -> None:
    nothing = concept_log_odds(np.zeros(10, dtype=int), np.zeros(10), 1)
    assert nothing == pytest.approx([np.log(0.001 / 0.999)])


def test_scores_are_means_over_heads() -> None:
    concepts = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])  # 2 heads, 2 steps of 2 tokens
    covered = np.array([[1.0, 0.0], [0.0, 1.0]])  # 2 objects
    scores = token_scores(concepts, [2, 2], covered, (2, 1, 2))
    tables = [[concept_log_odds(head[:2].numpy(), one, 2) for one in covered] for head in concepts]
    for thing in range(2):
        expected = [(tables[0][thing][a] + tables[1][thing][b]) / 2 for a, b in concepts.T.tolist()]
        assert scores[thing].flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_the_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1.5, (20, 20))
    mask = scores + rng.normal(0, 0.5, scores.shape) > 0.7

    def iou(threshold: float) -> float:
        found = scores > threshold
        return float((found & mask).sum() / (found | mask).sum())

    chosen = best_threshold(scores, mask)
    assert iou(chosen) == max(map(iou, np.linspace(-3, 2, 21).tolist()))
    assert 0 < chosen < 1.5


def test_overlaps_by_hand() -> None:
    rng = np.random.default_rng(1)
    concept = rng.integers(-1, 3, (4, 6, 5)).astype(np.int16)
    masks = rng.random((4, 6, 5)) < 0.4
    concept[2][concept[2] == 1] = 0
    masks[2] = False
    found = overlaps(concept, masks, 3)
    for frame in range(4):
        for one in range(3):
            support = concept[frame] == one
            either = (support | masks[frame]).sum()
            expected = (support & masks[frame]).sum() / either if either else 1.0
            assert found[frame, one] == expected
    assert found[2, 1] == 1.0  # both are empty


def test_pixels_of_the_whole_frame_are_torchs() -> None:
    scores = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    found = View((40, 63), 0, 0, 40, 63).scores_of_pixels(scores)
    expected = torch.nn.functional.interpolate(
        scores[None], (40, 63), mode="bicubic", align_corners=False
    )[0]
    assert torch.equal(found, expected)


def test_a_view_beyond_the_frame() -> None:
    """Black surrounds a frame that is smaller than what the model sees: that is cut off."""
    view = View((2, 4), top=-2, left=0, height=6, width=4)
    assert view.labels_of_pixels(np.array([[0], [1], [2]])).tolist() == [[1] * 4] * 2
    assert view.scores_of_pixels(torch.ones(1, 3, 2)).tolist() == [[[1.0] * 4] * 2]
    masks = view.masks_of_voxels(np.ones((1, 2, 4), dtype=bool), (3, 2))
    assert masks.tolist() == [[[False] * 2, [True] * 2, [False] * 2]]


def save(path: Path, values: np.ndarray, palette: bool = False) -> Path:
    image = Image.fromarray(values)
    if palette:
        image.putpalette([n // 3 for n in range(765)] + [224, 224, 192])
    image.save(path)
    return path


def test_what_a_first_mask_may_be(tmp_path: Path) -> None:
    one = np.array([[0, 1, 1]])
    byte = one.astype(np.uint8)
    soft = np.arange(120, dtype=np.uint8).reshape(8, 15) * 2
    soft[0, 0] = 255
    cases: list[tuple[Any, np.ndarray]] = [
        (byte.astype(bool), one), (byte, one), (255 * byte, one), (40 * byte, 40 * one),
        (torch.from_numpy(byte), one), (byte.astype(np.float32), one),
        (save(tmp_path / "white.png", 255 * byte), one),
        (save(tmp_path / "colour.png", np.stack([200 * byte] * 2 + [0 * byte], -1)), one),
        (save(tmp_path / "number.png", 3 * byte, palette=True), 3 * one),
        (save(tmp_path / "void.png", np.array([[5, 255, 2]], np.uint8), palette=True),
         np.array([[5, 0, 2]])),
        (save(tmp_path / "soft.png", soft), (soft > 127).astype(int)),
        (str(save(tmp_path / "text.png", byte)), one),
    ]  # fmt: skip
    for given, expected in cases:
        found = read_objects(given, expected.shape)
        assert found.dtype == np.int32
        assert found.tolist() == expected.tolist(), given


def test_a_concept_that_comes_later_is_learnt_from_the_frames_before() -> None:
    """One head, four tokens a step: concept 1 is the object, 2 comes in where 1 is everywhere."""
    concepts = torch.tensor([[1, 1, 0, 0, 1, 1, 1, 0, 2, 1, 1, 0]])
    covered, thresholds = np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([0.0])
    # 9 times the 4 / 3 tokens of a concept are 12, of which the first frame has 2
    found = followed_scores(concepts, [3], covered, (3, 1, 4), thresholds, memory=9.0).numpy()

    def odds(share: float) -> float:
        return float(np.log(share / (1 - share)))

    def sure(score: float) -> float:
        return 1 / (1 + np.exp(-2 * score))

    first = odds((2 + 2 * 0.5) / (2 + 2))
    assert found[0, 0, 0] == pytest.approx([first, first, -first, -first])
    # no step lies between: what is known beforehand is the object's share in the frame
    second = odds((2 + 12 * 0.5) / (2 + 12))
    assert found[0, 1, 0] == pytest.approx([second, second, second, -second])
    later = (3 * sure(second) + 2 * 0.5) / (3 + 2)  # of concept 1, in the second step
    third = odds((2 + 2 * 0.5 + 10 * later) / (2 + 12))
    background = odds((2 * 0.5 + 10 * (sure(-second) + 2 * 0.5) / (1 + 2)) / (2 + 12))
    assert found[0, 2, 0] == pytest.approx([0.0, third, third, background], abs=1e-6)


def test_without_memory_the_first_frame_alone_decides() -> None:
    rng = np.random.default_rng(2)
    concepts = torch.from_numpy(rng.integers(0, 5, (3, 24)))
    covered = rng.random((2, 8))
    plain = token_scores(concepts, [5, 5, 5], covered, (3, 2, 4))
    for memory in (0.0, 4.0):
        found = followed_scores(concepts, [5, 5, 5], covered, (3, 2, 4), np.zeros(2), memory)
        assert torch.allclose(found[:, 0], plain[:, 0], atol=1e-6)
        assert torch.allclose(found, plain, atol=1e-6) == (memory == 0)
