"""Settings of every test: fixed seeds, and skips that can be made to fail."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("vtcd", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("vtcd")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def num_threads() -> Iterator[None]:
    """Put the number of threads back after a test that changes it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Turn skips into failures where VTCD_FAIL_ON_SKIP=1, as in continuous integration."""
    report = yield
    if (
        os.environ.get("VTCD_FAIL_ON_SKIP") == "1"
        and report.skipped
        and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped, and VTCD_FAIL_ON_SKIP=1: {report.longrepr}"
    return report
