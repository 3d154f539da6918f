"""Every GoogleTest case as a test of this run, under each of the sanitizers.

The torch-free core, and the CUDA kernels as they run on the host, are compiled once for each
configuration into ``build/cpp-<name>``; a case runs in its own process, so that a crash fails one
test. What the thread sanitizer leaves out, `is_worth_its_time` says; the others take everything.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "build_tools"))
from vtcd_locate import find_eigen  # noqa: E402

EXECUTABLES = ("core_tests", "kernel_tests")
# None without: they check what it would, and the tests in Python what an optimising compiler makes.
SANITIZERS = {"asan-ubsan": "address,undefined", "tsan": "thread"}
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "strict_init_order=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}
# Costly where every CUDA thread has a stack of its own: ten times the time.
ONLY_THE_CORE = ":detect_stack_use_after_return=1"
CASE_TIMEOUT_S = 300
SOURCES = ROOT / "tests/cpp"
CASE = re.compile(r"^TEST\((\w+), (\w+)\) \{(.*\}$|\n(?:(?!\}$).*\n)*\}$)", re.MULTILINE)
# Problems like those of the table of Slic3dKernel: here only which way was taken is looked at.
ONCE_MORE = "Slic3dKernels.GoesVoxelByVoxelWhereRoundingMayDecide"


@dataclass(frozen=True)
class Build:
    """One compiled configuration, or the output of the build that failed."""

    executable: Path
    failure: str = ""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = dict(SANITIZER_ENVIRONMENT)
        if self.executable.name == "core_tests":
            variables["ASAN_OPTIONS"] += ONLY_THE_CORE
        return subprocess.run(
            [self.executable, *arguments],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=CASE_TIMEOUT_S,
            check=False,
        )

    def cases(self) -> list[str]:
        """Names of the cases, as ``Suite.Case``, from GoogleTest's own listing."""
        names, suite = [], ""
        for line in self.run("--gtest_list_tests").stdout.splitlines():
            name = line.split("#")[0].strip()
            if line.startswith("  "):
                names.append(suite + name)
            elif name.endswith("."):
                suite = name
        return names


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time build in a folder: every process of a run collects these tests."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(configuration: str) -> list[Build]:
    """Compile a configuration; an unchanged one takes no time."""
    folder = ROOT / f"build/cpp-{configuration}"
    with alone(folder):
        return _build(configuration, folder)


def _build(configuration: str, folder: Path) -> list[Build]:
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), *generator, "-DVTCD_TESTS=ON"]
    configure += [f"-DVTCD_SANITIZE={SANITIZERS[configuration]}"]
    eigen = find_eigen()  # a package from PyPI lies where CMake does not look
    configure += [f"-DEIGEN3_INCLUDE_DIR={eigen}"] if eigen else []
    for command in (configure, ["cmake", "--build", str(folder), "--target", *EXECUTABLES]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return [Build(folder / name, done.stdout + done.stderr) for name in EXECUTABLES]
    return [Build(folder / name) for name in EXECUTABLES]


def threaded_cases() -> dict[str, bool]:
    """The cases of the core, and whether they use threads: by their text in ``tests/cpp``."""
    text = "".join(path.read_text() for path in sorted(SOURCES.glob("*.cpp")))
    return {f"{suite}.{name}": "threaded_for(" in body for suite, name, body in CASE.findall(text)}


def is_worth_its_time(configuration: str, result: Build, case: str) -> bool:
    """Whether a case runs: the thread sanitizer, which takes many times as long, leaves some out.

    Of the core it takes what uses threads; of a kernel's table of problems every fourth, as the
    barriers are the same for all of them.
    """
    if configuration != "tsan":
        return True
    if result.executable.name == "core_tests":
        return threaded_cases().get(case, True)
    numbered = re.fullmatch(r".*/Case(\d+)", case)
    return case != ONCE_MORE and (not numbered or int(numbered[1]) % 4 == 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Build every configuration and list its cases."""
    if "executable" not in metafunc.fixturenames:
        return
    parameters = []
    for configuration in SANITIZERS:
        for result in build(configuration):
            cases = [f"build-{result.executable.name}"] if result.failure else result.cases()
            parameters += [
                pytest.param(result, case, id=f"{configuration}-{case}")
                for case in cases
                if is_worth_its_time(configuration, result, case)
            ]
    metafunc.parametrize(("executable", "case"), parameters)


def test_cpp(executable: Build, case: str) -> None:
    assert not executable.failure, executable.failure
    done = executable.run(f"--gtest_filter={case}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[  PASSED  ] 1 test." in done.stdout, done.stdout


def test_threads_are_seen() -> None:
    """Only cases use threads themselves, so that the text of a case tells whether it does."""
    files = [path for path in SOURCES.glob("*.cpp") if '"threads.h"' in path.read_text()]
    assert files
    for path in files:
        text = path.read_text()
        uses = sum(body.count("threaded_for(") for _, _, body in CASE.findall(text))
        assert uses == text.count("threaded_for(") > 0, path
    cases = threaded_cases()
    assert len(cases) == sum(
        line.startswith("TEST(")
        for path in SOURCES.glob("*.cpp")
        for line in path.read_text().splitlines()
    )
    assert any(cases.values())
    assert not all(cases.values())
