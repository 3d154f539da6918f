"""Settings of every test: fixed seeds, no network, and skips that are told and can fail a run."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from vtcd_ops.ops.library import has_kernel

hypothesis.settings.register_profile("vtcd", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("vtcd")

# Nothing imported so far reads these; processes that a test starts inherit them.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "NO_PROXY": "localhost,127.0.0.1",
}
os.environ |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
# What torch's compilers do beside the models that the tests give them: trying out ten instruction
# sets with the C++ compiler, a pool of processes, and optimised code around the kernels.
for _name, _value in {
    "TORCHINDUCTOR_VEC_ISA_OK": "0",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL": "O0",
}.items():
    os.environ.setdefault(_name, _value)

ALLOWED_SKIPS = [
    line
    for line in (Path(__file__).parent / "tests/allowed_skips.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def num_threads() -> Iterator[None]:
    """Put the number of threads back after a test that changes it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cuda_device() -> torch.device:
    """A GPU with kernels for the operators; VTCD_REQUIRE_CUDA=1 turns its absence into a failure.

    The mark ``cuda`` selects the tests that ask for it: ``pytest -m cuda``.
    """
    has_kernels = has_kernel("vtcd::concept_mask", "CUDA")
    if torch.cuda.is_available() and has_kernels:
        return torch.device("cuda", torch.cuda.current_device())
    lacking = "no CUDA kernels were built" if torch.cuda.is_available() else "torch sees none"
    if os.environ.get("VTCD_REQUIRE_CUDA") == "1":
        pytest.fail(f"needs a CUDA GPU: {lacking}")
    pytest.skip(f"needs a CUDA GPU: {lacking}")


def _is_this_machine(host: object) -> bool:
    if host is None or isinstance(host, bytes):  # any address; the name of a local socket
        return True
    name = str(host)
    if name in ("", "localhost", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail the test that asks another machine; as an audit hook it sees every Python socket."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_this_machine(host):
        pytest.fail(f"a test may not ask the network, got {event} of {host!r}")


sys.addaudithook(_refuse_network)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skipped report, as pytest stores it: (file, line, reason)."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _is_allowed(reason: str) -> bool:
    return any(fnmatchcase(reason, pattern) for pattern in ALLOWED_SKIPS)


def _fail_on_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where VTCD_FAIL_ON_SKIP=1, but for the reasons on the list."""
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if is_skip and os.environ.get("VTCD_FAIL_ON_SKIP") == "1" and not _is_allowed(_reason(report)):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped for a reason that tests/allowed_skips.txt does not list: {_reason(report)}"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of what the processes of a run share: VTCD_TESTS_SHARE."""
    if "VTCD_TESTS_SHARE" not in os.environ:  # else this process was started by another of the run
        folder = os.environ["VTCD_TESTS_SHARE"] = tempfile.mkdtemp(prefix="vtcd-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop("VTCD_TESTS_SHARE"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one of them.

    First comes the one of the C++ tests, which are many; then those that hold slow tests.
    """
    for item in items:
        if "cuda_device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cuda)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != "test_cpp.py", item.path not in slow))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """See `_fail_on_skip`."""
    report = yield
    _fail_on_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """See `_fail_on_skip`: a module that skips itself as a whole is a report of the collection."""
    report = yield
    _fail_on_skip(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, in plain sight, what this run did not test and why."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section("NOT TESTED HERE", yellow=True, bold=True)
    for reason, count in sorted(reasons.items()):
        verdict = "" if _is_allowed(reason) else "  (.ci/run fails on this)"
        terminalreporter.line(f"{count} skipped: {reason}{verdict}", yellow=True)
