"""Kill -9 at random moments: the finished run is the undisturbed one, and nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline.videos import run_files

WORKER = Path(__file__).with_name("discover_worker.py")


def work(out: Path, kill_after: float | None = None) -> float:
    """Start a discovery, kill it after some seconds, and return how long it ran."""
    process = subprocess.Popen([sys.executable, WORKER, out])
    began = time.monotonic()
    try:
        status = process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    else:
        assert status == 0
    return time.monotonic() - began


def modification_times(out: Path) -> dict[Path, int]:
    return {
        file: file.stat().st_mtime_ns
        for file in out.rglob("*.safetensors")
        if not file.name.startswith(".")
    }


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    num_kills = int(os.environ.get("VTCD_KILLS", "4"))
    seconds = work(tmp_path / "undisturbed")
    start = first_file_after(tmp_path / "timed")
    moments = random.Random(0)
    kills = unfinished = 0
    out = tmp_path / "killed-0"
    while kills < num_kills:
        if (out / "run.json").is_file():
            out = tmp_path / f"killed-{kills}"
        before = modification_times(out)
        work(out, kill_after=moments.uniform(0.8 * start, seconds))
        kills += 1
        after = modification_times(out)
        assert before.items() <= after.items()  # what was finished is neither lost nor done again
        unfinished += not (out / "run.json").is_file()
    assert unfinished > 0
    expected = run_files(tmp_path / "undisturbed")
    for killed in tmp_path.glob("killed-*"):
        work(killed)
        assert run_files(killed) == expected


def first_file_after(out: Path) -> float:
    """Seconds from the start of a process until it begins to write."""
    process = subprocess.Popen([sys.executable, WORKER, out])
    began = time.monotonic()
    while not (out / "settings.json").is_file() and process.poll() is None:
        time.sleep(0.01)
    seconds = time.monotonic() - began
    process.send_signal(signal.SIGKILL)
    process.wait()
    return seconds
