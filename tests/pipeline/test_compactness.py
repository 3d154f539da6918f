# SPDX-License-Identifier: MIT
"""The compactness rule against its definition written out, scikit-image and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.util import regular_grid
from torch import Tensor

import vtcd_ops
from vtcd_ops.compactness import _seed_cells, _seed_grid, choose_compactness

SIZE = (8, 24, 24)


def random_videos(count: int = 3, grid: tuple[int, int, int] = (4, 6, 6)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 5, *grid, generator=generator) ** 2 for _ in range(count)]


def plain_compactness(tokens: np.ndarray, grid: tuple, size: tuple, n_segments: int) -> float:
    """The rule of one head, token by token and by eigenvalues; tokens [t, h, w, C]."""
    slices = regular_grid(size, n_segments)
    seeds = [np.arange(length)[part] for length, part in zip(size, slices, strict=True)]
    unit = max(part.step or 1 for part in slices)
    members: dict[tuple, list] = {}
    for index in np.ndindex(*grid):
        place = [i * (n - 1) / max(t - 1, 1) for i, t, n in zip(index, grid, size, strict=True)]
        cell = tuple(int(np.argmin(abs(s - x))) for s, x in zip(seeds, place, strict=True))
        members.setdefault(cell, []).append((np.array(place) / unit, tokens[index]))
    spreads = []
    for part in (1, 0):  # features, places
        rest = []
        for cell in members.values():
            points = np.array([member[part] for member in cell])
            rest.append(points - points.mean(0))
        eigenvalues = np.linalg.eigvalsh(np.cov(np.concatenate(rest).T, bias=True))
        spreads.append((eigenvalues**2).sum() / eigenvalues.sum())
    return float(np.sqrt(spreads[0] / spreads[1]) / np.ptp(tokens))


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 130), st.integers(1, 130)),
    st.integers(1, 200),
)
def test_seed_grid_is_that_of_scikit_image(size: tuple[int, int, int], n_segments: int) -> None:
    expected = regular_grid(size, n_segments)
    starts, steps = _seed_grid(size, n_segments)
    assert starts == [part.start or 0 for part in expected]
    assert steps == [part.step or 1 for part in expected]


@pytest.mark.parametrize(
    ("grid", "size", "n_segments"),
    [
        ((4, 6, 6), (8, 24, 24), 12),
        ((8, 14, 14), (16, 112, 112), 12),
        ((1, 8, 8), (1, 32, 32), 5),
        ((3, 5, 7), (3, 5, 7), 4),
        ((4, 6, 6), (4, 24, 24), 1),
    ],
)
def test_equals_the_rule_written_out(
    grid: tuple[int, int, int], size: tuple[int, int, int], n_segments: int
) -> None:
    videos = random_videos(3, grid)
    expected = [
        plain_compactness(head.permute(1, 2, 3, 0).double().numpy(), grid, size, n_segments)
        for video in videos
        for head in video
    ]
    chosen = choose_compactness(videos, size, n_segments)
    assert chosen == pytest.approx(np.median(expected), rel=6e-3)  # three digits


def test_cells_are_those_of_a_first_round_without_features() -> None:
    """With a huge compactness SLIC is spatial only, so its labels are the cells."""
    flat = torch.zeros(1, 1, *SIZE)
    flat[0, 0, 0, 0, 0] = 1.0
    labels = vtcd_ops.slic3d(
        flat, SIZE, compactness=1e6, max_num_iter=1, enforce_connectivity=False
    )
    _, cells = _seed_cells(SIZE, SIZE, 12)
    pairs = np.unique(np.stack([labels.numpy().reshape(-1), cells]), axis=1)
    # half-way voxels may go to either neighbour; everything else is one to one
    agreeing = sum(
        np.bincount(labels.numpy().reshape(-1)[cells == cell]).max() for cell in np.unique(cells)
    )
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1]))
    assert agreeing == cells.size


def test_linear_ramp_has_a_closed_form() -> None:
    """One channel that grows along one axis has the same spread as place along that axis."""
    ramp = torch.arange(32.0).expand(1, 1, 1, 1, 32)  # [A, C, t, h, w], a line of tokens
    # 4 seeds 8 apart: features span 31 tokens, places are in steps of 8 tokens
    assert choose_compactness([ramp], (1, 1, 32), 4) == pytest.approx(8 / 31, rel=6e-3)


def test_scale_offset_and_empty_channels_do_not_matter() -> None:
    videos = random_videos()
    chosen = choose_compactness(videos, SIZE)
    assert choose_compactness([3 * video - 7 for video in videos], SIZE) == chosen
    padded = []
    for video in videos:
        empty = torch.full((2, 40, *video.shape[2:]), float(video.mean()))
        padded.append(torch.cat([video, empty], dim=1))
    assert choose_compactness(padded, SIZE) == chosen


def test_a_repeated_channel_counts_as_one_direction() -> None:
    """Two equal channels double every squared distance, so the value grows by the root of two."""
    videos = [video[:, :1] for video in random_videos()]
    doubled = [video.repeat(1, 2, 1, 1, 1) for video in videos]
    ratio = choose_compactness(doubled, SIZE) / choose_compactness(videos, SIZE)
    assert ratio == pytest.approx(2**0.5, rel=1e-2)


def test_an_outlier_channel_lowers_the_value() -> None:
    """A constant far channel shrinks all others in slic3d's [0, 1]; the value follows."""
    videos = random_videos()
    outlier = [video.clone() for video in videos]
    for video in outlier:
        video[:, 0] = 9.0 + 0.0 * video[:, 0]
    without = [video[:, 1:] for video in videos]
    spans = [float(head.max() - head.min()) for video in without for head in video]
    assert choose_compactness(outlier, SIZE) == pytest.approx(
        choose_compactness(without, SIZE) * np.median(spans) / 9.0, rel=0.05
    )


