"""A plug-in of pytest: every outcome is written at once, and a broken GPU context ends its worker.

``pytest -p record_tests`` with ``VTCD_TEST_RECORD`` naming the file: a line of JSON for every start
of a test and for every report of one, from the process that hands out the tests.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

BROKEN = 3  # exit status of a worker, after which xdist starts another


class _Process:
    """This process: whether it works for another, to which its reports go.

    xdist says so to the worker itself; its environment variables reach all that a worker starts,
    a `make gpu` within a test as well.
    """

    is_worker = False


def pytest_configure(config: pytest.Config) -> None:
    """See `_Process`."""
    _Process.is_worker = hasattr(config, "workerinput")


def _write(line: dict[str, Any]) -> None:
    if _Process.is_worker:
        return
    with Path(os.environ["VTCD_TEST_RECORD"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note a start, so that a test which never ends is known by name."""
    _write({"test": nodeid, "outcome": "started"})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what came of a test: its call, or the phase before or after in which it failed."""
    if report.when == "call" or report.outcome != "passed":
        _write(
            {
                "test": report.nodeid,
                "outcome": report.outcome,
                "seconds": round(report.duration, 3),
                "message": "" if report.passed else report.longreprtext[-3000:],
            }
        )


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file that cannot be read."""
    if report.failed:
        message = report.longreprtext[-3000:]
        _write({"test": report.nodeid, "outcome": "failed", "seconds": 0.0, "message": message})


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_logfinish(nodeid: str) -> Any:
    """End a worker whose context a kernel has broken: every later test would fail for that."""
    result = yield
    if _Process.is_worker and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            print(f"{nodeid}: the CUDA context is broken: {error}", file=sys.stderr)
            time.sleep(0.5)  # until the reports have been sent
            os._exit(BROKEN)
    return result
