"""Which process does which task of a folder, by whatever means it is agreed."""

from __future__ import annotations

import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vtcd_ops.common.errors import printable

T = TypeVar("T")

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 5.0  # of waiting for another process, before a word about it
PRESENCE = (1 << 62) + 1  # beyond any task: whoever uses the claims shares it

_log = logging.getLogger("vtcd_ops")


class Claims(ABC):
    """Which process does which task of a folder; a claim does not outlive its process.

    Args:
        folder: what is worked on, for messages.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting_since: float | None = None

    @abstractmethod
    def _take(self, task: int) -> bool:
        """Hold a task alone; False: another process holds or shares it."""

    @abstractmethod
    def _take_shared(self, task: int) -> bool:
        """Hold a task together with others; False: another process holds it alone."""

    @abstractmethod
    def _give_back(self, task: int) -> None:
        """Hold a task no longer."""

    @abstractmethod
    def alone(self, task: int = PRESENCE) -> bool:
        """Whether no other process holds a task, or shares it; if so it is held from now on.

        By default: whether no other process works in the folder.
        """

    @abstractmethod
    def _holder(self, task: int) -> str:
        """Who holds a task, as far as can be known here."""

    @abstractmethod
    def close(self, *, remove: bool = False) -> None:
        """End the claims of this process.

        Args:
            remove: remove what they leave in the folder, unless another process uses it.
        """

    @contextlib.contextmanager
    def claim(self, task: int, *, wait: bool = False) -> Iterator[bool]:
        """Hold a task for as long as the context is open; False: another process holds it."""
        while not (mine := self._take(task)) and wait:
            self.wait(task)
        try:
            if mine:
                self._waiting_since = None
            yield mine
        finally:
            if mine:
                self._give_back(task)

    def work_through(
        self,
        tasks: Iterable[T],
        number: Callable[[T], int],
        is_done: Callable[[T], bool],
        do: Callable[[T], None],
        on_done: Callable[[T], None] = lambda task: None,
    ) -> None:
        """Do all tasks together with whatever other processes do the same.

        Args:
            tasks: what is to be done, in this order.
            number: the number of a task, the same in every process.
            is_done: whether nothing is left to do of a task.
            do: does a task that this process holds.
            on_done: called for each task as soon as it is known to be done, by whomever.
        """
        left = list(tasks)
        while left:
            for task in list(left):
                if is_done(task) or self._do(task, number(task), is_done, do):
                    left.remove(task)
                    on_done(task)
                    self._waiting_since = None
            if left:
                self.wait(number(left[0]))

    def _do(
        self, task: T, number: int, is_done: Callable[[T], bool], do: Callable[[T], None]
    ) -> bool:
        with self.claim(number) as mine:
            if mine and not is_done(task):  # it may have been done since it was last looked at
                do(task)
            return mine

    def wait(self, task: int) -> None:
        """Wait a little for whoever holds a task; after some seconds say who it is."""
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since >= PATIENCE_SECONDS:
            _log.warning(
                "%s: waiting for %s, which works on a part of it; if it is stopped, continue or "
                "end it",
                printable(str(self._folder)),
                self._holder(task),
            )
            self._waiting_since = float("inf")  # one word is enough
        time.sleep(POLL_SECONDS)

    def share(self, task: int) -> None:
        """Hold a task together with other processes until this is closed, or until `alone`."""
        while not self._take_shared(task):
            self.wait(task)