def test_independent_of_threads_dtype_and_order() -> None:
    videos = random_videos(4)
    chosen = choose_compactness(videos, SIZE)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert choose_compactness(videos, SIZE) == chosen
    finally:
        torch.set_num_threads(before)
    assert choose_compactness([video.double() for video in videos], SIZE) == chosen
    assert choose_compactness(videos[::-1], SIZE) == chosen


def test_videos_of_several_lengths() -> None:
    short, long = random_videos(1, (4, 6, 6)), random_videos(1, (9, 6, 6))
    both = choose_compactness(short + long, [(8, 24, 24), (18, 24, 24)])
    apart = [choose_compactness(short, (8, 24, 24)), choose_compactness(long, (18, 24, 24))]
    assert min(apart) <= both <= max(apart)


def test_flat_heads_are_left_out() -> None:
    videos = random_videos()
    flat = [torch.cat([video, torch.ones(1, *video.shape[1:])]) for video in videos]
    assert choose_compactness(flat, SIZE) == choose_compactness(videos, SIZE)
    assert choose_compactness([torch.ones(1, 3, 2, 4, 4)], (2, 8, 8)) == 0.1


@pytest.mark.parametrize(
    ("features", "size", "n_segments", "message"),
    [
        ([], SIZE, 12, "features expected at least one video"),
        ([torch.zeros(2, 3, 4)], SIZE, 12, r"expected floating point \[A, C, t, h, w\]"),
        ([torch.zeros(1, 2, 2, 2, 2, dtype=torch.int32)], SIZE, 12, "got torch.int32"),
        ([torch.zeros(1, 0, 2, 2, 2)], SIZE, 12, r"got torch.float32 \[1, 0, 2, 2, 2\]"),
        ([torch.full((1, 2, 2, 2, 2), torch.nan)], SIZE, 12, "expected finite values"),
        (random_videos(2), [SIZE], 12, "size expected one or 2, got 1"),
        (random_videos(1), (8, 0, 8), 12, r"size expected \(T, H, W\) of at least 1"),
        (random_videos(1), SIZE, 0, "n_segments expected at least 1, got 0"),
    ],
)
def test_bad_input(features: list, size: tuple, n_segments: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"choose_compactness: .*{message}"):
        choose_compactness(features, size, n_segments)
