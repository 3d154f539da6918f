"""The guards of the test suite itself: no network, no silent skip."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_another_machine_is_not_asked(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="may not ask the network"):
        socket.create_connection((host, 80), timeout=0.1)


def test_datagrams_to_another_machine_are_not_sent() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(pytest.fail.Exception, match="may not ask the network"),
    ):
        datagrams.sendto(b"?", ("192.0.2.1", 53))


def test_this_machine_may_be_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=10).close()


SKIPS = """
import pytest

@pytest.mark.skipif(True, reason="needs a CUDA GPU: torch sees none")
def test_gpu():
    pass

def test_whim():
    pytest.skip("not today")

def test_fine():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_expected():
    raise AssertionError
"""
MODULE_SKIP = 'import pytest\npytest.skip("no such tool", allow_module_level=True)\n'


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with this one's conftest, a test that skips, and a module that skips itself."""
    pytester.mkdir("tests")
    for name in ("conftest.py", "tests/allowed_skips.txt"):
        shutil.copy(ROOT / name, pytester.path / name)
    pytester.makepyfile(test_some=SKIPS, test_module=MODULE_SKIP)
    return pytester


OPTIONS = ("-p", "no:cacheprovider", "-p", "no:randomly", "--continue-on-collection-errors")


def test_skips_are_told(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTCD_FAIL_ON_SKIP", raising=False)
    told = project.runpytest_inprocess(*OPTIONS)
    told.assert_outcomes(passed=1, skipped=3, xfailed=1)
    told.stdout.fnmatch_lines(
        [
            "*NOT TESTED HERE*",
            "1 skipped: needs a CUDA GPU: torch sees none",
            "1 skipped: no such tool  (.ci/run fails on this)",
            "1 skipped: not today  (.ci/run fails on this)",
        ]
    )


@pytest.mark.parametrize("processes", [0, 2])
def test_skips_that_are_not_listed_fail(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setenv("VTCD_FAIL_ON_SKIP", "1")
    failed = project.runpytest_inprocess(*OPTIONS, "-n", str(processes))
    assert failed.ret == pytest.ExitCode.TESTS_FAILED
    failed.assert_outcomes(passed=1, failed=1, errors=1, skipped=1, xfailed=1)
    listed = "*skipped for a reason that tests/allowed_skips.txt does not list: {}"
    failed.stdout.fnmatch_lines_random([listed.format("not today"), listed.format("no such tool")])


class _Item(SimpleNamespace):
    """What the order of tests asks of one."""

    def get_closest_marker(self, name: str) -> bool:
        return name == "slow" and self.slow


def test_files_that_take_longest_come_first(request: pytest.FixtureRequest) -> None:
    [guards] = [
        plugin
        for plugin in request.config.pluginmanager.get_plugins()
        if getattr(plugin, "__file__", None) == str(ROOT / "conftest.py")
    ]
    given = [
        ("test_a.py", False),
        ("test_b.py", False),
        ("test_b.py", True),
        ("test_cpp.py", False),
    ]
    items = [_Item(path=Path(name), slow=slow) for name, slow in given]
    guards.pytest_collection_modifyitems(items)
    assert [item.path.name for item in items] == [
        "test_cpp.py", "test_b.py", "test_b.py", "test_a.py",
    ]  # fmt: skip
