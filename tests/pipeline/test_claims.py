"""Locks and files where the operating system refuses: one sentence, nothing left behind."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage import claims as claims_module
from vtcd_ops.storage import file_claims as claiming
from vtcd_ops.storage import files
from vtcd_ops.storage.documents import encode_json, read_json, read_plain_json
from vtcd_ops.storage.file_claims import FileClaims
from vtcd_ops.storage.folder import ResultFolder

HOLDER = (
    "import sys, time, pathlib; from vtcd_ops.storage.file_claims import FileClaims\n"
    "with FileClaims(pathlib.Path(sys.argv[1])).claim(3) as mine:\n"
    "    print(mine, flush=True); time.sleep(600)"
)


def refusing(number: int) -> Callable[..., Any]:
    """A call of the operating system that fails."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Another process that holds task 3 of `lock`."""
    process, printed = forked.start_printing(HOLDER, tmp_path / "lock")
    with printed:
        assert printed.readline() == "True\n"
        yield process
        process.kill()
        process.join()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EOPNOTSUPP])
def test_locks_that_are_refused_are_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(claiming.fcntl, "lockf", refusing(number))
    with pytest.raises(InputError, match=f"{tmp_path}/lock cannot be locked .*file system that"):
        FileClaims(tmp_path / "lock")


def test_a_held_lock_answered_eacces_is_another_process(
    tmp_path: Path, holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As POSIX allows; another byte can still be locked."""
    lockf = fcntl.lockf

    def answer_eacces(*arguments: Any) -> None:
        try:
            lockf(*arguments)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    monkeypatch.setattr(claiming.fcntl, "lockf", answer_eacces)
    claims = FileClaims(tmp_path / "lock")
    with claims.claim(3) as held, claims.claim(4) as free:
        assert (held, free) == (False, True)
    claims.close()


def test_a_stopped_holder_is_named_after_some_seconds(
    tmp_path: Path, holder: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claims_module, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(claims_module, "POLL_SECONDS", 0.02)
    os.kill(holder.pid, signal.SIGSTOP)
    claims = FileClaims(tmp_path / "lock")
    with caplog.at_level(logging.WARNING, "vtcd_ops"):
        for _ in range(20):
            claims.wait(3)
    claims.close()
    [record] = caplog.records  # one word is enough
    assert record.getMessage() == (
        f"{tmp_path}: waiting for process {holder.pid}, which works on a part of it; if it is "
        "stopped, continue or end it"
    )


def test_waiting_ends_with_the_holder(tmp_path: Path, holder: Any) -> None:
    claims = FileClaims(tmp_path / "lock")
    done: list[int] = []
    holder.kill()
    claims.work_through([3, 4], lambda n: n, lambda n: n in done, done.append)
    claims.close()
    assert sorted(done) == [3, 4]


def test_the_last_to_leave_removes_the_file(tmp_path: Path, holder: Any) -> None:
    path = tmp_path / "lock"
    FileClaims(path).close(remove=True)
    assert path.exists()  # the holder uses it
    holder.kill()
    holder.join()
    FileClaims(path).close(remove=True)
    assert not path.exists()


def test_a_file_that_was_removed_meanwhile_is_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking the last of the others may have removed it."""
    path = tmp_path / "lock"
    opened: list[int] = []
    original = FileClaims._open_once

    def open_and_lose(claims: FileClaims) -> int:
        opened.append(original(claims))
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    monkeypatch.setattr(FileClaims, "_open_once", open_and_lose)
    claims = FileClaims(path)
    assert len(opened) == 2
    assert os.fstat(opened[1]).st_ino == path.stat().st_ino
    claims.close(remove=True)


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_names_its_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"old")
    if call == "fsync":
        monkeypatch.setattr(files.os, "fsync", refusing(number))
    elif call == "write":
        open_file = Path.open
        monkeypatch.setattr(Path, "open", lambda *a, **o: _Full(open_file, number, *a, **o))
    else:
        monkeypatch.setattr(Path, call, refusing(number))
    with pytest.raises(InputError, match=f"{path} cannot be written: {os.strerror(number)}"):
        files.write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class _Full:
    """A file on a full disk."""

    def __init__(self, open_file: Any, number: int, *arguments: Any, **options: Any) -> None:
        self._file = open_file(*arguments, **options)
        self.write = refusing(number)

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal, pathlib; from vtcd_ops.storage import files\n"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_atomic(pathlib.Path(sys.argv[1]), b'half')"
    )
    path = tmp_path / "report [1].html"
    other = tmp_path / ".tmp-report 1.html-0123456789abcdef"  # that name as a pattern matches it
    other.touch()
    for _ in range(2):
        assert forked.run(program, path) == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 2  # they do not pile up
    files.write_atomic(path, b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """FAT and some file systems in user space."""
    monkeypatch.setattr(files.os, "link", refusing(number))
    path = tmp_path / "settings.json"
    assert files.write_atomic(path, b"first", replace=False)
    assert not files.write_atomic(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_other_refusals_of_a_link_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "link", refusing(errno.EIO))
    with pytest.raises(InputError, match=f"{tmp_path}/file cannot be written: Input/output error"):
        files.write_atomic(tmp_path / "file", b"content", replace=False)


@pytest.mark.parametrize("place", ["log.jsonl", ".lock", "videos"])
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, place: str) -> None:
    folder = ResultFolder(tmp_path / "run")
    folder.path.mkdir()
    (tmp_path / "victim").mkdir()
    target = tmp_path / "victim" if place == "videos" else tmp_path / "victim/file"
    (folder.path / place).symlink_to(target)
    write: dict[str, Callable[[], object]] = {
        "videos": lambda: folder.write("videos/00000/clip.safetensors", {}, {}, "me"),
        "log.jsonl": lambda: folder.log("started"),
        ".lock": lambda: folder.claims,
    }
    with pytest.raises(InputError, match=f"{folder.path}/{place} is a symbolic link"):
        write[place]()
    assert list((tmp_path / "victim").iterdir()) == []


