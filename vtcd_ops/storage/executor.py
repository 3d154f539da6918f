"""The work of a verb shared by the processes of an executor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

from vtcd_ops.common.errors import InputError, first_line, warn

__all__ = ["on_executor"]

T = TypeVar("T")

#: Locks of files are those of a process: its threads would not notice each other.
_ONE_OF_A_PROCESS = threading.Lock()


def on_executor(
    executor: Executor, num_workers: int, verb: Callable[..., T], *arguments: Any, **options: Any
) -> T:
    """Let the processes of an executor share the work of `discover`, `rank` or `curves`.

    The same call is made several times, and each takes what no other works on; so the files are
    those of one process, byte for byte. Where a worker dies, the others do its work, and what is
    left this process. They must all see the directory, on a file system that has locks.

    >>> import tempfile
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
    ...     run = vtcd_ops.on_executor(
    ...         pool, 2, vtcd_ops.discover, example_adapter(), videos, out=folder
    ...     )
    ...     len(run.videos)
    3

    Args:
        executor: any :class:`concurrent.futures.Executor`; tried are processes, threads, those
            of dask.distributed and a bare one of the interface alone. Of the threads of a process
            one works at a time.
        num_workers: how often the call is made, at least 1.
        verb: :func:`vtcd_ops.discover`, :func:`vtcd_ops.rank` or :func:`vtcd_ops.curves`.
        arguments, options: of the verb; they are pickled, and the samples are gone through by every
            worker (no iterator).

    Returns:
        What the verb returns.

    Raises:
        InputError: as the verb; or fewer than one worker, or `overwrite`, by which workers would
            remove each other's work.
    """
    if type(num_workers) is not int or num_workers < 1:
        raise InputError(f"on_executor: num_workers expected at least 1, got {num_workers!r}")
    if options.get("overwrite"):
        raise InputError(
            "on_executor: overwrite expected one process, got several, which would remove each "
            "other's work: remove what is there first"
        )
    theirs = {**options, "progress": False}
    calls = [executor.submit(_work, verb, arguments, theirs) for _ in range(num_workers)]
    wait(calls)
    for call in calls:
        _expect_done(call)
    return verb(*arguments, **options)  # finds all done, or does what dead workers left


def _work(verb: Callable[..., object], arguments: Any, options: Any) -> None:
    """Do the work in one of the processes; what the verb returns stays there."""
    with _ONE_OF_A_PROCESS:
        verb(*arguments, **options)


def _expect_done(call: Future[None]) -> None:
    """Raise what a worker says of its input; of a dead one warn."""
    try:
        call.result()
    except InputError:
        raise
    except Exception as error:  # every kind of executor has its own for a process that is gone
        warn(f"on_executor: a worker ended ({first_line(error)}): its work is done by this process")
