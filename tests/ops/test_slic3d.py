"""slic3d against scikit-image, its own definition, and what must hold for every input."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from ops.volumes import LAYERS, SEQUENCES, noise, real_keys, scikit_labels, smooth, to_volume
from skimage.segmentation._slic import _enforce_label_connectivity_cython
from torch import Tensor

import vtcd_ops
from vtcd_ops.ops import reference

SMALL = (8, 14, 14)
CASES: dict[str, tuple[Tensor, tuple[int, int, int], dict[str, Any]]] = {
    f"{name}, compactness {compactness}, seed {seed}": (
        features(16, SMALL, seed),
        (16, 56, 56),
        {"compactness": compactness},
    )
    for name, features in (("noise", noise), ("smooth", smooth))
    for compactness in (0.01, 0.1, 0.15)
    for seed in (0, 1)
} | {
    "full size": (smooth(64, SMALL), (16, 112, 112), {}),
    "full size of noise": (noise(64, SMALL), (16, 112, 112), {}),
    "odd sizes": (noise(8, (3, 5, 7)), (7, 33, 41), {}),
    "constant": (torch.full((4, 4, 5, 6), 2.5), (8, 40, 48), {}),
    "constant, spacing": (torch.full((1, 2, 5, 6), -1.0), (9, 31, 47), {"spacing": (1, 2.5, 0.7)}),
    "one frame": (noise(8, (1, 9, 9)), (1, 64, 64), {}),
    "one frame of tokens, many of voxels": (noise(8, (1, 9, 9)), (8, 40, 40), {}),
    "two tokens an axis": (noise(8, (2, 2, 2)), (16, 56, 56), {}),
    "one token in one axis, narrow": (noise(8, (4, 8, 1)), (8, 48, 3), {}),
    "one channel": (smooth(1, (4, 8, 8)), (8, 48, 48), {}),
    "three channels": (smooth(3, (4, 8, 8)), (8, 48, 48), {}),
    "three channels, three voxels wide": (noise(3, (4, 8, 3)), (8, 48, 3), {}),
    "spacing": (smooth(8, (4, 8, 8)), (8, 48, 48), {"spacing": (2, 0.7, 1.3)}),
    "spacing of noise": (noise(8, (4, 8, 8)), (8, 48, 48), {"spacing": (3, 1, 1)}),
    "no interpolation": (smooth(8, SMALL), SMALL, {}),
    "fewer voxels than tokens": (noise(8, (8, 28, 28)), (4, 13, 13), {}),
    "nearest": (noise(8, (4, 7, 7)), (8, 50, 40), {"interpolation": "nearest"}),
    "nearest, fewer": (noise(8, (4, 17, 7)), (3, 9, 6), {"interpolation": "nearest"}),
    "50 segments": (noise(8, SMALL), (16, 56, 56), {"n_segments": 50}),
    "200 segments": (smooth(8, SMALL), (16, 56, 56), {"n_segments": 200}),
    "1 segment": (noise(8, (4, 8, 8)), (8, 48, 48), {"n_segments": 1}),
    "more segments than voxels": (noise(8, (4, 8, 8)), (4, 8, 8), {"n_segments": 1000}),
    "1 round": (noise(8, (4, 8, 8)), (8, 48, 48), {"max_num_iter": 1}),
    "2 rounds": (noise(8, (4, 8, 8)), (8, 48, 48), {"max_num_iter": 2}),
    "40 rounds": (smooth(8, (4, 8, 8)), (8, 48, 48), {"max_num_iter": 40}),
    "compactness 10": (noise(8, (4, 8, 8)), (8, 48, 48), {"compactness": 10.0}),
    "compactness 1e-4: windows bound the clusters": (
        noise(8, (4, 8, 8)), (8, 48, 48), {"compactness": 1e-4},
    ),
    "windows bound the clusters, 2 rounds": (
        noise(8, (4, 8, 8)), (8, 48, 48), {"compactness": 1e-4, "max_num_iter": 2},
    ),
    "windows bound the clusters, 3 rounds, many segments": (
        noise(8, (4, 8, 8)), (8, 48, 48),
        {"compactness": 1e-3, "max_num_iter": 3, "n_segments": 60},
    ),
    "float64": (smooth(8, (4, 8, 8)).double(), (8, 48, 48), {}),
    "large offset": (smooth(8, (4, 8, 8)).double() + 1000, (8, 48, 48), {}),
    "size factors": (
        noise(8, (4, 8, 8)), (8, 48, 48), {"min_size_factor": 0.1, "max_size_factor": 0.7},
    ),
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:.*channels last:UserWarning")


def integers(channels: int, grid: tuple[int, int, int], levels: int, seed: int = 0) -> Tensor:
    """Whole numbers from 0, of which many are the same: many voxels are equally near."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (channels, *grid), generator=generator).float()


