"""Processes of Python that begin where torch and this package are imported already.

What a test looks at in a process that it kills, or that works beside others, is what the process
does, not how Python starts. So it is forked from one that has done nothing but those imports: they
take longer than most of what such a process then has to do.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "vtcd_ops"])


def _run(program: str | Path, arguments: list[str], output: Connection | None) -> None:
    if output is not None:
        os.dup2(output.fileno(), 1)
        output.close()
    sys.argv = [str(program) if isinstance(program, Path) else "-c", *arguments]
    if isinstance(program, Path):
        runpy.run_path(str(program), run_name="__main__")
    else:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})


def start(program: str | Path, *arguments: object) -> BaseProcess:
    """Start a file, or the text of a program, as `python` would; `kill` and `join` are its own."""
    process = FORKS.Process(target=_run, args=(program, [*map(str, arguments)], None))
    process.start()
    return process


def start_printing(program: str | Path, *arguments: object) -> tuple[BaseProcess, TextIO]:
    """Start it, and return what it prints as well."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run, args=(program, [*map(str, arguments)], theirs))
    process.start()
    theirs.close()
    printed = os.fdopen(os.dup(ours.fileno()))
    ours.close()
    return process, printed


def run(program: str | Path, *arguments: object) -> int:
    """Run it to its end, and return its exit code (-9: killed by that signal)."""
    process = start(program, *arguments)
    process.join(timeout=300)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{program} did not end within 300 s")
    return process.exitcode
