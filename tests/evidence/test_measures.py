"""The measures of evidence against closed forms, other packages and planted structure."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import r2_score

from vtcd_ops.concept_evidence.coherence import coherence
from vtcd_ops.concept_evidence.explained import colour_cells, place_cells, share_explained
from vtcd_ops.concept_evidence.objects import held_out, true_voxels
from vtcd_ops.concept_evidence.overlap import best_overlaps
from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.stability import _Head
from vtcd_ops.concept_evidence.tokens import TokenConcepts
from vtcd_ops.discovery.degenerate_heads import is_degenerate
from vtcd_ops.discovery.records import HeadConcepts, VideoRecord
from vtcd_ops.estimates.chance_overlap import expected_overlap


def concepts_of(*maps: np.ndarray, k: int) -> TokenConcepts:
    """Concepts of one head, from its concept of every token [t, h, w] of each video."""
    units = np.array([(0, 0, concept) for concept in range(k)])
    return TokenConcepts(units, [(0, 0)], [one[None].astype(np.int32) for one in maps])


def random_maps(seed: int, k: int, num_videos: int = 3) -> TokenConcepts:
    random = np.random.default_rng(seed)
    return concepts_of(*random.integers(-1, k, (num_videos, 2, 5, 6)), k=k)


@pytest.mark.parametrize(("a", "b"), [(10, 10), (200, 50), (1, 999), (700, 800)])
def test_the_overlap_expected_of_two_sizes_is_that_of_the_hypergeometric_distribution(a, b):
    n = 1000
    both = np.arange(max(a + b - n, 0), min(a, b) + 1)
    exact = (hypergeom(n, a, b).pmf(both) * both / (a + b - both)).sum()
    assert expected_overlap(np.array([a, b]), n) == pytest.approx(exact, abs=2 / n)


def test_the_overlap_expected_of_three_sizes_is_that_of_drawing_them():
    random, n, sizes = np.random.default_rng(0), 500, (100, 250, 300)
    ratios = []
    for _ in range(2000):
        masks = np.stack([random.permutation(n) < size for size in sizes])
        ratios.append(masks.all(axis=0).sum() / masks.any(axis=0).sum())
    error = np.std(ratios) / np.sqrt(len(ratios))
    assert expected_overlap(np.array(sizes), n) == pytest.approx(np.mean(ratios), abs=5 * error)
    assert np.isnan(expected_overlap(np.array([0, 0]), n))


def test_best_overlaps_are_those_of_trying_every_pair():
    one, other = random_maps(1, 4), random_maps(2, 3)
    found = best_overlaps(one, other)
    for unit in range(4):
        scores = []
        for rival in range(3):
            pairs = [(a == unit, b == rival) for a, b in zip(one.maps, other.maps, strict=True)]
            scores.append(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))
        assert found.score[unit] == pytest.approx(max(scores))
        assert found.unit[unit].tolist() == [0, 0, int(np.argmax(scores))]
    assert found.per_video.values() == pytest.approx(found.score)


def test_a_concept_that_the_copy_has_as_well_overlaps_with_it_and_not_with_it_moved():
    planted = random_maps(1, 4)
    found = best_overlaps(planted, planted)
    assert found.score.tolist() == [1, 1, 1, 1]
    assert (found.moved < 0.5).all()


def test_moving_the_supports_keeps_their_sizes_and_meets_the_size_matched_expectation():
    one = concepts_of(np.arange(60).reshape(3, 4, 5) % 2 - 1, k=1)
    block = np.full((3, 4, 5), -1)
    block[:, :2, :2] = 0
    other = concepts_of(block, k=1)
    offsets = itertools.product(range(3), range(4), range(5))
    both = [
        ((one.maps[0][0] == 0) & (np.roll(block, offset, (0, 1, 2)) == 0)).sum()
        for offset in offsets
    ]
    sizes = one.counts()[0, 0] * other.counts()[0, 0]
    assert np.mean(both) == pytest.approx(sizes / 60)  # a·b/n, whatever the shapes
    moved = other.moved(np.random.default_rng(0))
    assert moved.counts().tolist() == other.counts().tolist()


def dense_moran(values: np.ndarray, axes: tuple[int, ...]) -> float:
    """Moran's I by its definition, from a matrix of weights."""
    places = np.array(list(np.ndindex(values.shape)))
    apart = np.abs(places[:, None] - places[None])
    weights = np.zeros(apart.shape[:2])
    for axis in axes:
        others = [one for one in range(3) if one != axis]
        weights += (apart[..., axis] == 1) & (apart[..., others] == 0).all(axis=-1)
    z = values.ravel() - values.mean()
    return len(z) / weights.sum() * (z @ weights @ z) / (z @ z)


