"""Rankings that are killed or shared: the numbers of the undisturbed one, bit for bit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from pipeline.additive import additive_adapter, samples
from pipeline.videos import run_files

import vtcd_ops
from vtcd_ops.importance.scores_store import ScoresWriter

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
    del found["settings.json"]  # it holds the name
    return found


def parts_of(run: vtcd_ops.Run, name: str) -> set[Path]:
    return set((run.path / "importance" / name).glob("parts/*.safetensors"))


def work(run: vtcd_ops.Run, name: str, kill_at: float = float("inf"), delay: float = 0) -> int:
    """Start a ranking, kill it some seconds after it has so many parts; return the most seen."""
    process = forked.start(WORKER, run.path, name)
    most = 0
    while process.is_alive() and most < kill_at:
        most = max(most, len(parts_of(run, name)))
        time.sleep(0.002)
    if process.is_alive():
        time.sleep(delay)
        process.kill()
        process.join()
    else:
        assert process.exitcode == 0
    return most


@pytest.mark.slow
def test_killed_rankings_end_as_undisturbed_ones(run: vtcd_ops.Run) -> None:
    num_kills = int(os.environ.get("VTCD_KILLS", "4"))
    most = work(run, "undisturbed")  # then its parts are put together
    expected = files(run, "undisturbed")
    moments = random.Random(0)
    unfinished = number = 0
    for _ in range(num_kills):
        folder = run.path / "importance" / f"killed-{number}"
        if (folder / "result.json").is_file():
            number += 1
            folder = run.path / "importance" / f"killed-{number}"
        before = parts_of(run, folder.name)
        at = moments.randint(len(before) + 1, max(most, len(before) + 1))
        work(run, folder.name, kill_at=at, delay=moments.random() / 50)
        finished = (folder / "result.json").is_file()
        assert finished or before <= parts_of(run, folder.name)  # nothing is lost
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


def test_a_ranking_with_fewer_masks_ends_first(
    run: vtcd_ops.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a longer ranking of the same name has measured by then is not thrown away."""
    options = {"dtype": "float32", "masks_per_forward": 8, "progress": False}
    ask: dict[str, Any] = {"num_masks": 512, "stop_at": None, **options}
    alone = vtcd_ops.rank(run, additive_adapter(), samples(), "probability", name="long", **ask)
    write, written = ScoresWriter.write_part, []

    def write_part(writer: ScoresWriter, video: int, start: int, part: np.ndarray) -> None:
        write(writer, video, start, part)
        written.append((video, start))
        if len(written) == 10:  # 128 masks of all four videos, and more
            assert forked.run(WORKER, run.path, "both", 128) == 0
            finished = run.importance("both")
            assert finished is not None
            assert finished.num_masks == 128

    monkeypatch.setattr(ScoresWriter, "write_part", write_part)
    found = vtcd_ops.rank(run, additive_adapter(), samples(), "probability", name="both", **ask)
    assert len(written) == len(set(written)) == 16  # nothing twice
    assert np.array_equal(found.tensors["scores"], alone.tensors["scores"])
    assert not list(run.path.glob("importance/both/parts/*"))


def test_a_ranking_that_is_being_made_is_not_overwritten(
    run: vtcd_ops.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = (
        "from pipeline.additive import additive_adapter, samples; import vtcd_ops, sys\n"
        f"try: vtcd_ops.rank({str(run.path)!r}, additive_adapter(), samples(), 'logit', seed=1, "
        "name='used', overwrite=True, progress=False)\n"
        "except vtcd_ops.InputError as error: print(error)\n"
    )
    write, said = ScoresWriter.write_part, []

    def write_part(writer: ScoresWriter, *part: Any) -> None:
        write(writer, *part)
        if not said:
            other = [sys.executable, "-c", refused]
            places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(places)}
            done = subprocess.run(other, env=environment, capture_output=True, text=True)
            said.append(done.stdout + done.stderr)

    monkeypatch.setattr(ScoresWriter, "write_part", write_part)
    options: dict[str, Any] = {"num_masks": 64, "name": "used", "progress": False}
    vtcd_ops.rank(run, additive_adapter(), samples(), "logit", **options)
    assert "used is in use: another process makes a ranking of other settings there" in said[0]
    found = vtcd_ops.rank(
        run, additive_adapter(), samples(), "logit", seed=1, overwrite=True, **options
    )
    assert found.settings["seed"] == 1
