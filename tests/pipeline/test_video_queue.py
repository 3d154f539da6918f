"""Which videos a process takes, in which order, and that the next is read before its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square

from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.video_queue import VideoQueue
from vtcd_ops.video import clips
from vtcd_ops.video.clips import choose_clip
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

SAMPLES = [Sample(f"{number}.mp4") for number in range(5)]
Read = Callable[[int, Sample], str]


class ClaimTable:
    """Claims of videos, some of which another process holds."""

    def __init__(self, elsewhere: set[int]) -> None:
        self.elsewhere = elsewhere
        self.mine: set[int] = set()

    @contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        if index in self.elsewhere:
            yield False
            return
        self.mine.add(index)
        try:
            yield True
        finally:
            self.mine.remove(index)


def name_of(index: int, sample: Sample) -> str:
    return str(sample.video)


@contextmanager
def queue_of(read: Read, claims: ClaimTable) -> Iterator[VideoQueue[str]]:
    with ThreadPoolExecutor(1) as reader:
        yield VideoQueue(claims.claim, read, reader)


def test_the_next_video_is_read_while_one_is_worked_on() -> None:
    reading = [threading.Event() for _ in SAMPLES]

    def read(index: int, sample: Sample) -> str:
        reading[index].set()
        return name_of(index, sample)

    claims = ClaimTable(set())
    with queue_of(read, claims) as queue:
        for turn in queue.turns(SAMPLES):
            assert turn.reading.result() == f"{turn.index}.mp4"
            ahead = turn.index + 1
            if ahead < len(SAMPLES):
                assert reading[ahead].wait(timeout=30)
            assert claims.mine == {turn.index, ahead} & set(range(5))
            assert not any(event.is_set() for event in reading[ahead + 1 :])
        assert (queue.done, queue.num_videos) == (set(range(5)), 5)
    assert not claims.mine


def test_what_another_process_holds_is_asked_for_again() -> None:
    claims = ClaimTable({0, 3})
    with queue_of(name_of, claims) as queue:
        assert [turn.index for turn in queue.turns(SAMPLES)] == [1, 2, 4]
        assert len(queue.done) < queue.num_videos
        claims.elsewhere = {3}
        assert [turn.index for turn in queue.turns(SAMPLES)] == [0]
        claims.elsewhere = set()
        assert [turn.index for turn in queue.turns(SAMPLES)] == [3]
        assert len(queue.done) == queue.num_videos


def test_a_video_that_cannot_be_read_fails_in_its_turn() -> None:
    def read(index: int, sample: Sample) -> str:
        if index == 2:
            raise InputError("2.mp4 is not a video")
        return name_of(index, sample)

    with queue_of(read, ClaimTable(set())) as queue:
        turns = queue.turns(SAMPLES)
        assert [next(turns).reading.result() for _ in range(2)] == ["0.mp4", "1.mp4"]
        bad = next(turns)
        assert queue.done == {0, 1}
        with pytest.raises(InputError, match=r"2\.mp4 is not a video"):
            bad.reading.result()


def test_samples_that_end_in_an_error_are_worked_on_up_to_it() -> None:
    def samples() -> Iterator[Sample]:
        yield from SAMPLES[:2]
        raise InputError("2.mp4 does not exist")

    with queue_of(name_of, ClaimTable(set())) as queue:
        turns = queue.turns(samples())
        assert [next(turns).reading.result() for _ in range(2)] == ["0.mp4", "1.mp4"]
        with pytest.raises(InputError, match=r"2\.mp4 does not exist"):
            next(turns)
        assert queue.done == {0, 1}


@pytest.mark.parametrize("windows_ahead", [1, 2, 9])
def test_windows_are_the_same_read_ahead_or_not(
    monkeypatch: pytest.MonkeyPatch, windows_ahead: int
) -> None:
    adapter = example_adapter()
    clip = choose_clip(adapter, open_video(moving_square(15)), num_frames="all")
    expected = torch.stack(list(clip.clips()))
    window_bytes = expected[0].nbytes
    monkeypatch.setattr(clips, "_AHEAD_BYTES", windows_ahead * window_bytes)
    ahead = clip.read_ahead()
    assert len(ahead.first) == min(windows_ahead, 4)
    for _ in range(2):  # groups of layers read a video again
        assert torch.equal(torch.stack(list(ahead.clips())), expected)
    np.testing.assert_array_equal(adapter.display(ahead.first[0]), moving_square(15)[:4])
