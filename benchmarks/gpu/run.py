"""Everything that one visit to a GPU is to settle, in a few minutes: ``make gpu``.

Tests of the operators and the pipeline on the device; benchmarks of every operator beside plain
PyTorch; VideoMAE-B at full size; compute-sanitizer over a call of every operator. A step that
fails, hangs or is out of time takes nothing from the others: ``results.json`` is written anew
whenever something was found, the output of all steps goes to ``run.log``, and a table comes last.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO

from installed import missing_dependencies, write_metadata
from record import START_AGAIN, write_json
from steps import ROOT, Step, all_steps, environment
from summary import table

LIMIT_S = 470
LEAST_S = 8  # a step is not begun with less


def run_once(step: Step, limit_s: float, variables: dict[str, str], log: TextIO) -> int | None:
    """Run a step's process; None where it was out of time and has been ended."""
    process = subprocess.Popen(
        step.command, cwd=ROOT, env=variables | step.environment, stdout=log,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


class Visit:
    """One run of all steps."""

    def __init__(self, folder: Path, dry_run: bool, limit_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.results_path, self.log_path = folder / "results.json", folder / "run.log"
        self.started, self.limit_s = time.monotonic(), limit_s
        self.results: dict[str, Any] = {
            "date": datetime.date.today().isoformat(),
            "dry_run": dry_run,
            "commit": _commit(),
            "steps": {},
        }

    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    def note(self, name: str, found: dict[str, Any]) -> None:
        """Keep what a step has found, and write all results."""
        self.results["steps"][name] = found
        steps = self.results["steps"].values()
        self.results["seconds"] = round(self.seconds(), 1)
        self.results["passed"] = all(found["state"] in ("passed", "left out") for found in steps)
        write_json(self.results_path, self.results)

    def run(self, step: Step, variables: dict[str, str]) -> None:
        """Run a step, again where it asks for a new process, as long as there is time."""
        begun = time.monotonic()
        left_s = min(step.limit_s, self.limit_s - self.seconds())
        why = step.left_out or ("no time is left" if left_s < LEAST_S else "")
        if why:
            self.note(step.name, {"state": "left out", "why": why})
            print(f"[{self.seconds():5.0f} s] {step.name}: left out, {why}", flush=True)
            return
        with self.log_path.open("a") as log:
            print(f"\n===== {step.name}: {' '.join(step.command)}", file=log, flush=True)
            place = log.tell()
            while True:
                left_s = min(step.limit_s - (time.monotonic() - begun),
                             self.limit_s - self.seconds())  # fmt: skip
                status = run_once(step, max(left_s, 1), variables, log)
                found = self._read(step, place, status, time.monotonic() - begun)
                self.note(step.name, found)
                if not self._goes_on(step, status, begun):
                    break
        print(f"[{self.seconds():5.0f} s] {step.name}: {found['state']}", flush=True)

    def _goes_on(self, step: Step, status: int | None, begun: float) -> bool:
        """Whether a process ended early that works off items, and there is time for another."""
        if status in (0, None) or step.record.suffix != ".json":
            return False
        spent = time.monotonic() - begun
        enough = min(step.limit_s - spent, self.limit_s - self.seconds()) > LEAST_S
        items = step.read(step.record, "").get("items", {})
        hanging = any(item["state"] == "running" for item in items.values())
        return enough and (status == START_AGAIN or hanging)

    def _read(self, step: Step, place: int, status: int | None, seconds: float) -> dict[str, Any]:
        with self.log_path.open(errors="replace") as log:
            log.seek(place)
            output = log.read()
        found = step.read(step.record, output)
        good = status == 0 and not found.get("failed")
        state = "out of time" if status is None else "passed" if good else "failed"
        return {"state": state, "exit_status": status, "seconds": round(seconds, 1), **found}


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Run all steps; 0 where each passed or was left out for a reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="no GPU: the CPU, tiny sizes")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for everything")
    arguments = parser.parse_args()
    missing = missing_dependencies(ROOT)
    if missing:
        print(f"make gpu: {sys.executable} lacks {', '.join(missing)}: install or carry them")
        return 1
    visit = Visit(arguments.out, arguments.dry_run, arguments.limit)
    visit.log_path.write_text("")
    with tempfile.TemporaryDirectory(prefix="vtcd-gpu-") as scratch:
        site, parts = Path(scratch) / "site", Path(scratch) / "parts"
        parts.mkdir()
        for project in [ROOT, *(p.parent for p in ROOT.glob("integrations/*/pyproject.toml"))]:
            write_metadata(project, site)
        variables = environment(site)
        for step in all_steps(parts, arguments.dry_run):
            visit.run(step, variables)
    print(table(visit.results))
    print(f"{visit.results_path}, {visit.log_path}: {visit.seconds():.0f} s")
    return 0 if visit.results["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
