"""``make gpu``: its dry run, and that nothing is lost where a step fails, hangs or is killed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks/gpu"
OPERATORS = (
    "slic3d", "tubelet_pool", "tubelet_pool backward", "concept_mask float32",
    "concept_mask backward", "kmeans", "silhouette", "cnmf", "cris_sample", "cris_accumulate",
    "rosetta_search", "rosetta_ratios", "contour_match",
)  # fmt: skip


def module(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


@pytest.mark.slow
def test_the_dry_run_goes_through_all_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "run.py", tmp_path, "--dry-run", "--limit", "600"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + (tmp_path / "run.log").read_text()[-3000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["passed"]
    steps = results["steps"]
    assert steps["tests"]["counts"]["skipped"] > 50
    assert steps["tests"]["counts"]["failed"] == 0
    assert steps["memcheck"] == {"state": "left out", "why": "needs a GPU"}
    cases = steps["operators"]["items"]
    assert [
        name for name in OPERATORS if not any(map(lambda c, n=name: c.startswith(n), cases))
    ] == []
    assert all(case["equal_bits"] for name, case in cases.items() if name != "copy")
    assert steps["videomae"]["items"]["ranking"]["masks_per_s"] > 0
    for name in cases:
        assert name in done.stdout
    publish(monkeypatch, results, tmp_path)


def publish(monkeypatch: pytest.MonkeyPatch, results: dict[str, Any], folder: Path) -> None:
    """What the tables of the documents are made of has every case and every step."""
    module(monkeypatch, "publish").publish(results, folder)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name, step in (("gpu_operators", "operators"), ("gpu_videomae", "videomae")):
        table = importlib.import_module("tables").render(
            json.loads((folder / f"{name}.json").read_text())
        )
        items = results["steps"][step]["items"]
        wanted = [key for key in items if key != "copy" and "profiled" not in key]
        rows = [f"| {key}".replace("ranking float32", "ranking, float32") for key in wanted]
        assert [row for row in rows if row not in table] == []
        assert "Measured on one no GPU, torch" in table


STEP = """
import os, sys, time
from pathlib import Path
from record import Record
record = Record(Path(sys.argv[1]))
record.run("first", lambda: {"number": 1}, 5)
record.run("dies", lambda: os._exit(75), 5)
record.run("raises", lambda: 1 / 0, 5)
record.run("is wrong", lambda: {"passed": False}, 5)
record.run("hangs", lambda: time.sleep(60), 0.5)
record.run("last", lambda: {"number": 2}, 5)
sys.exit(1)
"""


def visit(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str, limit_s: float) -> Any:
    """Run one step made of some code, and return what was kept of it."""
    run, steps = module(monkeypatch, "run"), module(monkeypatch, "steps")
    record = folder / "step.json"
    command = [sys.executable, "-c", code, str(record)]
    step = steps.Step("step", command, limit_s, record, steps.read_items)
    visit = run.Visit(folder / "out", dry_run=True, limit_s=60)
    visit.log_path.write_text("")
    visit.run(step, steps.environment(folder))
    return json.loads((folder / "out/results.json").read_text())["steps"]["step"]


def test_every_item_is_tried_whatever_becomes_of_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = visit(monkeypatch, tmp_path, STEP, 50)
    states = {name: item["state"] for name, item in found["items"].items()}
    assert states == {
        "first": "passed", "dies": "failed", "raises": "failed", "is wrong": "failed",
        "hangs": "failed", "last": "passed",
    }  # fmt: skip
    assert found["items"]["raises"]["error"] == "ZeroDivisionError: division by zero"
    assert found["state"] == "failed"
    log = (tmp_path / "out/run.log").read_text()
    assert "Timeout (0:00:00.500000)!" in log  # with the line that hung


def test_a_step_out_of_time_is_ended_and_keeps_its_items(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = STEP.replace('"dies", lambda: os._exit(75), 5', '"sleeps", lambda: time.sleep(60), 99')
    before = time.monotonic()
    found = visit(monkeypatch, tmp_path, code, 12)
    assert time.monotonic() - before < 45
    assert found["state"] == "out of time"
    assert found["items"]["first"]["number"] == 1
    assert found["items"]["sleeps"]["state"] == "running"


def test_a_step_is_left_out_where_no_time_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = visit(monkeypatch, tmp_path, STEP, 1)
    assert found == {"state": "left out", "why": "no time is left"}


MEMCHECK = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at vtcd::cuda::kernel(float *, int)+0x70
========= ERROR SUMMARY: {}
"""


@pytest.mark.parametrize(
    ("output", "failed"),
    [
        ("========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", []),
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n", []),
        (MEMCHECK.format("1 error"), ["Invalid __global__ write of size 4 bytes"]),
        (
            "========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)\n",
            ["RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)"],
        ),
        ("========= Error: Device not supported\n", ["Error: Device not supported"]),
        ("killed", ["no summary"]),
    ],
)
def test_a_finding_of_a_sanitizer_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str, failed: list[str]
) -> None:
    steps = module(monkeypatch, "steps")
    assert steps.read_sanitizer(tmp_path / "none.json", output)["failed"] == failed


def test_a_test_that_failed_or_never_ended_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "test_some.py").write_text(
        "import os, pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "def test_left(): pytest.skip('why')\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError('no fixture')\n"
        "def test_unready(broken): pass\n"
        "def test_never_ends(): os._exit(7)\n"
    )
    record = tmp_path / "tests.jsonl"
    steps = module(monkeypatch, "steps")
    environment = steps.environment(tmp_path) | {"VTCD_TEST_RECORD": str(record)}
    environment["PYTEST_XDIST_WORKER"] = "gw0"  # as where this very test runs in a worker
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "record_tests", "-p", "no:cacheprovider", "-q",
         "--rootdir", tmp_path, tmp_path / "test_some.py"],
        env=environment, cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    found = steps.read_tests(record, "")
    assert found["counts"] == {"passed": 1, "failed": 2, "skipped": 1, "unfinished": 1}
    assert [name.split("::")[1] for name in found["failed"]] == [
        "test_bad", "test_unready", "test_never_ends",
    ]  # fmt: skip
    assert "assert 1 == 2" in found["messages"]["test_some.py::test_bad"]


def test_projects_are_found_without_being_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = module(monkeypatch, "installed")
    installed.write_metadata(ROOT / "integrations/tcow", tmp_path)
    code = (
        "from importlib.metadata import entry_points, version\n"
        "[point] = [p for p in entry_points(group='vtcd_ops.adapters') if p.name == 'tcow']\n"
        "print(version('vtcd-tcow'), point.value)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "0.1.0 vtcd_tcow:TCOWAdapter\n"


def test_a_missing_dependency_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = module(monkeypatch, "installed")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "some"\ndependencies = ["torch>=2.10", "no-such-package>=3"]\n'
    )
    assert installed.missing_dependencies(tmp_path) == ["no-such-package>=3"]
