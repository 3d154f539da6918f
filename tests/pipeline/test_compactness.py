# SPDX-License-Identifier: MIT
"""The compactness rule against its definition written out with scikit-image; its promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.nn import functional

from vtcd_ops.discovery.compactness import _VALUES, _trials, choose_compactness
from vtcd_ops.ops import slic3d

SIZE = (8, 24, 24)


def random_videos(count: int = 3, grid: tuple[int, int, int] = (4, 6, 6)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 5, *grid, generator=generator) ** 2 for _ in range(count)]


def bands(shift: int) -> np.ndarray:
    """Which of four things is at a token, [4, 12, 12]: oblique bands that move."""
    t, y, x = np.meshgrid(*map(np.arange, (4, 12, 12)), indexing="ij")
    return (x + y + t + shift) // 6 % 4


def videos_of_things(noise: float, count: int = 2) -> list[Tensor]:
    """Two heads of 16 channels in which oblique bands differ, with noise in every channel."""
    generator = torch.Generator().manual_seed(2)
    videos = []
    for index in range(count):
        things = torch.randn(2, 16, 4, generator=generator)[:, :, torch.from_numpy(bands(index))]
        videos.append(things + noise * torch.randn(things.shape, generator=generator))
    return videos


def explained_variance(
    head: np.ndarray, half: int, size: tuple[int, ...], n_segments: int, compactness: float
) -> float:
    """The share of one half's variance that the tubelets of the other explain, head [C, t, h, w].

    The other half's volume goes to scikit-image, which scales it to [0, 1]; the compactness undoes
    that, and makes up for the variance of the channels that are hidden.
    """
    shown, hidden = head[half::2], head[1 - half :: 2].reshape(len(head[1 - half :: 2]), -1).T
    volume = functional.interpolate(
        torch.from_numpy(shown)[None], size=size, mode="trilinear", align_corners=True
    )
    variances = head.reshape(len(head), -1).var(axis=1)
    compactness *= np.ptp(head) / np.ptp(shown)
    compactness *= (variances[half::2].sum() / variances.sum()) ** 0.5
    labels = slic(
        volume[0].permute(1, 2, 3, 0).numpy(), n_segments=n_segments, compactness=compactness,
        start_label=0, convert2lab=False, channel_axis=-1,
    )  # fmt: skip
    grid = head.shape[1:]
    places = [
        [int(np.floor(i * (long - 1) / max(short - 1, 1) + 0.5)) for i in range(short)]
        for short, long in zip(grid, size, strict=True)
    ]
    tubelet = labels[np.ix_(*places)].reshape(-1)
    rest = 0.0
    for label in np.unique(tubelet):
        members = hidden[tubelet == label]
        rest += float(((members - members.mean(axis=0)) ** 2).sum())
    return 1 - rest / float(((hidden - hidden.mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("size", [(8, 48, 48), (4, 24, 24)])
@pytest.mark.parametrize("compactness", [0.02, 0.15, 0.8])
def test_score_is_the_definition_with_scikit_image(
    size: tuple[int, int, int], compactness: float
) -> None:
    [video] = videos_of_things(0.7, count=1)
    coarse = tuple(edge // 2 for edge in size)
    trials = iter(_trials(video, size))
    for head in video.double().numpy():
        for half in (0, 1):
            expected = explained_variance(head, half, coarse, 12, compactness)
            assert next(trials).explained(compactness, 12) == pytest.approx(expected, rel=1e-4)
    assert next(trials, None) is None


def scores_of(videos: list[Tensor], size: tuple[int, int, int]) -> dict[float, float]:
    """The share that the tubelets of every value explain."""
    trials = [trial for video in videos for trial in _trials(video, size)]
    return {
        value: float(np.mean([trial.explained(value, 12) for trial in trials])) for value in _VALUES
    }


@pytest.mark.parametrize(("noise", "left"), [(0.3, True), (0.7, True), (1.5, True), (3.0, False)])
def test_the_default_is_left_as_far_as_it_helps(noise: float, left: bool) -> None:
    """The nearest to .1 that leaves at most a twentieth more unexplained than the best."""
    videos, size = videos_of_things(noise), (8, 48, 48)
    scores = scores_of(videos, size)
    best = max(scores, key=lambda value: scores[value])
    assert min(_VALUES) < best < max(_VALUES)
    good = [value for value in _VALUES if 1 - scores[value] <= 1.05 * (1 - scores[best])]
    between = [value for value in good if min(0.1, best) <= value <= max(0.1, best)]
    chosen = choose_compactness(videos, size)
    assert chosen == min(between, key=lambda value: abs(np.log(value / 0.1)))
    assert (chosen != 0.1) is left


def test_its_tubelets_fit_the_things_in_the_video() -> None:
    """Better than those of the smallest and the largest value, by the adjusted Rand index."""
    [video] = videos_of_things(1.0, count=1)
    things = torch.from_numpy(bands(0))

    def fit(compactness: float) -> float:
        labels = slic3d(video, tuple(video.shape[2:]), compactness=compactness)
        return float(
            np.mean([adjusted_rand_score(things.flatten(), one.flatten()) for one in labels])
        )

    chosen = fit(choose_compactness([video], (8, 48, 48)))
    assert chosen > fit(min(_VALUES)) + 0.02
    assert chosen > fit(max(_VALUES)) + 0.02


def test_a_single_channel_keeps_the_default() -> None:
    assert choose_compactness([video[:, :1] for video in random_videos()], SIZE) == 0.1


def test_scale_offset_and_empty_channels_do_not_matter() -> None:
    videos = random_videos()
    chosen = choose_compactness(videos, SIZE)
    assert choose_compactness([3 * video - 7 for video in videos], SIZE) == chosen
    padded = []
    for video in videos:
        empty = torch.full((2, 40, *video.shape[2:]), float(video.mean()))
        padded.append(torch.cat([video, empty], dim=1))
    assert choose_compactness(padded, SIZE) == chosen


def test_an_outlier_channel_lowers_the_value() -> None:
    """A constant far channel shrinks all others in slic3d's [0, 1]; the value follows."""
    videos, size = videos_of_things(0.7), (8, 48, 48)
    outlier = []
    for video in videos:
        spans = video.flatten(1).max(1).values - video.flatten(1).min(1).values
        far = video.flatten(1).min(1).values + 25 * spans
        channel = far[:, None, None, None, None].expand(2, 2, *video.shape[2:])
        outlier.append(torch.cat([video, channel], dim=1))
    plain, shrunk = choose_compactness(videos, size), choose_compactness(outlier, size)
    assert plain > 0.1 > shrunk
    assert 6 <= plain / shrunk <= 25
    scores = scores_of(outlier, size)
    assert scores[shrunk] > scores[0.1] + 0.05  # the default would have lost as much


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
