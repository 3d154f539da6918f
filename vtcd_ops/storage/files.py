"""Files of a run: written whole or not at all, and never believed without a check.

Tensors are safetensors files whose one metadata entry is a JSON text with a SHA-256 of the tensors;
JSON documents carry a SHA-256 of themselves. Writing goes to a temporary file that is flushed to
the disk and then renamed, so a file that has its name is complete. Folders are flushed once, before
the list of all files is written: a power cut earlier may take the last names with it, and their
files are made again. Whatever the operating system refuses is one sentence that names the file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.documents import parse_json

TEMPORARY = ".tmp-"  # prefix of files that are being written
_TEMPORARY_NAME = re.compile(r"\.tmp-(.+)-[0-9a-f]{16}")
_KEY = "vtcd"  # one metadata entry only: safetensors writes several in random order
_ATTEMPTS = 3  # of a write whose temporary file was taken for an abandoned one
_ABANDONED_SECONDS = 3600  # age of one, where locks cannot tell
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@contextlib.contextmanager
def naming(path: Path, done: str = "written") -> Iterator[None]:
    """Say which file it is that the operating system refuses to have read or written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be {done}: {error.strerror or error}") from error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with naming(path, "read"), path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def write_atomic(path: Path, content: bytes, *, replace: bool = True) -> bool:
    """Write a file so that it appears complete, or, when interrupted, not at all.

    What writers of the same file left behind when they were killed is removed.

    Args:
        path: the file; its folder must exist.
        content: all of it.
        replace: False: leave a file that is there.

    Returns:
        Whether it was written.

    Raises:
        InputError: it cannot be written.
    """
    with naming(path):
        for attempt in range(_ATTEMPTS):
            _remove_abandoned(path.parent.glob(f"{TEMPORARY}{_literal(path.name)}-*"))
            try:
                return _write_once(path, content, replace)
            except FileNotFoundError:
                # without locks that all machines share, another one may remove what is in use
                if attempt == _ATTEMPTS - 1 or not path.parent.is_dir():
                    raise
        raise AssertionError("not reached")


def _literal(name: str) -> str:
    """A name as a pattern that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _write_once(path: Path, content: bytes, replace: bool) -> bool:
    # random: machines that share the folder have processes of the same number
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            with contextlib.suppress(OSError):  # where there are no locks, its age tells
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if not replace:
                return _name_new(temporary, path)
            temporary.replace(path)
            return True
    finally:
        temporary.unlink(missing_ok=True)


def _name_new(temporary: Path, path: Path) -> bool:
    """Give a file its name unless there is one of that name; return whether there was none."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return True
    # FAT and some file systems in user space: whoever holds the folder's lock may look and rename
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return False
        temporary.replace(path)
        return True
    finally:
        os.close(folder)


def remove_temporaries(folder: Path) -> None:
    """Remove what interrupted writes left in a folder and those below it."""
    with naming(folder):
        _remove_abandoned(folder.rglob(f"{TEMPORARY}*"))


def _remove_abandoned(paths: Iterator[Path]) -> None:
    """Remove those temporary files that nobody is writing: a writer holds the lock of its own."""
    for path in list(paths):
        if not _TEMPORARY_NAME.fullmatch(path.name):
            continue
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                if time.time() - path.stat().st_mtime < _ABANDONED_SECONDS:
                    continue
            path.unlink(missing_ok=True)


def flush_folders(folder: Path) -> None:
    """Flush the names in a folder and in those below it to the disk."""
    for path in (folder, *(entry for entry in folder.rglob("*") if entry.is_dir())):
        with naming(path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno != errno.EINVAL:  # a file system that flushes no folders
                    raise
            finally:
                os.close(descriptor)


class Stored(NamedTuple):
    """What a file of tensors holds: the arrays, information about them, the SHA-256 of both."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any]
    sha256: str


def write_tensors(path: Path, tensors: dict[str, np.ndarray], info: dict[str, Any]) -> None:
    """Write arrays and JSON-able information to a safetensors file; same input, same bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    text = json.dumps({"info": info, "sha256": _digest(arrays, info)}, sort_keys=True)
    write_atomic(path, save(arrays, metadata={_KEY: text}))


def read_tensors(path: Path) -> Stored:
    """Return what a file that :func:`write_tensors` wrote holds.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: the run is incomplete")
    with naming(path, "read"):
        content = path.read_bytes()  # of a mapped file a disk's error would end the process
    try:
        arrays = load(content)
        document = parse_json(_header(content)["__metadata__"][_KEY])
        info, digest = document["info"], document["sha256"]
        intact = isinstance(info, dict) and digest == _digest(arrays, info)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not intact:
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    return Stored(arrays, info, digest)


def _header(content: bytes) -> Any:
    """The header of a safetensors file whose form has been checked."""
    length = int.from_bytes(content[:8], "little")
    return parse_json(content[8 : 8 + length])


def _digest(arrays: dict[str, np.ndarray], info: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(info, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
