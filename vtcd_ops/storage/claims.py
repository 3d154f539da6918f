"""Which process does which task of a folder, agreed through locks that end with their process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vtcd_ops.common.errors import InputError

T = TypeVar("T")

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 5.0  # of waiting for another process, before a word about it
_PRESENCE = (1 << 62) + 1  # beyond any task: whoever uses the file shares its lock
_PROBE = _PRESENCE + 1  # never held
_FLOCK = "hhqqi0q"  # struct flock of Linux: type, whence, start, length, process

_log = logging.getLogger("vtcd_ops")


class Claims:
    """Which process does which task, agreed through locks that end with their process.

    The lock of task i is byte i of one file. The operating system gives it up when its process
    ends, however it ends, so a killed process never leaves a task claimed. As long as the object
    is in use it shares one more lock, so that the last to close it can tell that it is the last.

    Args:
        path: the file; made if it does not exist.

    Raises:
        InputError: it cannot be opened, or its file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()
        self._waiting_since: float | None = None

    def _open(self) -> int:
        while True:
            descriptor = self._open_once()
            try:
                while not self._lock(fcntl.LOCK_SH, _PRESENCE, descriptor):
                    time.sleep(POLL_SECONDS / 10)  # the last one removes the file just now
                if os.fstat(descriptor).st_ino == os.stat(self._path).st_ino:  # noqa: PTH116
                    return descriptor
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _open_once(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._path, flags, 0o666)
        except OSError as error:
            reason = error.strerror
            if error.errno == errno.ELOOP:
                reason = "it is a symbolic link, and writing would go through it"
            raise InputError(f"{self._path} cannot be written: {reason}") from error

    def _lock(self, kind: int, byte: int, descriptor: int | None = None) -> bool:
        """Lock a byte of the file; False: another process holds it."""
        descriptor = self._descriptor if descriptor is None else descriptor
        try:
            fcntl.lockf(descriptor, kind | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return False
            if error.errno == errno.EACCES and byte != _PROBE and self._locks_work(descriptor):
                return False  # POSIX allows this answer too, which may also mean "not permitted"
            raise InputError(
                f"{self._path} cannot be locked ({error.strerror}), and without locks processes "
                "cannot share the work: choose a directory on a file system that has them"
            ) from error
        return True

    def _locks_work(self, descriptor: int) -> bool:
        """Whether a byte that nobody holds can be locked: tells "held" from "not permitted"."""
        self._lock(fcntl.LOCK_SH, _PROBE, descriptor)
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, _PROBE)
        return True

    @contextlib.contextmanager
    def claim(self, task: int, *, wait: bool = False) -> Iterator[bool]:
        """Hold a task for as long as the context is open; False: another process holds it."""
        while not (mine := self._lock(fcntl.LOCK_EX, task)) and wait:
            self.wait(task)
        try:
            if mine:
                self._waiting_since = None
            yield mine
        finally:
            if mine:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, task)

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
                self._path.parent,
                self._holder(task),
            )
            self._waiting_since = float("inf")  # one word is enough
        time.sleep(POLL_SECONDS)

    def _holder(self, task: int) -> str:
        """Who holds a task, as far as this machine knows."""
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, task, 1, 0)
        try:
            answer = fcntl.fcntl(self._descriptor, fcntl.F_GETLK, question)
            process = struct.unpack(_FLOCK, answer)[4]
            os.kill(process, 0)
        except PermissionError:
            pass  # another user's
        except OSError:
            return "a process of another machine"
        return f"process {process}" if process > 0 else "another process"

    def share(self, task: int) -> None:
        """Hold a task together with other processes until this is closed, or until `alone`."""
        while not self._lock(fcntl.LOCK_SH, task):
            self.wait(task)

    def alone(self, task: int = _PRESENCE) -> bool:
        """Whether no other process holds a task, or shares it; if so it is held from now on.

        By default: whether no other process uses the file; until this one closes it, none will.
        """
        return self._lock(fcntl.LOCK_EX, task)

    def close(self, *, remove: bool = False) -> None:
        """End the claims of this process.

        Args:
            remove: remove the file, unless another process uses it.
        """
        try:
            if remove and self.alone():
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)
