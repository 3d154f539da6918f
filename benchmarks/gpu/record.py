"""What a step of ``make gpu`` has found, written item by item, so that nothing is lost with it.

A step is a process that works off named items. One that breaks its CUDA context, hangs or is killed
is started again by ``run.py``, and goes on with the items that have no result yet.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

START_AGAIN = 75  # exit status: there is more to do, in a new process


def write_json(path: Path, value: Any) -> None:
    """Write a file that is whole at any moment."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(value, indent=1) + "\n")
    beside.replace(path)


class Record:
    """Results by the name of the item: ``{"state": "passed" | "failed" | "running", ...}``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items: dict[str, dict[str, Any]] = (
            json.loads(path.read_text()) if path.is_file() else {}
        )

    def run(self, name: str, call: Callable[[], dict[str, Any]], limit_s: float) -> None:
        """Run an item that has no result yet.

        Args:
            name: of the item.
            call: returns what was found; an entry ``"passed": False`` makes it a failure.
            limit_s: after which the process writes where it hangs, and ends.
        """
        before = self.items.get(name)
        if before is not None:
            if before["state"] == "running":
                self._keep(name, {"state": "failed", "error": "the process ended while it ran"})
            return
        self._keep(name, {"state": "running"})
        started = time.perf_counter()
        faulthandler.dump_traceback_later(limit_s, exit=True)
        try:
            found = call()
            state = "passed" if found.pop("passed", True) else "failed"
        except Exception as error:  # whatever goes wrong in an item is a result
            traceback.print_exc()
            found, state = {"error": f"{type(error).__name__}: {error}"[:2000]}, "failed"
        finally:
            faulthandler.cancel_dump_traceback_later()
        seconds = round(time.perf_counter() - started, 3)
        self._keep(name, {"state": state, "seconds": seconds, **found})
        print(f"{name}: {state}, {seconds} s", flush=True)
        if state == "failed":
            _leave_a_broken_context()

    def _keep(self, name: str, found: dict[str, Any]) -> None:
        self.items[name] = found
        write_json(self.path, self.items)


def _leave_a_broken_context() -> None:
    """End the process where an error of a kernel stays with it."""
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").item()
    except RuntimeError as error:
        print(f"the CUDA context is broken: {error}", file=sys.stderr, flush=True)
        os._exit(START_AGAIN)  # an ordinary exit would meet the error again
