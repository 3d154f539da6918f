"""Processes that end or stop in the middle of a write, and others that go on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from inject import Found, Judge, attempt
from shim import Fault, Shim
from tasks import Places, Task

_PATIENCE = 60.0  # seconds, of whoever waits for a process that goes on
_STOPPED = 1.0  # seconds that a stopped process stays so while another one works


def in_signals(
    shim: Shim, places: Places, task: Task, times: int, draw: random.Random
) -> Iterator[Found]:
    """Yield what came of signals at moments drawn among the operations that change the folder."""
    judge = Judge(shim, places, task)
    for sent in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
        fault = Fault("change", -int(sent))
        for _ in range(times):
            number = draw.randint(1, judge.counts["change"])
            places.put(task.needs)
            first = _begin(task, places.work, shim, fault, number)
            if sent == signal.SIGSTOP:
                outcome, words = _stopped(first, task, places.work)
            else:
                outcome, words = _outcome(first)
            found = judge.judge(fault, number, outcome, words)
            found.fault = signal.Signals(sent).name
            yield found


def _begin(task: Task, folder: Path, shim: Shim | None, fault: Fault | None, number: int) -> int:
    """Fork a process that does a task, hit by a fault if one is given."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        if shim is None or fault is None:
            outcome, words = attempt(lambda: task.do(folder), folder)
        else:
            with shim.armed(folder, fault, number):
                outcome, words = attempt(lambda: task.do(folder), folder)
        if outcome == "overcome":
            status = 0
        else:
            (folder.parent / f"words-{os.getpid()}").write_text(words)
    finally:
        os._exit(status)


def _outcome(child: int) -> tuple[str, str]:
    """Wait for a process; "ended": by a signal."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "ended", ""
    return ("overcome", "") if status == 0 else ("traceback", f"process ended with {status}")


def _stopped(first: int, task: Task, folder: Path) -> tuple[str, str]:
    """Let a second process work beside one that is stopped, and that one go on after a while."""
    _, status = os.waitpid(first, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        return "traceback", f"a process expected to stop, got status {status}"
    second = _begin(task, folder, None, None, 0)
    time.sleep(_STOPPED)
    os.kill(first, signal.SIGCONT)
    ends = {}
    until = time.monotonic() + _PATIENCE
    while len(ends) < 2 and time.monotonic() < until:
        for child in {first, second} - set(ends):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ends[child] = status
        time.sleep(0.01)
    for child in {first, second} - set(ends):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = "; ".join(path.read_text() for path in sorted(folder.parent.glob("words-*")))
    for path in folder.parent.glob("words-*"):
        path.unlink()
    if len(ends) < 2:
        return "traceback", f"waited for more than {_PATIENCE} s {said}"
    return ("overcome", "") if not any(ends.values()) else ("traceback", said)
