"""What threads compress and store of a video while the next one is worked on."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from typing import Any

import torch

from vtcd_ops.discovery.sample_checks import naming
from vtcd_ops.discovery.video_queue import Turn
from vtcd_ops.video.samples import Sample

_MOST_THREADS = 8  # that keep up with a device


def num_threads(device: torch.device) -> int:
    """Return how many threads compress and store.

    As many as torch has where those wait for them anyway; beside another device as many as the
    machine has for this process, since torchrun gives torch a single one.

    >>> num_threads(torch.device("cpu")) == torch.get_num_threads()
    True
    """
    if device.type == "cpu":
        return torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(torch.get_num_threads(), min(cores, _MOST_THREADS))


class Storing:
    """What threads still compress and store of one video.

    Args:
        pool: the threads; they begin what they are given in its order.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._first: Future[None] | None = None
        self._left: list[Future[None]] = []

    def begin(self, job: Callable[[], None]) -> None:
        """Store what comes before everything else."""
        self._first = self._pool.submit(job)
        self._left.append(self._first)

    def add(self, job: Callable[[], None]) -> None:
        """Store something."""
        first = self._first

        def after() -> None:
            if first is not None:
                first.result()
            job()

        self._left.append(self._pool.submit(after))

    def wait(self) -> None:
        """Wait until all is stored; what goes wrong in a thread is raised here."""
        jobs, self._left = self._left, []
        wait(jobs)
        for job in jobs:
            job.result()


class BehindOne:
    """Ends the claim of each video when it is stored, while the next one is worked on."""

    def __init__(self) -> None:
        self._held: tuple[ExitStack, Sample, Storing] | None = None

    def __enter__(self) -> BehindOne:
        return self

    def after(self, turn: Turn[Any], storing: Storing) -> None:
        """Keep a video's claim until it is stored, and wait for the video before it."""
        held, self._held = self._held, (turn.claim.pop_all(), turn.sample, storing)
        _finish(held)

    def __exit__(self, *exception: object) -> None:
        held, self._held = self._held, None
        _finish(held)


def _finish(held: tuple[ExitStack, Sample, Storing] | None) -> None:
    if held is not None:
        claim, sample, storing = held
        with claim, naming(sample):
            storing.wait()