def with_outlier(value: float, grid: tuple[int, int, int] = (4, 7, 7)) -> Tensor:
    """Noise with one value far outside, in float64."""
    features = noise(8, grid).double()
    features[0, 0, 0, 0] = value
    return features


def in_line(*values: float) -> Tensor:
    """One channel, tokens one beside the other, in float64."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


HALVES = in_line(0, 0, 0, 0, 1, 1, 1, 1)
# What rounding, or the range of the numbers, can decide.
EXTREMES: dict[str, tuple[Tensor, tuple[int, int, int], dict[str, Any]]] = {
    **{
        f"outlier {value:g}, compactness {compactness:g}, {size}": (
            with_outlier(value), size, {"compactness": compactness},
        )
        for value, compactness in ((1e7, 1e-7), (1e8, 1e-8), (-1e8, 1e-8), (1e5, 1e-3))
        for size in ((4, 7, 7), (8, 28, 28))
    },
    **{
        f"two halves, compactness {compactness:g}": (
            HALVES, (1, 1, 8), {"n_segments": 2, "compactness": compactness},
        )
        for compactness in (1e6, 1e7, 1e8, 1e9, 1e12, 1e15, 1e200, 1e308)
    },
    **{
        f"two halves twice as long, compactness {compactness:g}": (
            HALVES, (1, 1, 16),
            {"n_segments": 2, "compactness": compactness, "interpolation": "nearest"},
        )
        for compactness in (1e7, 1e8, 1e9)
    },
    **{
        f"compactness {compactness:g}, {size}": (
            noise(4, (4, 7, 7)).double(), size, {"compactness": compactness},
        )
        for compactness in (1e-5, 1e-7, 1e-9, 1e-50, 1e-149)
        for size in ((4, 7, 7), (8, 28, 28))
    },
    "denormal": (in_line(0, 1e-308), (1, 1, 8), {"n_segments": 2}),
    "the least number": (in_line(0, 0, 5e-324, 5e-324), (1, 1, 4), {"n_segments": 2}),
    "1e-300": (noise(4, (4, 7, 7)).double() * 1e-300, (8, 28, 28), {}),
    "1e300": (noise(4, (4, 7, 7)).double() * 1e300, (8, 28, 28), {}),
    "float32, denormal": (noise(4, (4, 7, 7)) * 1e-39, (8, 28, 28), {}),
    "float32, 1e38": (noise(4, (4, 7, 7)) * 1e37, (8, 28, 28), {}),
    **{
        f"integers of {levels} levels, {n_segments} segments, {size}, {interpolation}": (
            integers(4, (8, 16, 16), levels), size,
            {"n_segments": n_segments, "interpolation": interpolation},
        )
        for levels in (2, 4)
        for n_segments in (12, 200)
        for size, interpolation in (
            ((8, 16, 16), "trilinear"), ((16, 32, 32), "nearest"), ((3, 16, 5), "nearest"),
        )
    },
    "integers, 40 channels": (integers(40, (4, 16, 16), 2), (4, 16, 16), {"n_segments": 60}),
    "a segment for every 10 voxels": (noise(8, (4, 8, 8)), (8, 40, 40), {"n_segments": 1280}),
    "a segment for every 2 voxels": (noise(8, (4, 8, 8)), (4, 16, 24), {"n_segments": 768}),
    "noise, 500 segments, no interpolation": (
        noise(24, (8, 32, 32)), (8, 32, 32), {"n_segments": 500, "compactness": 1e-3},
    ),
    "much fewer voxels": (noise(16, (16, 32, 32)), (2, 8, 8), {}),
    "much fewer voxels, many segments": (noise(16, (16, 32, 32)), (2, 8, 8), {"n_segments": 60}),
}  # fmt: skip


def labels_of(
    features: Tensor, size: tuple[int, int, int], *args: Any, **options: Any
) -> np.ndarray:
    """Labels of one volume, [T, H, W]."""
    return vtcd_ops.ops.slic3d(features[None], size, *args, **options)[0].numpy()


@pytest.mark.parametrize("case", CASES)
def test_same_labels_as_scikit_image(case: str) -> None:
    features, size, options = CASES[case]
    for connected in (False, True):
        found = labels_of(features, size, **options, enforce_connectivity=connected)
        expected = scikit_labels(features, size, **options, enforce_connectivity=connected)
        assert np.array_equal(found, expected), f"enforce_connectivity={connected}"


@pytest.mark.parametrize("case", EXTREMES)
def test_same_labels_as_scikit_image_where_rounding_may_decide(case: str) -> None:
    features, size, options = EXTREMES[case]
    for connected in (False, True):
        found = labels_of(features, size, **options, enforce_connectivity=connected)
        expected = scikit_labels(features, size, **options, enforce_connectivity=connected)
        assert np.array_equal(found, expected), f"enforce_connectivity={connected}"


@pytest.mark.parametrize("factor", [2.0**-1074, 2.0**-1050, 2.0**-500, 2.0**500, 2.0**1020])
def test_scale_beyond_scikit_images_range(factor: float) -> None:
    """Powers of 2 change no digit, so the labels are those of the numbers without them."""
    features = integers(3, (4, 7, 7), 4).double() - 2
    size = (8, 28, 28)
    assert np.array_equal(labels_of(features * factor, size), scikit_labels(features, size))


@pytest.mark.parametrize("compactness", [5e-324, 1e-320, 1e-200])
def test_least_compactness(compactness: float) -> None:
    """Below the range of scikit-image, whose 1 / compactness overflows, features alone decide; it
    takes the first of the clusters that are equally near."""
    for features, size in ((HALVES, (1, 1, 8)), (noise(4, (4, 7, 7)).double(), (4, 7, 7))):
        assert np.array_equal(
            labels_of(features, size, 2, compactness),
            scikit_labels(features, size, n_segments=2, compactness=1e-149),
        )


def test_a_range_that_overflows() -> None:
    features = in_line(-1.7e308, -1.7e308, 1.7e308, 1.7e308)
    assert labels_of(features, (1, 1, 8), n_segments=2)[0, 0].tolist() == [0] * 4 + [1] * 4


def test_constant_volume_stops_early() -> None:
    features = torch.full((1, 4, 8, 14, 14), 2.0)
    size = (16, 56, 56)
    vtcd_ops.ops.slic3d(features, size)

    def seconds(rounds: int) -> float:
        started = time.process_time()
        vtcd_ops.ops.slic3d(features, size, max_num_iter=rounds)
        return time.process_time() - started

    assert min(seconds(10**6) for _ in range(3)) < 10 * min(seconds(10) for _ in range(3))


@pytest.mark.parametrize("compactness", [0.01, 0.1, 0.15])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_same_labels_on_real_keys(sequence: str, layer: int, compactness: float) -> None:
    features = real_keys(sequence)[layer][layer % 6]
    size = (16, 112, 112)
    options = {"compactness": compactness, "enforce_connectivity": False}
    expected = scikit_labels(features, size, **options)
    assert np.array_equal(labels_of(features, size, **options), expected)
    segment = expected.size / 9  # seeds
    connected = _enforce_label_connectivity_cython(
        expected.astype(np.intp), int(0.5 * segment), int(3 * segment), start_label=0
    )
    assert np.array_equal(labels_of(features, size, compactness=compactness), connected)


def test_exact_ties_go_to_the_first_cluster() -> None:
    """Features that vary along x alone make rows of clusters equally near: there rounding decides
    in scikit-image. Given the labels of a round, each of the next must be nearest within rounding,
    and the first of those."""
    size = (8, 48, 48)
    features = torch.arange(8.0).expand(1, 4, 8, 8)
    volume = to_volume(features, size, "trilinear").numpy() / 7 / 0.1
    grid = np.stack(np.mgrid[: size[0], : size[1], : size[2]]).astype(float)
    for rounds in range(1, 6):
        options = {"enforce_connectivity": False}
        before = labels_of(features, size, max_num_iter=rounds, **options)
        after = labels_of(features, size, max_num_iter=rounds + 1, **options)
        distance = np.full((9, *size), np.inf)
        for k in range(9):
            mean, center = grid[:, before == k].mean(1), volume[:, before == k].mean(1)
            space = ((grid - mean[:, None, None, None]) ** 2).sum(0) / 16**2
            outside = (np.abs(grid - mean[:, None, None, None]).max(0) > 2 * 16 - 1).astype(float)
            color = ((volume - center[:, None, None, None]) ** 2).sum(0)
            distance[k] = np.where(outside > 0, np.inf, space + color)
        chosen = np.take_along_axis(distance, after[None].astype(int), 0)[0]
        inside = np.isfinite(distance).all(0) & np.isfinite(chosen)
        assert inside.any()
        first = (distance <= distance.min(0) + 1e-9).argmax(0)
        assert np.array_equal(after[inside], first[inside])


@pytest.mark.parametrize("case", ["odd sizes", "nearest", "constant", "spacing"])
def test_same_labels_as_definition(case: str) -> None:
    features, size, options = CASES[case]
    expected = reference.slic3d(features.numpy(), size, **options)
    assert np.array_equal(
        labels_of(features, size, **options, enforce_connectivity=False), expected
    )


@given(st.data())
def test_connectivity_is_scikit_images(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 10_000))
    width = st.one_of(st.integers(1, 24), st.integers(60, 135))  # rows are read 64 voxels at a time
    size = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 24), width))
    tokens = tuple(data.draw(st.integers(1, n)) for n in size)
    low = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]))
    high = data.draw(st.sampled_from([0.2, 0.5, 1.0, 3.0, 50.0]))
    options = {
        "compactness": data.draw(st.sampled_from([0.01, 0.1, 1.0])),
        "n_segments": data.draw(st.integers(1, 40)),
    }
    features = noise(2, tokens, seed)
    before = labels_of(features, size, **options, enforce_connectivity=False)
    found = labels_of(features, size, **options, min_size_factor=low, max_size_factor=high)
    grid = reference.regular_grid(size, options["n_segments"])
    axes = [range(start, n, step) for n, (start, step) in zip(size, grid, strict=True)]
    segment = before.size / math.prod(map(len, axes))
    if int(high * segment) < 1:
        return  # scikit-image writes outside its list there
    expected = _enforce_label_connectivity_cython(
        before.astype(np.intp), int(low * segment), int(high * segment), start_label=0
    )
    assert np.array_equal(found, expected)


@given(
    channels=st.integers(1, 9),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)),
    n_segments=st.integers(1, 60),
    seed=st.integers(0, 10_000),
)
def test_any_shape_is_scikit_images(
    channels: int,
    grid: tuple[int, int, int],
    size: tuple[int, int, int],
    n_segments: int,
    seed: int,
) -> None:
    features = noise(channels, grid, seed)
    options = {"n_segments": n_segments, "enforce_connectivity": False}
    found = labels_of(features, size, **options)
    expected = scikit_labels(features, size, **options)
    assert np.array_equal(found, expected)


@given(
    offset=st.floats(-50, 50), factor=st.floats(0.1, 30), seed=st.integers(0, 99),
    compactness=st.sampled_from([0.02, 0.1, 0.4]),
)  # fmt: skip
def test_offset_and_scale_of_the_features_do_not_matter(
    offset: float, factor: float, seed: int, compactness: float
) -> None:
    features = smooth(4, (3, 6, 6), seed).double()
    size = (6, 30, 30)
    assert np.array_equal(
        labels_of(features, size, compactness=compactness),
        labels_of(features * factor + offset, size, compactness=compactness),
    )


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("size", [(16, 56, 56), (5, 33, 20)])
def test_threads_and_batch_do_not_matter(size: tuple[int, int, int]) -> None:
    features = torch.stack([noise(24, SMALL, 0), smooth(24, SMALL, 1), smooth(24, SMALL, 2)])
    torch.set_num_threads(1)
    expected = vtcd_ops.ops.slic3d(features, size)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert torch.equal(vtcd_ops.ops.slic3d(features, size), expected)
        alone = torch.cat([vtcd_ops.ops.slic3d(volume[None], size) for volume in features])
        assert torch.equal(alone, expected)


@pytest.mark.parametrize("interpolation", ["nearest", "trilinear"])
@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), 1e308, -1e200])
def test_tokens_that_no_voxel_sees_do_not_matter(interpolation: str, hostile: float) -> None:
    """Fewer voxels than tokens leave some out: what they hold is no part of the volume."""
    rng = np.random.default_rng(0)
    tried = 0
    for _ in range(60):
        grid = rng.integers(1, 6, 3)
        size = [int(rng.integers(1, tokens + 2)) for tokens in grid]
        seen = np.ix_(*map(partial(seen_along, interpolation), grid, size))
        unseen = np.ones(grid, bool)
        unseen[seen] = False
        features = torch.from_numpy(rng.integers(-8, 8, (1, 2, *grid)).astype(np.float64))
        changed = torch.where(torch.from_numpy(unseen), hostile, features)
        options: dict[str, Any] = {
            "n_segments": int(rng.integers(1, 6)),
            "compactness": float(rng.uniform(0, 8)),
            "max_num_iter": int(rng.integers(1, 5)),
            "interpolation": interpolation,
        }
        expected = vtcd_ops.slic3d(features, size, **options)
        assert torch.equal(vtcd_ops.slic3d(changed, size, **options), expected)
        tried += bool(unseen.any())
    assert tried > 20


def seen_along(interpolation: str, tokens: int, voxels: int) -> np.ndarray:
    """The tokens of an axis that its voxels are interpolated from, with whatever weight."""
    voxel = np.arange(voxels)
    if interpolation == "nearest":
        return np.unique(voxel * tokens // voxels)
    lower = np.minimum(voxel * (tokens - 1) // max(voxels - 1, 1), max(tokens - 2, 0))
    return np.unique(np.concatenate([lower, np.minimum(lower + 1, tokens - 1)]))