def test_a_folder_may_itself_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    ResultFolder(tmp_path / "run").log("started")
    assert (tmp_path / "disk/log.jsonl").is_file()


def test_nested_json_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for text in ("[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000):
        path.write_text(text)
        for read in (read_json, read_plain_json):
            with pytest.raises(InputError, match=f"{path} is damaged: it is nested too deeply"):
                read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b"3", b'"text"', b"null", b"{}", b'{"sha256": 3}']
)
def test_other_json_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} is damaged"):
        read_json(path)


def test_nested_information_of_tensors_is_a_sentence(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "file.safetensors"
    save_file({"a": np.zeros(3)}, path, metadata={"vtcd": "[" * 200_000})
    with pytest.raises(InputError, match=f"{path} is damaged"):
        files.read_tensors(path)


def test_what_a_document_holds_comes_back(tmp_path: Path) -> None:
    document = {"a": [1, 2.5, None], "b": {"c": "d"}}
    (tmp_path / "file").write_bytes(encode_json(document))
    assert read_json(tmp_path / "file") == document
    assert json.loads((tmp_path / "file").read_text())["a"] == document["a"]


def test_a_read_that_fails_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(encode_json({}))
    monkeypatch.setattr(Path, "read_bytes", refusing(errno.EIO))
    with pytest.raises(InputError, match=f"{path} cannot be read: Input/output error"):
        read_json(path)
    monkeypatch.setattr(Path, "open", refusing(errno.EIO))
    with pytest.raises(InputError, match=f"{path} cannot be read: Input/output error"):
        files.sha256_file(path)


def test_waiting_for_a_claim_is_patient_and_ends(tmp_path: Path, holder: Any) -> None:
    claims = FileClaims(tmp_path / "lock")
    began = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    with claims.claim(3, wait=True) as mine:
        assert mine
    assert time.monotonic() - began < 30
    claims.close()
