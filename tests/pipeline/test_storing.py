"""What threads store of a video while the next is worked on, and when its claim ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.storing import BehindOne, Storing, num_threads
from vtcd_ops.discovery.video_queue import Turn
from vtcd_ops.video.samples import Sample


@pytest.fixture(params=[1, 4])
def pool(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(request.param) as pool:
        yield pool


def test_what_comes_first_is_stored_first(pool: ThreadPoolExecutor) -> None:
    """The record of a video tells what its layers are of."""
    stored: list[int] = []
    storing = Storing(pool)
    storing.begin(lambda: (time.sleep(0.05), stored.append(-1)))  # type: ignore[arg-type]
    for number in range(6):
        storing.add(lambda number=number: stored.append(number))  # type: ignore[misc]
    storing.wait()
    assert stored[0] == -1
    assert sorted(stored) == [-1, 0, 1, 2, 3, 4, 5]


def test_what_goes_wrong_is_raised_once_all_have_ended(pool: ThreadPoolExecutor) -> None:
    ended: list[int] = []

    def fail() -> None:
        raise InputError("the disk is full")

    storing = Storing(pool)
    storing.add(fail)
    storing.add(lambda: (time.sleep(0.05), ended.append(1)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the disk is full"):
        storing.wait()
    assert ended == [1]
    storing.wait()  # nothing is left


def test_layers_of_a_video_without_its_record_are_not_stored(pool: ThreadPoolExecutor) -> None:
    stored: list[int] = []

    def fail() -> None:
        raise InputError("the disk is full")

    storing = Storing(pool)
    storing.begin(fail)
    storing.add(lambda: stored.append(1))
    with pytest.raises(InputError, match="the disk is full"):
        storing.wait()
    assert stored == []


def test_a_claim_ends_when_its_video_is_stored() -> None:
    ended: list[int] = []
    gates = [threading.Event() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool, BehindOne() as stored:
        for index, gate in enumerate(gates):
            claim = ExitStack()
            claim.callback(ended.append, index)
            storing = Storing(pool)
            storing.add(gate.wait)  # type: ignore[arg-type]
            turn: Turn[object] = Turn(index, Sample(f"{index}.mp4"), claim, Future())
            with turn.claim:
                if index > 0:
                    gates[index - 1].set()
                stored.after(turn, storing)
            assert ended == list(range(index))  # of the videos before it, not of its own
        gates[2].set()
    assert ended == [0, 1, 2]


def test_what_goes_wrong_names_the_video() -> None:
    ended: list[str] = []

    def fail() -> None:
        raise InputError("the disk is full")

    def work() -> None:
        with ThreadPoolExecutor(1) as pool, BehindOne() as stored:
            claim, storing = ExitStack(), Storing(pool)
            claim.callback(ended.append, "claim")
            storing.add(fail)
            stored.after(Turn(0, Sample("one.mp4", name="one"), claim, Future()), storing)

    with pytest.raises(InputError, match=r"^video one: the disk is full"):
        work()
    assert ended == ["claim"]


def test_threads_beside_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    device = torch.device("cuda", 0)
    assert num_threads(device) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert num_threads(device) == 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12)
    assert num_threads(device) == 12
