"""Rankings that are killed or shared: the numbers of the undisturbed one, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline.additive import additive_adapter, samples
from pipeline.videos import run_files

import vtcd_ops

WORKER = Path(__file__).with_name("rank_worker.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun sets it


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vtcd_ops.Run:
    out = tmp_path_factory.mktemp("ranked") / "run"
    return vtcd_ops.discover(
        additive_adapter(), samples(), out=out, parts=["values"], progress=False
    )


def files(run: vtcd_ops.Run, name: str) -> dict[str, bytes]:
    found = run_files(run.path / "importance" / name)
    found.pop(".lock", None)
    return found


def work(run: vtcd_ops.Run, name: str, kill_after: float | None = None) -> float:
    """Start a ranking, kill it after some seconds, and return how long it ran."""
    process = subprocess.Popen([sys.executable, WORKER, run.path, name], env=ENVIRONMENT)
    began = time.monotonic()
    try:
        status = process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    else:
        assert status == 0
    return time.monotonic() - began


@pytest.mark.slow
def test_killed_rankings_end_as_undisturbed_ones(run: vtcd_ops.Run) -> None:
    num_kills = int(os.environ.get("VTCD_KILLS", "4"))
    seconds = work(run, "undisturbed")
    expected = files(run, "undisturbed")
    moments = random.Random(0)
    kills = unfinished = number = 0
    while kills < num_kills:
        folder = run.path / "importance" / f"killed-{number}"
        if (folder / "result.json").is_file():
            number += 1
            folder = run.path / "importance" / f"killed-{number}"
        before = set(folder.glob("parts/*.safetensors"))
        work(run, folder.name, kill_after=moments.uniform(0.4, 1.0) * seconds)
        kills += 1
        finished = (folder / "result.json").is_file()
        assert finished or before <= set(folder.glob("parts/*.safetensors"))  # nothing is lost
        unfinished += not finished
    assert unfinished > 0
    for killed in range(number + 1):
        work(run, f"killed-{killed}")
        assert files(run, f"killed-{killed}") == expected


@pytest.mark.slow
def test_processes_share_a_ranking(run: vtcd_ops.Run) -> None:
    """Two processes of torchrun leave the same files as one."""
    work(run, "alone")
    subprocess.run(
        [
            sys.executable,
            *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *map(str, (WORKER, run.path, "shared")),
        ],
        env=ENVIRONMENT,
        check=True,
    )
    assert files(run, "shared") == files(run, "alone")
    log = (run.path / "importance/shared/log.jsonl").read_text(encoding="utf-8")
    assert log.count('"finished"') >= 1
