"""A square that moves over a plain ground: where it is is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.optimize
import torch
from segmentation.moving_object import (
    EDGE,
    PATCH,
    SIDE,
    colour_adapter,
    moving_square,
    two_squares,
)

import vtcd_ops
from vtcd_ops.adapters import FrameTransform
from vtcd_ops.segmentation.segment import Segmentation
from vtcd_ops.vos_metrics import region_similarity

COLOURS = [("keys", 1, 0)]
#: IoU of a square whose every edge lies half a token too far inside
HALF_A_TOKEN = ((SIDE - PATCH) / SIDE) ** 2


def overlap(found: Segmentation, truth: np.ndarray, number: int = 1) -> np.ndarray:
    return region_similarity((found.labels == number).numpy(), truth)


@pytest.mark.parametrize("mode", ["better", "paper"])
@pytest.mark.parametrize("heads", [COLOURS, None])
def test_the_square_is_found_in_every_frame(mode: str, heads: list | None) -> None:
    video, masks = moving_square()
    found = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=heads, mode=mode)
    assert found.labels.dtype == torch.int32
    assert found.masks.shape == masks.shape
    assert found.masks.dtype == torch.bool
    assert overlap(found, masks).min() > HALF_A_TOKEN
    # tokens of the colour are pure: better by far than the bound, and finer than tubelets
    assert overlap(found, masks).mean() > (0.8 if mode == "better" else 0.7)


def test_a_head_of_noise_finds_nothing() -> None:
    video, masks = moving_square()
    found = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=[("keys", 0, 0)])
    assert overlap(found, masks)[2:].mean() < 0.3


def test_what_was_looked_at_by_default() -> None:
    video, masks = moving_square()
    better = vtcd_ops.segment(colour_adapter(), video, masks[0])
    assert better.heads == tuple(("keys", layer, head) for layer in (0, 1) for head in (0, 1))
    assert better.scores is not None
    assert better.scores.shape == (1, 5, 8, 8)
    paper = vtcd_ops.segment(colour_adapter(), video, masks[0], mode="paper")
    assert paper.heads == (("keys", 1, 0), ("keys", 1, 1))
    assert paper.scores is None
    assert paper.concepts[0].head == ("keys", 1, 0)


@pytest.mark.parametrize("mode", ["better", "paper"])
def test_several_objects_keep_their_numbers(mode: str) -> None:
    video, labels = two_squares()
    found = vtcd_ops.segment(colour_adapter(), video, labels[0], heads=COLOURS, mode=mode)
    assert found.labels.unique().tolist() == [0, 1, 7]
    assert overlap(found, labels == 1).min() > HALF_A_TOKEN
    assert overlap(found, labels == 7, 7).min() > ((24 - PATCH) * (16 - PATCH)) / (24 * 16)


def test_another_size_than_the_models() -> None:
    """Frames that are stretched: 128 x 192 pixels become 64 x 64."""
    video, masks = (np.repeat(np.repeat(x, 2, 1), 3, 2) for x in moving_square())
    found = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=COLOURS)
    assert found.masks.shape == (10, 2 * EDGE, 3 * EDGE)
    assert overlap(found, masks).mean() > 0.8


def test_what_the_model_does_not_see_is_no_object() -> None:
    frames = FrameTransform((EDGE, EDGE), shortest_edge=EDGE, mean=(0.0,) * 3, std=(1.0,) * 3)
    seen, masks = moving_square()
    video = np.pad(seen, ((0, 0), (0, 0), (16, 16), (0, 0)), mode="edge")
    wide = np.pad(masks, ((0, 0), (0, 0), (16, 16)), mode="edge")
    cut = np.pad(masks, ((0, 0), (0, 0), (16, 16)))
    for mode in ("better", "paper"):
        found = vtcd_ops.segment(colour_adapter(frames), video, wide[0], heads=COLOURS, mode=mode)
        assert not found.masks[:, :, :16].any()
        assert not found.masks[:, :, -16:].any()
        assert overlap(found, cut).min() > HALF_A_TOKEN
    mask = np.zeros(video.shape[1:3], dtype=bool)
    mask[:, :10] = True
    with pytest.raises(vtcd_ops.InputError, match="object that the model sees"):
        vtcd_ops.segment(colour_adapter(frames), video, mask)


def joined_by_hand(video: np.ndarray, layer: int) -> torch.Tensor:
    """Keys of 10 frames [A, C, 5, 8, 8]; the last window begins at frame 6, its token 3 again."""
    adapter = colour_adapter()
    tokens = []
    for start, skip in ((0, 0), (4, 0), (6, 1)):
        clip = adapter.preprocess(video[start : start + 4])[None]
        keys = vtcd_ops.capture(adapter, clip, layers=[layer])["keys"][layer][0]
        tokens.append(keys.reshape(2, 2, 8, 8, 3)[:, skip:])
    return torch.cat(tokens, dim=1).permute(0, 4, 1, 2, 3).contiguous()


def test_paper_mode_by_hand() -> None:
    video, masks = moving_square()
    best, expected, place = 0.0, np.zeros(0), (0, 0)
    for layer in (0, 1):
        for head, features in enumerate(joined_by_hand(video, layer)):
            labels = vtcd_ops.slic3d(features[None], (10, 64, 64), 12, 0.1)
            means, counts = vtcd_ops.tubelet_pool(features[None], labels, int(labels.max()) + 1)
            assert counts.min() >= 0.001 * labels.numel()  # none is too small
            k = vtcd_ops.choose_num_concepts(means[0], "elbow", 0.9)
            centers = vtcd_ops.cnmf(means[0], int(k)).centers.double().numpy()
            concept = np.array(
                [scipy.optimize.nnls(centers.T, x)[0].argmax() for x in means[0].double().numpy()]
            )
            support = concept[labels[0].numpy()]
            for one in range(int(k)):
                first = support[0] == one
                iou = (first & masks[0]).sum() / (first | masks[0]).sum()
                if iou > best:
                    best, expected, place = iou, support == one, (layer, head)
    heads = [("keys", layer, head) for layer in (0, 1) for head in (0, 1)]
    found = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=heads, mode="paper")
    assert found.concepts[0].head == ("keys", *place)
    assert found.concepts[0].overlap == pytest.approx(best, rel=1e-12)
    assert np.array_equal(found.masks.numpy(), expected)


@pytest.mark.parametrize("mode", ["better", "paper"])
def test_the_number_of_threads_changes_nothing(mode: str) -> None:
    video, labels = two_squares()
    before, results = torch.get_num_threads(), list[Segmentation]()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(vtcd_ops.segment(colour_adapter(), video, labels[0], mode=mode))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(results[0].labels, other.labels)
        if results[0].scores is not None:
            assert other.scores is not None
            assert torch.equal(results[0].scores, other.scores)


@pytest.mark.parametrize("objects", [1, 2])
def test_frames_are_cut_as_one_by_one(objects: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many frames interpolated together have the bits of each alone, by torch, of its scores."""
    video, labels = two_squares()
    first = labels[0] if objects == 2 else (labels[0] > 0).astype(np.int32)
    found = vtcd_ops.segment(colour_adapter(), video, first)
    assert found.scores is not None
    for frame, its_labels in enumerate(found.labels):
        position = min(max((frame + 0.5) / 2 - 0.5, 0), found.scores.shape[1] - 1)
        before, share = int(position), position - int(position)
        after = min(before + 1, found.scores.shape[1] - 1)
        tokens = found.scores[:, before] * (1 - share) + found.scores[:, after] * share
        pixels = torch.nn.functional.interpolate(tokens[None], first.shape, mode="bicubic")[0]
        numbers = torch.from_numpy(np.unique(first[first > 0]).astype(np.int32))
        expected = torch.where(pixels.amax(0) > 0, numbers[pixels.argmax(0)], 0)
        assert torch.equal(its_labels, expected)
    # the module, whose name in the package is the function's
    monkeypatch.setattr(sys.modules["vtcd_ops.segmentation.segment"], "_PIXELS", 1)
    again = vtcd_ops.segment(colour_adapter(), video, first)
    assert torch.equal(again.labels, found.labels)


