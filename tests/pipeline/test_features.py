"""Which frames a model sees, and where its tokens end up."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pipeline.videos import moving_square
from torch import Tensor

from vtcd_ops.adapters.capture import capture
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.adapters.projections import ProjectionAdapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.discover import discover
from vtcd_ops.video.clips import (
    VideoClip,
    choose_clip,
    frame_indices,
    padded_length,
    plan_windows,
    window_clips,
)
from vtcd_ops.video.frames import FrameTransform
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample


@given(tokens_of_clip=st.integers(1, 8), tubelet_size=st.integers(1, 4), extra=st.integers(0, 60))
def test_windows_cover_every_token_once_at_its_true_time(
    tokens_of_clip: int, tubelet_size: int, extra: int
) -> None:
    clip = tokens_of_clip * tubelet_size
    num_frames = clip + extra
    joined = np.full(padded_length(num_frames, tubelet_size) // tubelet_size, -1)
    for window in plan_windows(num_frames, clip, tubelet_size):
        tokens = window.start // tubelet_size + np.arange(tokens_of_clip)  # their true times
        new = tokens[window.skip :]
        assert (joined[window.first_token : window.first_token + len(new)] == -1).all()
        joined[window.first_token : window.first_token + len(new)] = new
    np.testing.assert_array_equal(joined, np.arange(len(joined)))


@given(tokens_of_clip=st.integers(1, 4), tubelet_size=st.integers(1, 3), extra=st.integers(0, 30))
def test_clips_hold_the_frames_of_their_window(
    tokens_of_clip: int, tubelet_size: int, extra: int
) -> None:
    clip = tokens_of_clip * tubelet_size
    num_frames = clip + extra
    frames = [np.full((1, 1, 3), index) for index in range(num_frames)]
    windows = plan_windows(num_frames, clip, tubelet_size)
    for window, got in zip(windows, window_clips(frames, windows, clip), strict=True):
        # padding repeats the last frame
        expected = np.minimum(window.start + np.arange(clip), num_frames - 1)
        np.testing.assert_array_equal(np.stack(got)[:, 0, 0, 0], expected)


@given(st.integers(1, 200), st.integers(1, 60), st.one_of(st.none(), st.integers(1, 9)))
def test_frame_indices_ascend_inside_the_video(
    num_video_frames: int, num_frames: int, rate: int | None
) -> None:
    if num_video_frames < num_frames:
        with pytest.raises(InputError, match=f"at least {num_frames} frames, got"):
            frame_indices(num_video_frames, num_frames, rate)
        return
    indices = np.array(frame_indices(num_video_frames, num_frames, rate))
    assert len(indices) == num_frames
    assert indices[0] >= 0
    assert indices[-1] < num_video_frames
    assert (np.diff(indices) > 0).all()
    # as much before the first as behind the last, to a frame
    assert abs(indices[0] - (num_video_frames - 1 - indices[-1])) <= max(
        1, num_video_frames // num_frames
    )


def test_features_are_those_of_the_windows(adapter: ProjectionAdapter) -> None:
    frames = moving_square(11)  # clips of 4: windows start at 0, 4 and 8; padded to 12
    clip = choose_clip(adapter, open_video(frames), "all")
    got = capture_video(clip, [0, 2], ("keys", "values"), [1, 0], batch_size=2)
    assert got["values"].shape == (2, 2, 8, 6, 4, 4)
    padded = np.concatenate([frames, frames[-1:]])
    for start in (0, 4, 8):
        one = adapter.preprocess(padded[start : start + 4])[None]
        tokens = capture(adapter, one, layers=[2], parts=("values",), heads=[1])["values"][2]
        expected = tokens[0, 0].reshape(2, 4, 4, 8).permute(3, 0, 1, 2)
        torch.testing.assert_close(got["values"][1, 0][:, start // 2 : start // 2 + 2], expected)


def test_the_last_window_is_moved_back(adapter: ProjectionAdapter) -> None:
    frames = moving_square(6)  # windows start at 0 and 2; of the second the last token is new
    clip = choose_clip(adapter, open_video(frames), "all")
    got = capture_video(clip, [1], ("keys",), [0])["keys"][0, 0]
    second = adapter.preprocess(frames[2:6])[None]
    tokens = capture(adapter, second, layers=[1], heads=[0])["keys"][1][0, 0]
    expected = tokens.reshape(2, 4, 4, 8).permute(3, 0, 1, 2)[:, 1]
    torch.testing.assert_close(got[:, 2], expected)


def test_infinite_features_are_named(adapter: ProjectionAdapter) -> None:
    with torch.no_grad():
        adapter.model.qkv[1].weight.fill_(float("nan"))
    clip = choose_clip(adapter, open_video(moving_square()))
    with pytest.raises(InputError, match="the keys of example at layer 1 are NaN or infinite"):
        capture_video(clip, [0, 1], ("keys",), [0])


def test_an_image_model_looks_at_sixteen_frames(adapter: ProjectionAdapter) -> None:
    adapter.num_frames = adapter.tubelet_size = 1
    clip = choose_clip(adapter, open_video(moving_square(40)))
    assert len(clip.indices) == 16
    assert [window.start for window in clip.windows] == list(range(16))


class Steered(ProjectionAdapter):
    """The example model with a query that is added to the clip: one number a window."""

    def inputs(self, sample: Sample, clip: VideoClip, start: int) -> dict[str, Tensor]:
        return {"query": torch.tensor([float(sample.text or 0), float(clip.indices[start])])}

    def forward(self, clips: Tensor, **inputs: Tensor) -> Any:
        return super().forward(clips + inputs["query"].sum(dim=1).view(-1, 1, 1, 1, 1))


def steered(adapter: ProjectionAdapter) -> Steered:
    other = copy.copy(adapter)
    other.__class__ = Steered
    other.sample_fields = ("video", "text")
    assert isinstance(other, Steered)
    return other


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_model_gets_what_else_it_needs(adapter: ProjectionAdapter, batch_size: int) -> None:
    """Window by window, whatever the batch."""
    frames = moving_square(8)
    clip = choose_clip(
        steered(adapter), open_video(frames), "all", sample=Sample(frames, text="0.5")
    )
    got = capture_video(clip, [2], ("keys",), [0], batch_size=batch_size)["keys"][0, 0]
    for start in (0, 4):
        one = adapter.preprocess(frames[start : start + 4])[None] + 0.5 + start
        tokens = capture(adapter, one, layers=[2], heads=[0])["keys"][2][0, 0]
        expected = tokens.reshape(2, 4, 4, 8).permute(3, 0, 1, 2)
        torch.testing.assert_close(got[:, start // 2 : start // 2 + 2], expected)


def test_discovery_hands_it_over(adapter: ProjectionAdapter, tmp_path: Path) -> None:
    """Discovery and assignment see the same features; a sample without the field is refused."""
    samples = [Sample(moving_square(seed=seed), text=str(seed)) for seed in range(3)]
    run = discover(steered(adapter), samples, out=tmp_path, layers=[2], progress=False)
    found = run.assign(samples[2], steered(adapter))
    assert np.array_equal(found.labels(2), run.labels(2, 2))
    other = run.assign(Sample(samples[2].video, text="-3"), steered(adapter))
    assert not np.array_equal(other.labels(2), run.labels(2, 2))
    with pytest.raises(InputError, match="example needs the text of every video, got none"):
        run.assign(samples[2].video, steered(adapter))


class Whole(ProjectionAdapter):
    """The example model, which may look at whole clips to preprocess them."""

    def preprocess(self, frames: np.ndarray | Tensor) -> Tensor:
        return super().preprocess(frames)


TRANSFORMS = [
    FrameTransform(size=(32, 32)),
    FrameTransform(size=(32, 32), resample="bicubic", shortest_edge=40),
    FrameTransform(size=(32, 32), resample="nearest-exact", fit="cover"),
    FrameTransform(size=(32, 32), shortest_edge=20),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("edge", [32, 90])
def test_frame_by_frame_is_the_same_bits(
    adapter: ProjectionAdapter, transform: FrameTransform, edge: int
) -> None:
    adapter.frames = transform
    whole = copy.copy(adapter)
    whole.__class__ = Whole
    assert adapter.frame_by_frame
    assert not whole.frame_by_frame
    frames = moving_square(11, edge=edge)[:, : edge - 7]
    for first in (0, 1, 2):  # windows that were read ahead
        clips = [list(choose_clip(a, open_video(frames), "all").clips()) for a in (adapter, whole)]
        ahead = replace(choose_clip(adapter, open_video(frames), "all"), first=clips[1][:first])
        for one, other, third in zip(*clips, ahead.clips(), strict=True):
            assert torch.equal(one, other)
            assert torch.equal(one, third)


def test_more_than_frames_by_frames_counts_whole_clips(adapter: ProjectionAdapter) -> None:
    """A model that preprocesses whole clips holds them at their full size."""
    frames = np.zeros((4, 3000, 2000, 3), np.uint8)
    choose_clip(adapter, open_video(frames), max_memory=10**8)
    whole = copy.copy(adapter)
    whole.__class__ = Whole
    with pytest.raises(InputError, match=r"takes about 0\.20 GB, more than max_memory, 0\.10 GB"):
        choose_clip(whole, open_video(frames), max_memory=10**8)
