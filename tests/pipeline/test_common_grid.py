"""The grid that views share: models with different strides, crops and frame rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipeline.seen_objects import HEIGHT, NUM_FRAMES, WIDTH, Eye, objects, record, write_seen

import vtcd_ops
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.rosetta_concepts.candidates import choose_candidates
from vtcd_ops.rosetta_concepts.common_grid import (
    CommonGrid,
    LabelGrid,
    common_grid,
    nearest_voxels,
    time_span,
)
from vtcd_ops.rosetta_concepts.supports import support_on_grid, video_grids

EYES = {
    "fine": Eye(),
    "every third frame": Eye(frames=tuple(range(1, NUM_FRAMES, 3)), tokens=(16, 12, 16),
                             tubelet_size=1),
    "half the frame rate, odd end": Eye(frames=tuple(range(0, 46, 2)), tokens=(12, 12, 16)),
    "coarse tokens": Eye(tokens=(12, 8, 10), tubelet_size=4, voxels_per_token=8),
    "square crop": Eye(crop=(0.0, 16.0, 96.0, 96.0), tokens=(24, 14, 14)),
    "black border": Eye(crop=(-16.0, 0.0, 128.0, 128.0), tokens=(24, 16, 16)),
    "middle of the video": Eye(frames=tuple(range(8, 40)), tokens=(16, 12, 16)),
    "an image model": Eye(frames=tuple(range(0, 48, 4)), tokens=(12, 16, 21), tubelet_size=1),
}  # fmt: skip


def grid_of(eye: Eye) -> LabelGrid:
    return LabelGrid((len(eye.frames), *eye.size[1:]), eye.size, eye.tokens)


@pytest.mark.parametrize("name", EYES)
def test_a_view_by_itself_is_not_moved(name: str) -> None:
    """Alone, a view's tokens stand where its tokens stand."""
    eye = EYES[name]
    view = (record(eye, 0), grid_of(eye))
    tokens = LabelGrid(
        (-(-len(eye.frames) // eye.tubelet_size), *eye.tokens[1:]), eye.tokens, eye.tokens
    )
    grid = common_grid([view, (view[0], tokens)], ["a", "b"])
    if eye.crop[0] < 0:
        assert grid.rows == (0.0, HEIGHT)
        return
    t, h, w = nearest_voxels(grid, *view)
    expected = token_voxels(eye.tokens, eye.size, len(eye.frames))
    np.testing.assert_array_equal(h, expected[1])
    np.testing.assert_array_equal(w, expected[2])
    assert np.abs(t - expected[0]).max() <= eye.tubelet_size  # between two frames of a token


@pytest.mark.parametrize("first", EYES)
@pytest.mark.parametrize("second", EYES)
def test_objects_are_where_they_are(first: str, second: str, tmp_path: Path) -> None:
    """On the common grid each model's concepts are the objects at the voxels' true places."""
    runs = [
        write_seen(tmp_path / str(i), EYES[name], name=f"{name} {i}")
        for i, name in enumerate((first, second))
    ]
    sides = choose_candidates(runs, parts="keys", importances=None, epsilon=1.0)
    for video, grid in enumerate(video_grids(sides)):
        time, rows, columns = (grid.centres(axis) for axis in range(3))
        truth = objects(time[:, None, None], rows[None, :, None], columns[None, None, :], video)
        for side, name in zip(sides, (first, second), strict=True):
            seen = support_on_grid(side, video, grid, 0, 0)
            # half a token is the most that a border can be off, on each of a box's sides
            for number in range(3):
                both = ((seen == number) & (truth == number)).sum()
                either = ((seen == number) | (truth == number)).sum()
                assert both / either > 0.7, (name, number)


def test_a_wrong_map_would_be_noticed(tmp_path: Path) -> None:
    """Laid over each other without regard to crop and time, the same objects overlap far less."""
    eyes = [EYES["fine"], EYES["square crop"], EYES["middle of the video"]]
    runs = [write_seen(tmp_path / str(i), eye, name=str(i)) for i, eye in enumerate(eyes)]
    found = vtcd_ops.rosetta(runs, importances=None, progress=False)
    triples = found.scores[found.of_order(3)]
    assert len(triples) == 3
    assert triples.min() > 0.75
    assert {tuple(m.concept for m in found.members(i)) for i in found.of_order(3)} == {
        (0, 0, 0), (1, 1, 1), (2, 2, 2),
    }  # fmt: skip
    naive = []
    for number in range(3):
        volumes = [run.support(0, 0, 0) == number for run in runs]
        size = [min(lengths) for lengths in zip(*(v.shape for v in volumes), strict=True)]
        on_grid = [
            v[np.ix_(*(np.arange(n) * length // n
                       for n, length in zip(size, v.shape, strict=True)))]
            for v in volumes
        ]  # fmt: skip
        naive.append(np.logical_and.reduce(on_grid).sum() / np.logical_or.reduce(on_grid).sum())
    assert max(naive) < triples.min()


def test_the_shared_part() -> None:
    views = [
        (record(eye, 0), grid_of(eye))
        for eye in (EYES["square crop"], EYES["black border"], EYES["middle of the video"])
    ]
    grid = common_grid(views, ["a", "b", "c"])
    assert grid == CommonGrid((32, 48, 56), (8.0, 40.0), (0.0, 96.0), (16.0, 112.0))


def test_frames_stand_for_the_time_around_them() -> None:
    assert time_span(record(EYES["every third frame"], 0)) == (0.0, 48.0)
    assert time_span(record(Eye(frames=(7,), tokens=(1, 2, 2), tubelet_size=1), 0)) == (7.0, 8.0)


@pytest.mark.parametrize("count", [2, 7, 16, 31, 48])
def test_the_same_frames_are_compared_frame_by_frame(count: int) -> None:
    frames = tuple((2 * i + 1) * NUM_FRAMES // (2 * count) for i in range(count))
    eye = Eye(frames=frames, tokens=(count, 4, 4), tubelet_size=1)
    view = (record(eye, 0), grid_of(eye))
    steps = nearest_voxels(common_grid([view, view], ["a", "b"]), *view)[0]
    np.testing.assert_array_equal(steps, np.arange(count))


def test_views_that_share_nothing() -> None:
    early, late = Eye(frames=(0, 1, 2, 3)), Eye(frames=(30, 31, 32, 33))
    message = r"a and b saw different frames of video 0: 0 to 4 and 30 to 34, which do not overlap"
    with pytest.raises(InputError, match=message):
        common_grid([(record(e, 0), grid_of(e)) for e in (early, late)], ["a", "b"])
    left, right = Eye(crop=(0.0, 0.0, 96.0, 40.0)), Eye(crop=(0.0, 60.0, 96.0, WIDTH - 60.0))
    message = r"saw different columns of video 0: 0 to 40 and 60 to 128"
    with pytest.raises(InputError, match=message):
        common_grid([(record(e, 0), grid_of(e)) for e in (right, left)], ["a", "b"])
