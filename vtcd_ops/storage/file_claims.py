"""Which process does which task of a folder, agreed through locks that end with their process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from pathlib import Path

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.claims import POLL_SECONDS, PRESENCE, Claims

_JOB = PRESENCE + 1  # shared in place of PRESENCE by a job that agrees through its store
_PROBE = PRESENCE + 2  # never held
_FLOCK = "hhqqi0q"  # struct flock of Linux: type, whence, start, length, process


class NoLocksError(InputError):
    """The file system has no locks, or refuses them."""


class FileClaims(Claims):
    """Which process does which task, agreed through locks that end with their process.

    The lock of task i is byte i of one file. The operating system gives it up when its process
    ends, however it ends, so a killed process never leaves a task claimed. As long as the object
    is in use it shares one more lock, so that the last to close it can tell that it is the last.

    Args:
        path: the file; made if it does not exist.
        job: this process is one of a job that agrees through its store: the file only keeps
            processes away that would not know of that.

    Raises:
        NoLocksError: its file system has no locks.
        InputError: it cannot be opened, or a job is at work there (with ``job``: a process that is
            none of it).
    """

    def __init__(self, path: Path, *, job: bool = False) -> None:
        super().__init__(path.parent)
        self._path = path
        self._presence, others = (_JOB, PRESENCE) if job else (PRESENCE, _JOB)
        self._closed = False
        self._descriptor = self._open()
        if self._who(others) is not None:
            os.close(self._descriptor)
            raise InputError(
                f"{path.parent} is in use by "
                + ("a process that is none of this job" if job else "a job of torchrun")
                + ", and the two cannot share the work: wait for it, or end it"
            )

    def _open(self) -> int:
        while True:
            descriptor = self._open_once()
            try:
                while not self._lock(fcntl.LOCK_SH, self._presence, descriptor):
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
            raise NoLocksError(
                f"{self._path} cannot be locked ({error.strerror}), and without locks processes "
                "cannot share the work: choose a directory on a file system that has them, or "
                "start them by torchrun, which needs none"
            ) from error
        return True

    def _locks_work(self, descriptor: int) -> bool:
        """Whether a byte that nobody holds can be locked: tells "held" from "not permitted"."""
        self._lock(fcntl.LOCK_SH, _PROBE, descriptor)
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, _PROBE)
        return True

    def _take(self, task: int) -> bool:
        return self._lock(fcntl.LOCK_EX, task)

    def _take_shared(self, task: int) -> bool:
        return self._lock(fcntl.LOCK_SH, task)

    def _give_back(self, task: int) -> None:
        if not self._closed:  # where work was interrupted, the collector may end a claim later
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, task)

    def alone(self, task: int = PRESENCE) -> bool:
        """Whether no other process holds a task, or shares it; if so it is held from now on."""
        return self._take(task)

    def _holder(self, task: int) -> str:
        """Who holds a task, as far as this machine knows."""
        process = self._who(task)
        try:
            os.kill(process or 0, 0)
        except PermissionError:
            pass  # another user's
        except OSError:
            return "a process of another machine"
        return f"process {process}" if process else "another process"

    def _who(self, task: int) -> int | None:
        """The number of a process that holds a task or shares it; None: no other does."""
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, task, 1, 0)
        try:
            answer = struct.unpack(_FLOCK, fcntl.fcntl(self._descriptor, fcntl.F_GETLK, question))
        except OSError:  # a file system that locks, and does not tell who
            return None
        return None if answer[0] == fcntl.F_UNLCK else int(answer[4])

    def close(self, *, remove: bool = False) -> None:
        """End the claims of this process.

        Args:
            remove: remove the file, unless another process uses it.
        """
        try:
            if remove and self.alone() and self.alone(_JOB):
                with contextlib.suppress(OSError):  # the work is done, and the file says nothing
                    self._path.unlink(missing_ok=True)
        finally:
            self._closed = True
            os.close(self._descriptor)