def test_coherence_is_morans_i():
    concepts = random_maps(3, 3, num_videos=2)
    found = coherence(concepts)
    for kind, axes in (("space", (1, 2)), ("time", (0,))):
        for unit in range(3):
            each = [dense_moran((m[0] == unit).astype(float), axes) for m in concepts.maps]
            assert found[kind].per_video.values()[unit] == pytest.approx(np.mean(each))


def test_shuffled_tokens_have_the_coherence_expected_in_closed_form():
    each = []
    for chosen in itertools.combinations(range(8), 3):
        volume = np.full(8, -1)
        volume[list(chosen)] = 0
        each.append(coherence(concepts_of(volume.reshape(2, 2, 2), k=1)))
    for kind in ("space", "time"):
        assert np.mean([one[kind].per_video.values()[0] for one in each]) == pytest.approx(-1 / 7)
        assert each[0][kind].expected[0] == pytest.approx(-1 / 7)


def test_coherence_tells_a_piece_from_scattered_and_from_alternating_tokens():
    piece, alternating = np.full((2, 4, 8, 8), -1)
    piece[:, :, :4] = 0
    alternating[np.indices((4, 8, 8)).sum(axis=0) % 2 == 0] = 0
    scattered = np.random.default_rng(0).integers(-1, 1, (4, 8, 8))
    found = [coherence(concepts_of(one, k=1), 99) for one in (piece, alternating, scattered)]
    assert [one["space"].per_video.values()[0] for one in found[:2]] == pytest.approx(
        [96 / 112, -1]  # of 112 pairs in a frame 8 are unlike; all are
    )
    assert found[0]["time"].per_video.values()[0] == pytest.approx(1)
    assert [one["space"].p_value[0] for one in found[:2]] == [0.01, 1.0]
    assert found[2]["space"].p_value[0] > 0.05


def test_p_values_of_shuffled_tokens_are_uniform():
    random = np.random.default_rng(5)
    maps = [random.integers(0, 200, (2, 12, 12)) for _ in range(2)]
    p_values = coherence(concepts_of(*maps, k=200), 49)["space"].p_value
    assert np.mean(p_values <= 0.2) == pytest.approx(0.2, abs=0.1)


def test_share_explained_is_r2_in_videos_held_out():
    random = np.random.default_rng(0)
    cells = [random.integers(0, 3, (2, 6, 6)) for _ in range(3)]
    likely = np.array([0.9, 0.5, 0.1])
    concepts = concepts_of(
        *[np.where(random.random(c.shape) < likely[c], 0, -1) for c in cells], k=1
    )
    found = share_explained(concepts, cells, 3)
    truth, predicted, plain = [], [], []
    for video in range(3):
        others = [v for v in range(3) if v != video]
        inside = np.concatenate([(concepts.maps[v] == 0).ravel() for v in others])
        of_others = np.concatenate([cells[v].ravel() for v in others])
        by_cell = [
            (inside[of_others == c].sum() + 4 * inside.mean()) / ((of_others == c).sum() + 4)
            for c in range(3)
        ]
        truth.append((concepts.maps[video] == 0).ravel())
        predicted.append(np.array(by_cell)[cells[video].ravel()])
        plain.append(np.full(cells[video].size, inside.mean()))
    truth, predicted, plain = map(np.concatenate, (truth, predicted, plain))
    expected = 1 - ((truth - predicted) ** 2).sum() / ((truth - plain) ** 2).sum()
    assert found.values()[0] == pytest.approx(expected)
    assert found.values()[0] == pytest.approx(r2_score(truth, predicted), abs=0.01)


def test_place_and_colour_explain_what_they_make_and_not_each_other():
    random, grid = np.random.default_rng(0), (2, 16, 16)
    previews = [np.repeat(random.integers(0, 2, (2, 16, 16, 1)) * 255, 3, 3) for _ in range(4)]
    previews = [preview.astype(np.uint8) for preview in previews]
    place, colour = [place_cells(grid)] * 4, [colour_cells(one, grid) for one in previews]
    left = [np.where(np.arange(16) < 8, 0, 1) * np.ones(grid, dtype=int)] * 4
    white = [(preview[..., 0] > 0).astype(int) for preview in previews]
    for maps, by_place, by_colour in ((left, 1, 0), (white, 0, 1)):
        concepts = concepts_of(*maps, k=2)
        assert share_explained(concepts, place, 64).values() == pytest.approx(by_place, abs=0.03)
        assert share_explained(concepts, colour, 64).values() == pytest.approx(by_colour, abs=0.03)
    assert np.isnan(share_explained(concepts_of(left[0], k=2), place[:1], 64).values()).all()


