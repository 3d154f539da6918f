# SPDX-License-Identifier: MIT
"""Other processes that help: they make the same results in the same folder, and throw them away.

Discoveries, rankings and curves are shared by however many processes ask for the same ones, part by
part and with the same bits, so that is all it takes. Each helper begins with another seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_processors(processes: int) -> None:
    """Use this process's share of the processors."""
    torch.set_num_threads(max(1, usable_cpus() // processes))


@contextmanager
def helpers(arguments: Sequence[str], processes: int, folder: Path) -> Iterator[None]:
    """Let other processes do what this command line asks for, as long as the context is open.

    A helper ends with the process that started it, however that ends: its standard input is then
    at its end. What it says is in `helper-1.log`, and so on.
    """
    started = []
    for number in range(1, processes):
        command = [sys.executable, "-m", "reproduce", *arguments, "--helper", str(number)]
        with (folder / f"helper-{number}.log").open("w", encoding="utf-8") as log:
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log))
    try:
        yield
    finally:
        for number, helper in enumerate(started, 1):
            if helper.poll():
                print(f"helper {number} failed, see {folder}/helper-{number}.log", file=sys.stderr)
            helper.kill()
            helper.wait()


def end_with_parent() -> None:
    """In a helper: end as soon as standard input does."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
