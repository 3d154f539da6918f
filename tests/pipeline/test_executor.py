"""Work that the processes of an executor share: the files of one process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.videos import moving_square, run_files

import vtcd_ops
from vtcd_ops import on_executor
from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError, InputWarning

VIDEOS = [moving_square(seed=seed) for seed in range(4)]


class Immediate(Executor):
    """Does what is submitted at once, as the interface has it; keeps the count."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, call: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        self.count += 1
        done: Future[Any] = Future()
        try:
            done.set_result(call(*arguments, **options))
        except Exception as error:
            done.set_exception(error)
        return done


def discover_and_die(*arguments: Any, **options: Any) -> vtcd_ops.Run:
    """Be killed in a worker once a video is done; in the process that asked, work to the end."""
    if not options["progress"] and os.getpid() != int(os.environ["VTCD_TEST_ASKING"]):
        write = vtcd_ops.discovery.run_writer.RunWriter.write_tubelets

        def write_and_die(*given: Any) -> None:
            write(*given)
            os.kill(os.getpid(), signal.SIGKILL)

        vtcd_ops.discovery.run_writer.RunWriter.write_tubelets = write_and_die  # type: ignore
    return vtcd_ops.discover(*arguments, **options)


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    vtcd_ops.discover(example_adapter(), VIDEOS, out=tmp_path / "alone", progress=False)
    return run_files(tmp_path / "alone")


def test_executors_leave_the_files_of_one_process(
    tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = (vtcd_ops.discover, example_adapter(), VIDEOS)
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(3) as threads:
        for name, pool in (("p", processes), ("t", threads), ("i", Immediate())):
            run = on_executor(pool, 2, *call, out=tmp_path / name, progress=False)
            assert run_files(run.path) == alone
        log = (tmp_path / "p/log.jsonl").read_text(encoding="utf-8")
        assert log.count('"started"') >= 1
        assert log.count('"finished"') == 1
    monkeypatch.setenv("VTCD_TEST_ASKING", str(os.getpid()))
    with (
        ProcessPoolExecutor(2) as pool,
        pytest.warns(InputWarning, match="a worker ended .*: its work is done by this process"),
    ):
        run = on_executor(
            pool, 2, discover_and_die, *call[1:], out=tmp_path / "killed", progress=False
        )
    assert run_files(run.path) == alone


def test_rankings_are_shared_too(tmp_path: Path) -> None:
    run = vtcd_ops.discover(example_adapter(), VIDEOS, out=tmp_path / "run", progress=False)
    samples = [vtcd_ops.Sample(video, label=1) for video in VIDEOS]
    ask: dict[str, Any] = {"num_masks": 64, "dtype": "float32", "masks_per_forward": 8}
    call = (run.path, example_adapter(), samples, "logit")
    alone = vtcd_ops.rank(*call, name="alone", progress=False, **ask)
    with ProcessPoolExecutor(2) as pool:
        shared = on_executor(pool, 2, vtcd_ops.rank, *call, name="shared", progress=False, **ask)
    np.testing.assert_array_equal(shared.tensors["scores"], alone.tensors["scores"])


def test_what_workers_refuse_is_said_once(tmp_path: Path) -> None:
    pool, call = Immediate(), (vtcd_ops.discover, example_adapter(), VIDEOS)
    with pytest.raises(InputError, match="layers expected from 0 to 2"):
        on_executor(pool, 3, *call, out=tmp_path / "run", layers=[7], progress=False)
    for number in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="num_workers expected at least 1, got"):
            on_executor(pool, number, *call, out=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="overwrite expected one process"):
        on_executor(pool, 2, *call, out=tmp_path / "run", overwrite=True)
    assert pool.count == 3


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.raises(InputError, match=r"cannot be locked \(No locks available\), and without"):
        on_executor(
            Immediate(), 2, vtcd_ops.discover, example_adapter(), VIDEOS, out=tmp_path / "run"
        )
