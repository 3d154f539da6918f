"""Progress bars whose clock goes on while one step takes long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["SECONDS", "ticking"]

SECONDS = 5.0  #: between two drawings of a bar that stands


@contextmanager
def ticking(bar: tqdm, seconds: float | None = None) -> Iterator[tqdm]:
    """Draw a bar again every few seconds until it ends, whether or not a step was done.

    A step may take minutes; the time beside the bar then tells that it is worked on.

    >>> import io, time
    >>> drawn = io.StringIO()
    >>> with ticking(tqdm(total=1, file=drawn), seconds=0.01):
    ...     while drawn.getvalue().count("0/1") < 3:
    ...         time.sleep(0.01)

    Args:
        bar: what is drawn and closed; one that is disabled is left alone.
        seconds: between two drawings, by default `SECONDS`.
    """
    ended = threading.Event()
    pause = SECONDS if seconds is None else seconds

    def tick() -> None:
        while not ended.wait(pause):
            bar.refresh()

    thread = threading.Thread(target=tick, name="vtcd-bar", daemon=True)
    with bar:
        if not bar.disable:
            thread.start()
        try:
            yield bar
        finally:
            ended.set()
            if not bar.disable:
                thread.join()