def test_colours_are_means_of_tokens():
    preview = np.zeros((4, 6, 6, 3), dtype=np.uint8)
    preview[:2, :3] = (255, 0, 0)
    preview[2:, 3:] = (0, 0, 130)
    cells = colour_cells(preview, (2, 2, 2))
    assert cells.tolist() == [[[48, 48], [0, 0]], [[0, 0], [2, 2]]]
    assert colour_cells(preview[:, :1, :1], (2, 2, 2)).tolist() == [[[48] * 2] * 2, [[0] * 2] * 2]


def test_the_concept_judged_on_a_video_is_chosen_on_the_others():
    overlaps = np.array([[0.95, 0.1, 0.1], [0.5, 0.5, 0.6], [1.0, 0.0, 0.0]])
    judged, chosen = held_out(PerVideo.mean_of(overlaps), np.ones(3, dtype=bool))
    assert chosen.tolist() == [1, 1, 0]
    assert judged.values()[0] == pytest.approx((0.5 + 0.5 + 0.1) / 3)
    judged, chosen = held_out(PerVideo.mean_of(overlaps), np.array([False, False, True]))
    assert judged.values()[0] == pytest.approx(1 / 3)


def seen_by(crop: tuple[float, float, float, float]) -> VideoRecord:
    return VideoRecord(0, "a", None, "", 4, 8.0, (100, 100), crop, (0, 2), 1)


def test_true_masks_are_read_where_the_features_were_interpolated_to():
    mask = np.zeros((4, 100, 100), dtype=bool)
    mask[2, :, :30] = True
    volume = SimpleNamespace(shape=(2, 8, 8), padded_size=(2, 8, 8), grid=(2, 2, 2))
    seen = true_voxels(seen_by((0, 0, 100, 100)), volume, mask)  # type: ignore[arg-type]
    # between the tokens' middles at columns 25 and 75: at 25, 32.1, 39.3, ...
    assert not seen[0].any()
    assert seen[1].all(axis=0).tolist() == [True] + [False] * 7
    volume = SimpleNamespace(shape=(1, 4, 4), padded_size=(1, 4, 4), grid=(1, 4, 4))
    seen = true_voxels(seen_by((0, -100, 100, 200)), volume, mask)  # type: ignore[arg-type]
    # one step, judged in the second frame; columns -75, -25, 25, 75
    assert seen[0].all(axis=0).tolist() == [False, False, True, False]


def test_the_interval_of_a_median_holds_the_means_of_videos_drawn_again():
    values = np.random.default_rng(0).normal(0.5, 0.1, (1, 40))
    low, high = PerVideo.mean_of(values).median_interval()
    half = 1.96 * values.std() / np.sqrt(40)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.008)
    assert np.isnan(PerVideo.mean_of(values[:, :1]).median_interval()).all()


def head_of(concept: list[int], video: list[int], centers: np.ndarray) -> HeadConcepts:
    n, k = len(concept), len(centers)
    return HeadConcepts(
        "keys", 0, 0, k, centers.astype(np.float32), np.array(video), np.arange(n),
        np.array(concept), np.full(n, 10), np.zeros((n, k)), np.zeros((n, k)), np.zeros(n), 0.0, 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("concept", "video", "degenerate"),
    [
        ([0, 0, 1, 1], [0, 1, 0, 1], False),
        ([0, 0, 1, 1], [0, 0, 1, 1], True),  # each of one video
        ([0, 1, 0], [0, 0, 1], True),  # two of three tubelets
    ],
)
def test_heads_of_nearly_as_many_concepts_as_tubelets_or_of_one_video_are_degenerate(
    concept, video, degenerate
):
    assert is_degenerate(head_of(concept, video, np.eye(2)), num_videos=2) == degenerate


def test_tight_clusters_come_back_and_noise_does_not():
    random = np.random.default_rng(0)
    video = np.repeat(np.arange(6), 6)
    concept = np.tile([0, 0, 1, 1, 2, 2], 6)
    tight = np.eye(3, 8)[concept] + 0.01 * random.random((36, 8))
    noise = random.random((36, 8))
    volumes = np.full(6, 60)
    table = head_of(concept.tolist(), video.tolist(), np.eye(3, 8))
    for make in ("restarted", "halved"):
        stable, expected = getattr(_Head(table, tight.astype(np.float32), volumes), make)(3, 0)
        assert stable == pytest.approx(1.0)
        assert expected == pytest.approx(0.2)  # two of six equal tubelets: 1/9 over 5/9
        unstable, _ = getattr(_Head(table, noise.astype(np.float32), volumes), make)(3, 0)
        assert np.nanmean(unstable) < 0.7
