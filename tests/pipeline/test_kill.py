"""Kill -9 at random moments: the finished run is the undisturbed one, and nothing is done twice."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import forked
import pytest
from pipeline.videos import moving_square, run_files

from vtcd_ops.adapters import example_adapter
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.run_writer import LOCK_FILE

WORKER = Path(__file__).with_name("discover_worker.py")


def work(out: Path) -> None:
    """Run a discovery to its end."""
    assert forked.run(WORKER, out) == 0


def work_until(out: Path, num_entries: int, delay: float) -> None:
    """Start a discovery, and kill it some seconds after that many files and folders are there.

    Counting makes the moment independent of how fast this machine is just now.
    """
    process = forked.start(WORKER, out)
    try:
        while process.is_alive() and len(list(out.rglob("*"))) < num_entries:
            time.sleep(0.001)
        time.sleep(delay)
    finally:
        process.kill()
        process.join()


def modification_times(out: Path) -> dict[Path, int]:
    return {
        file: file.stat().st_mtime_ns
        for file in out.rglob("*.safetensors")
        if not file.name.startswith(".")
    }


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    num_kills = int(os.environ.get("VTCD_KILLS", "4"))
    work(tmp_path / "undisturbed")
    total = len(list((tmp_path / "undisturbed").rglob("*")))
    moments = random.Random(0)
    unfinished = 0
    out = tmp_path / "killed-0"
    for kill in range(num_kills):
        if (out / "run.json").is_file():
            out = tmp_path / f"killed-{kill}"
        before = modification_times(out)
        present = len(list(out.rglob("*")))
        work_until(
            out, moments.randint(present + 1, max(total, present + 1)), moments.random() / 50
        )
        after = modification_times(out)
        assert before.items() <= after.items()  # what was finished is neither lost nor done again
        unfinished += not (out / "run.json").is_file()
    assert unfinished > 0
    expected = run_files(tmp_path / "undisturbed")
    for killed in tmp_path.glob("killed-*"):
        work(killed)
        assert run_files(killed) == expected


def test_a_run_whose_process_was_killed_last_of_all_is_tidied(tmp_path: Path) -> None:
    """The list of files is there, the file of the claims is there still."""
    videos = [moving_square(seed=seed) for seed in range(2)]
    discover(example_adapter(), videos, out=tmp_path, layers=[0], progress=False)
    expected = run_files(tmp_path)
    (tmp_path / LOCK_FILE).touch()
    discover(example_adapter(), videos, out=tmp_path, layers=[0], progress=False)
    assert run_files(tmp_path) == expected
