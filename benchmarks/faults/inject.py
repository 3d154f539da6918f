"""Every operation of every verb made to fail in turn: what is said, lost, and left."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shim import FAULTS, Fault, Shim
from tasks import TASKS, Places, Task

from vtcd_ops.common.errors import InputError

Contents = dict[str, bytes]

#: What may come of a fault; the first three are as it should be.
OUTCOMES = ("overcome", "sentence", "ended", "traceback", "silent")


@dataclass
class Found:
    """What came of one fault.

    Attributes:
        task, fault, number: what failed, and which of its kind.
        outcome: of OUTCOMES. "overcome": the work was done all the same; "ended": by a signal.
        lost: files of before that are gone or changed.
        torn: files that are neither as before nor as they should become.
        left: files needed on the way alone that stay after all was done, and temporary ones; they
            may where the process was killed, or removing failed.
        again: what went wrong when the same was asked for again; empty: the same bytes.
        words: of the error.
    """

    task: str
    fault: str
    number: int
    outcome: str
    lost: list[str]
    torn: list[str]
    left: list[str]
    again: str
    words: str

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with it."""
        wrong = self.lost or self.torn or self.again or self.outcome in ("traceback", "silent")
        excused = self.outcome == "ended" or self.fault.startswith("unlink")
        return not wrong and (excused or not self.left)


def is_sentence(error: BaseException, folder: Path) -> bool:
    """Whether an error is one line of the package's own that says where it happened."""
    text = str(error)
    return isinstance(error, InputError) and "\n" not in text and str(folder) in text


def attempt(do: Callable[[], object], folder: Path) -> tuple[str, str]:
    """Return what came of a call, and the words of its error."""
    try:
        do()
    except BaseException as error:
        if is_sentence(error, folder):
            return "sentence", str(error).replace(str(folder), "")
        return "traceback", "".join(traceback.format_exception(error))[-2000:]
    return "overcome", ""


def is_left(name: str) -> bool:
    """Whether a file is one that a write left behind."""
    return Path(name).name.startswith(".tmp-")


def is_passing(name: str) -> bool:
    """Whether a file is needed on the way alone, or left behind."""
    return is_left(name) or Path(name).name == ".lock" or "/parts/" in name


class Judge:
    """Compares a folder with what it held before a task and should hold after it.

    Args:
        shim: counts what can fail.
        places: the folders.
        task: what is done there.
    """

    def __init__(self, shim: Shim, places: Places, task: Task) -> None:
        self._places, self.task = places, task
        places.put(task.needs)
        self.before = places.contents()
        self.counts = shim.counts(places.work, lambda: task.do(places.work))
        self.after = places.contents()

    def judge(self, fault: Fault, number: int, outcome: str, words: str) -> Found:
        """Judge what is in the folder, and ask for the same again."""
        now = self._places.contents()
        lost = [name for name, was in self.before.items() if self._is_lost(name, was, now)]
        torn = [
            name for name, is_ in now.items()
            if not is_passing(name) and is_ not in (self.before.get(name), self.after.get(name))
        ]  # fmt: skip
        left = [name for name in now if is_left(name)]
        if outcome == "overcome":  # then what was needed on the way is to be gone
            left += [name for name in now.keys() - self.after if is_passing(name)]
            if {name: is_ for name, is_ in now.items() if name not in left} != self.after:
                outcome = "silent"
        again = self._again()
        return Found(self.task.name, str(fault), number, outcome, lost, torn, left, again, words)

    def _is_lost(self, name: str, was: bytes, now: Contents) -> bool:
        return now.get(name) not in (was, self.after.get(name, was))

    def _again(self) -> str:
        outcome, words = attempt(lambda: self.task.do(self._places.work), self._places.work)
        if outcome != "overcome":
            return words
        now = self._places.contents()
        other = [name for name in {*now, *self.after} if now.get(name) != self.after.get(name)]
        return f"other bytes: {sorted(other)}" if other else ""


def inject(
    shim: Shim, places: Places, task: Task, share: float, draw: random.Random
) -> Iterator[Found]:
    """Yield what came of every fault of a task, or of a share of them drawn at random."""
    judge = Judge(shim, places, task)
    for fault in FAULTS:
        for number in range(1, judge.counts[fault.kind] + 1):
            if draw.random() >= share:
                continue
            places.put(task.needs)
            with shim.armed(places.work, fault, number):
                outcome, words = attempt(lambda: task.do(places.work), places.work)
            yield judge.judge(fault, number, outcome, words)


def task_named(name: str) -> Task:
    """Return a task by its name."""
    return next(task for task in TASKS if task.name == name)
