"""Work that is shared by the processes of a job through its store, with no lock at all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from pipeline.videos import run_files
from torch.distributed import TCPStore

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage import file_claims, job_store
from vtcd_ops.storage.file_claims import FileClaims
from vtcd_ops.storage.job_store import JobStore
from vtcd_ops.storage.store_claims import StoreClaims

WORKER = Path(__file__).with_name("discover_worker.py")
SILENCE = 1.5
HOLDER = """
import sys, time, pathlib
from vtcd_ops.storage.job_store import JobStore
from vtcd_ops.storage.store_claims import StoreClaims
store = JobStore("localhost", int(sys.argv[1]), 1, 2, "job")
claims = StoreClaims(pathlib.Path(sys.argv[2]), store)
claims.share(8)
with claims.claim(3) as mine:
    print(mine, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def server() -> TCPStore:
    """The store that an agent of torchrun keeps."""
    return TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def stores(server: TCPStore) -> Iterator[tuple[JobStore, JobStore]]:
    """What two processes (here one) see of it."""
    first, second = (JobStore("localhost", server.port, rank, 2, "job", SILENCE) for rank in (0, 1))
    yield first, second
    first.leave()
    second.leave()


@pytest.fixture
def pair(stores: tuple[JobStore, JobStore], tmp_path: Path) -> tuple[StoreClaims, StoreClaims]:
    """The claims of both in a folder without a lock file."""
    path = tmp_path / "none" / ".lock"
    return StoreClaims(path, stores[0]), StoreClaims(path, stores[1])


@pytest.fixture(autouse=True)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks."""
    if "pair" not in request.fixturenames:
        return

    def refuse(path: Path, *, job: bool) -> None:
        raise file_claims.NoLocksError("there are none")

    monkeypatch.setattr("vtcd_ops.storage.store_claims.FileClaims", refuse)


def test_a_task_is_one_process_s(pair: tuple[StoreClaims, StoreClaims]) -> None:
    first, second = pair
    with first.claim(3) as mine:
        assert mine
        with second.claim(3) as other, second.claim(4) as another:
            assert (other, another) == (False, True)
        with second.claim(3) as other:  # what did not get it does not give it back
            assert not other
    with second.claim(3) as other:
        assert other


def test_a_shared_task_is_nobody_s_alone(pair: tuple[StoreClaims, StoreClaims]) -> None:
    first, second = pair
    first.share(8)
    second.share(8)
    assert not first.alone(8)
    second.close()
    assert first.alone(8)
    first.close()
    assert second.alone(8)


def test_tasks_of_other_folders_are_others(
    stores: tuple[JobStore, JobStore], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with StoreClaims(tmp_path / "a" / ".lock", stores[0]).claim(1):
        with StoreClaims(tmp_path / "b" / ".lock", stores[1]).claim(1) as mine:
            assert mine
        with StoreClaims(tmp_path / "a" / ".lock", stores[1]).claim(1) as mine:
            assert not mine


def test_what_a_killed_process_held_goes_back(server: TCPStore, tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder, said = forked.start_printing(HOLDER, server.port, path)
    with said:
        assert said.readline() == "True\n"
    store = JobStore("localhost", server.port, 0, 2, "job", SILENCE)
    claims = StoreClaims(path, store)
    begin = time.monotonic()
    while time.monotonic() - begin < 2 * SILENCE:  # it lives, and beats
        with claims.claim(3) as mine:
            assert not mine
        assert not claims.alone(8)
        time.sleep(0.1)
    holder.kill()
    holder.join()
    with claims.claim(3, wait=True) as mine:
        assert mine
    assert claims.alone(8)
    claims.close(remove=True)
    store.leave()
    assert list(tmp_path.iterdir()) == []


def test_by_hand_and_by_a_job_is_refused(stores: tuple[JobStore, JobStore], tmp_path: Path) -> None:
    """Each in the words for it; locks are of processes, so another one holds the file."""
    path = tmp_path / ".lock"
    program = (
        "import sys, time, pathlib; from vtcd_ops.storage.file_claims import FileClaims\n"
        "FileClaims(pathlib.Path(sys.argv[1]), job=sys.argv[2] == 'job')\n"
        "print('in', flush=True); time.sleep(600)"
    )
    refusals = {"hand": "a process that is none of this job", "job": "a job of torchrun"}
    for kind, words in refusals.items():
        other, said = forked.start_printing(program, path, kind)
        with said:
            assert said.readline() == "in\n"
        with pytest.raises(InputError, match=f"{tmp_path} is in use by {words}, and the two"):
            StoreClaims(path, stores[0]) if kind == "hand" else FileClaims(path)
        other.kill()
        other.join()
    StoreClaims(path, stores[0]).close(remove=True)
    assert not path.exists()


def test_a_store_that_is_gone(tmp_path: Path) -> None:
    server = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    store = JobStore("localhost", server.port, 0, 2, "job")
    claims = StoreClaims(tmp_path / ".lock", store)
    store.leave()
    del server
    words = r"the store of the job at localhost:\d+ cannot be reached: torchrun ended"
    with pytest.raises(InputError, match=words), claims.claim(1):
        pass


@pytest.mark.parametrize(
    "environment", [{}, {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "1"}]
)
def test_one_process_has_no_store(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert job_store.job_store.__wrapped__() is None


KILLED = """
import os, runpy, signal, sys
sys.path.insert(0, {tests!r})
from vtcd_ops.discovery.run_writer import RunWriter
write_clip = RunWriter.write_clip

def write_and_die(writer, *arguments):
    write_clip(writer, *arguments)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

RunWriter.write_clip = write_and_die
runpy.run_path({worker!r}, run_name="__main__")
"""


def test_torchrun_goes_on_after_a_process_was_killed(tmp_path: Path) -> None:
    """Its first attempt ends with the killed process; the second finishes what one would."""
    assert forked.run(WORKER, tmp_path / "one") == 0
    program = tmp_path / "killed.py"
    program.write_text(KILLED.format(tests=str(WORKER.parents[1]), worker=str(WORKER)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "--max-restarts", "1"]
    done = subprocess.run(
        [*torchrun, program, tmp_path / "many"],
        check=True, timeout=300, capture_output=True, text=True,
    )  # fmt: skip
    assert "exitcode: -9" in done.stderr
    assert run_files(tmp_path / "many") == run_files(tmp_path / "one")
