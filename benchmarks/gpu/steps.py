"""The steps of `make gpu`: what each runs, for how long at most, and how its findings are read."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SANITIZER_TOOLS = {"memcheck": 60, "racecheck": 60, "synccheck": 45, "initcheck": 45}  # seconds
OPTIONAL_TOOLS = ("synccheck", "initcheck")
LISTED = 60  # failures that are written out

SUMMARY = re.compile(r"========= ((?:ERROR|RACECHECK) SUMMARY: .*)")
CLEAN = re.compile(r"SUMMARY: 0 (?:errors|hazards)")
FINDING = re.compile(
    r"========= ((?:Error|Invalid|Uninitialized|Barrier|Divergent|Race|Potential|Warning)\b.*)"
)


@dataclass(frozen=True)
class Step:
    """One process, or none where there is a reason to leave it out.

    Args:
        name: in the results.
        command: what is run; it writes its findings to ``record``.
        limit_s: seconds after which it is ended.
        record: the file of its findings.
        read: makes a result of that file and of the output.
        environment: variables beside those of all steps.
        left_out: why it is not run.
    """

    name: str
    command: list[str]
    limit_s: float
    record: Path
    read: Callable[[Path, str], dict[str, Any]]
    environment: dict[str, str] = field(default_factory=dict)
    left_out: str = ""


def read_items(record: Path, _output: str) -> dict[str, Any]:
    """Read what `record.Record` wrote."""
    items = json.loads(record.read_text()) if record.is_file() else {}
    return {"items": items, "failed": [n for n, f in items.items() if f["state"] != "passed"]}


def read_tests(record: Path, _output: str) -> dict[str, Any]:
    """Read what the plug-in `record_tests` wrote: the last word on every test, the worst first."""
    lines = record.read_text().splitlines() if record.is_file() else []
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, lines):
        before = found.get(line["test"])
        if before is None or before["outcome"] != "failed":
            found[line["test"]] = line
    counts = dict.fromkeys(("passed", "failed", "skipped", "started"), 0)
    for line in found.values():
        counts[line["outcome"]] += 1
    counts["unfinished"] = counts.pop("started")
    bad = [line for line in found.values() if line["outcome"] != "passed"]
    slow = sorted(found.values(), key=lambda line: -line.get("seconds", 0))[:10]
    return {
        "counts": counts,
        "failed": [line["test"] for line in bad if line["outcome"] in ("failed", "started")],
        "messages": {line["test"]: line.get("message", "") for line in bad[:LISTED]},
        "slowest": {line["test"]: line.get("seconds", 0) for line in slow},
    }


def read_sanitizer(record: Path, output: str) -> dict[str, Any]:
    """Read the items, and what the sanitizer found: nothing, by a summary that says so."""
    result = read_items(record, output)
    result["summaries"] = SUMMARY.findall(output)
    result["findings"] = FINDING.findall(output)[:LISTED]
    clean = [summary for summary in result["summaries"] if CLEAN.search(summary)]
    if len(clean) < max(len(result["summaries"]), 1) or result["findings"]:
        result["failed"] += result["findings"][:5] or result["summaries"] or ["no summary"]
    return result


def device_tests() -> list[str]:
    """Return the files that hold tests of a GPU."""
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("integrations/*/tests/**/test_*.py")]
    return sorted(
        str(file.relative_to(ROOT)) for file in files if "cuda_device" in file.read_text()
    )


def test_step(parts: Path, dry_run: bool) -> Step:
    """Every test that asks for a GPU, in eight processes; a skip is a failure there."""
    record = parts / "tests.jsonl"
    files = device_tests()
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-p", "record_tests", "-q"]
    command += ["-p", "no:cacheprovider", "--continue-on-collection-errors", "--tb=short"]
    if find_spec("pytest_timeout"):
        command += ["--timeout=90", "--timeout-method=thread"]
    if dry_run:
        files = [file for file in files if file.endswith("test_concept_mask_cuda.py")]
        command += ["-n", "0"]
    else:
        command += ["-n", "8", "--dist", "worksteal"]
    environment = {"VTCD_TEST_RECORD": str(record), "OMP_NUM_THREADS": "1"}
    if not dry_run:
        environment |= {"VTCD_REQUIRE_CUDA": "1", "VTCD_FAIL_ON_SKIP": "1"}
    return Step("tests", [*command, *files], 130, record, read_tests, environment)


def script_step(
    name: str, script: str, limit_s: float, parts: Path, dry_run: bool, *options: str
) -> Step:
    """A script of this folder that keeps a record; tiny and on the CPU in a dry run."""
    record = parts / f"{name.replace(' ', '-')}.json"
    command = [sys.executable, str(HERE / script), str(record), *options]
    if dry_run:
        command += ["--device", "cpu", "--tiny"]
    return Step(name, command, limit_s, record, read_items)


def sanitizer_step(tool: str, parts: Path, dry_run: bool) -> Step:
    """One small call of every operator under one tool of compute-sanitizer."""
    record = parts / f"{tool}.json"
    script = [sys.executable, str(HERE / "one_call_each.py"), str(record)]
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    command = [program, "--tool", tool, "--kernel-name", "kns=vtcd", "--error-exitcode", "9",
               "--print-limit", "30", "--report-api-errors", "no", *script]  # fmt: skip
    left_out = ""
    if dry_run:
        left_out = "needs a GPU"
    elif not Path(program).is_file():
        left_out = "compute-sanitizer is not there"
    # every tensor an allocation of its own, so that no access beyond one goes unseen
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    limit_s = SANITIZER_TOOLS[tool]
    return Step(tool, command, limit_s, record, read_sanitizer, environment, left_out)


def all_steps(parts: Path, dry_run: bool) -> list[Step]:
    """Return the steps, the most valuable first."""
    machine = parts / "machine.json"
    command = [sys.executable, str(HERE / "machine.py"), str(machine)]
    steps = [
        Step("machine", command + ["--without-gpu"] * dry_run, 60, machine, read_items),
        test_step(parts, dry_run),
        script_step("operators", "bench_operators.py", 110, parts, dry_run),
        script_step("videomae", "bench_videomae.py", 120, parts, dry_run),
    ]
    for tool in SANITIZER_TOOLS:
        if tool in OPTIONAL_TOOLS and not dry_run:
            continue
        steps.append(sanitizer_step(tool, parts, dry_run))
    if not dry_run:
        steps.append(
            script_step("videomae compiled", "bench_videomae.py", 90, parts, dry_run, "--compiled")
        )
        steps += [sanitizer_step(tool, parts, dry_run) for tool in OPTIONAL_TOOLS]
    return steps


def environment(site: Path) -> dict[str, str]:
    """Return the variables of all steps: the checkout is on the path, and no network is asked."""
    projects = [ROOT, *(path.parent for path in ROOT.glob("integrations/*/pyproject.toml"))]
    path = [*projects, HERE, HERE.parent, site]
    given = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, path), *([given] if given else [])]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