def test_refined_masks_take_the_place_of_the_found_ones() -> None:
    video, masks = moving_square()
    plain = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=COLOURS)
    asked: list[tuple[tuple[int, ...], np.ndarray]] = []

    def refine(frame: np.ndarray, box: tuple[int, ...], points: np.ndarray) -> np.ndarray:
        number = len(asked)
        assert np.array_equal(frame, video[number])
        asked.append((box, points))
        return np.stack([~masks[number], masks[number], np.zeros_like(masks[number])])

    found = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=COLOURS, refine=refine)
    assert np.array_equal(found.masks.numpy(), masks)
    for (box, points), mask in zip(asked, plain.masks.numpy(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box == (columns.min(), rows.min(), columns.max(), rows.max())
        assert points.shape == (3, 2)
        assert points[0] == pytest.approx([columns.mean(), rows.mean()])


def test_heads_that_know_the_object_come_first() -> None:
    video, masks = moving_square()
    samples = [vtcd_ops.Sample(video, target_masks=masks) for _ in range(2)]
    ranked = vtcd_ops.choose_heads(colour_adapter(), samples, num_heads=None)
    assert len(ranked) == 4
    assert ranked[0] == ("keys", 1, 0)
    # the noise is one table in layer 0 and in head 1 of layer 1: equal, so in their order
    assert ranked[1:] == [("keys", 0, 0), ("keys", 0, 1), ("keys", 1, 1)]
    assert vtcd_ops.choose_heads(colour_adapter(), samples, num_heads=1) == ranked[:1]
    values = vtcd_ops.choose_heads(colour_adapter(), samples, parts=("values",), layers=[1])
    assert values == [("values", 1, 0), ("values", 1, 1)]
