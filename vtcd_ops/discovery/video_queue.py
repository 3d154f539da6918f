"""The videos of a run that are left to this process, the next one read while one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from vtcd_ops.video.samples import Sample

T = TypeVar("T")


@dataclass(frozen=True)
class Turn(Generic[T]):
    """A video that this process has claimed, and is reading or has read."""

    index: int
    sample: Sample
    claim: ExitStack  #: to be closed when the video is done
    reading: Future[T]


class VideoQueue(Generic[T]):
    """Claims the videos that no other process works on, and reads each before its turn.

    It is never more than one video ahead, so memory stays bounded, and a process that has nothing
    left to do waits for no more than one video that another one holds in advance.

    Args:
        claim: opens the claim of a video by its number: whether it is this process's.
        read: reads a claimed video; called in the reader.
        reader: an executor of one thread.
    """

    def __init__(
        self,
        claim: Callable[[int], AbstractContextManager[bool]],
        read: Callable[[int, Sample], T],
        reader: Executor,
    ) -> None:
        self._claim = claim
        self._read = read
        self._reader = reader
        self.done: set[int] = set()  #: numbers of the videos whose turn is over
        self.num_videos = 0  #: of the samples, known when their turns have ended

    def turns(self, samples: Iterable[Sample]) -> Iterator[Turn[T]]:
        """Yield the videos that are neither done nor another process's, in order.

        What goes wrong while a video is read is raised by its `reading`; what goes wrong in
        ``samples`` is raised after the turns of the videos before it.
        """
        for turn in _one_ahead(self._claimed(samples)):
            with turn.claim:
                yield turn
                self.done.add(turn.index)

    def _claimed(self, samples: Iterable[Sample]) -> Iterator[Turn[T]]:
        for index, sample in enumerate(samples):
            self.num_videos = index + 1
            if index in self.done:
                continue
            claim = ExitStack()
            if claim.enter_context(self._claim(index)):
                reading = self._reader.submit(self._read, index, sample)
                yield Turn(index, sample, claim, reading)


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield each item after the next was asked for; an error still comes in its turn.

    >>> seen = []
    >>> for item in _one_ahead(seen.append(n) or n for n in range(3)):
    ...     print(item, seen)
    0 [0, 1]
    1 [0, 1, 2]
    2 [0, 1, 2]
    """
    held: list[T] = []
    try:
        for item in items:
            held.append(item)
            if len(held) > 1:
                yield held.pop(0)
    except Exception:
        yield from held
        raise
    yield from held
