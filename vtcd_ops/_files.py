"""Files of a run: written whole or not at all, and never believed without a check.

Tensors are safetensors files whose one metadata entry is a JSON text with a SHA-256 of the tensors;
JSON documents carry a SHA-256 of themselves. Writing goes to a temporary file that is flushed to
the disk and then renamed, so a file that has its name is complete. Folders are flushed once, before
the list of all files is written: a power cut earlier may take the last names with it, and their
files are made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vtcd_ops.errors import InputError

TEMPORARY = ".tmp-"  # prefix of files that are being written
_KEY = "vtcd"  # one metadata entry only: safetensors writes several in random order


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def write_atomic(path: Path, content: bytes, *, replace: bool = True) -> bool:
    """Write a file so that it appears complete, or, when interrupted, not at all.

    Args:
        path: the file; its folder must exist.
        content: all of it.
        replace: False: leave a file that is there.

    Returns:
        Whether it was written.
    """
    # random: machines that share the folder have processes of the same number
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(8)}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        # another process wrote the same file meanwhile, finished the run and cleaned up
        if not path.is_file():
            raise
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def remove_temporaries(folder: Path) -> None:
    """Remove what interrupted writes left in a folder and those below it."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def flush_folders(folder: Path) -> None:
    """Flush the names in a folder and in those below it to the disk."""
    for path in (folder, *(entry for entry in folder.rglob("*") if entry.is_dir())):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_tensors(path: Path, tensors: dict[str, np.ndarray], info: dict[str, Any]) -> None:
    """Write arrays and JSON-able information to a safetensors file; same input, same bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    text = json.dumps({"info": info, "sha256": _digest(arrays, info)}, sort_keys=True)
    write_atomic(path, save(arrays, metadata={_KEY: text}))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the information of a file that :func:`write_tensors` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: the run is incomplete")
    try:
        with safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {})[_KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        intact = document["sha256"] == _digest(arrays, document["info"])
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not intact:
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    return arrays, document["info"]


def _digest(arrays: dict[str, np.ndarray], info: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(info, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def encode_json(document: dict[str, Any]) -> bytes:
    """Return a JSON document with a SHA-256 of its content; same input, same bytes."""
    sealed = {**document, "sha256": _json_digest(document)}
    return (json.dumps(sealed, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Return a document that :func:`encode_json` gave.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        document = json.loads(path.read_bytes())
        expected = document.pop("sha256")
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from error
    if expected != _json_digest(document):
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    return document


def _json_digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


class Claims:
    """Which process does which task, agreed through locks that end with their process.

    The lock of task i is byte i of one file. The operating system gives it up when its process
    ends, however it ends, so a killed process never leaves a task claimed.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")  # locks that are shared need a file that can be read

    @contextlib.contextmanager
    def claim(self, task: int, *, wait: bool = False) -> Iterator[bool]:
        """Hold a task for as long as the context is open; False: another process holds it."""
        flags = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.lockf(self._file, flags, 1, task)
        except (BlockingIOError, PermissionError):
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, task)

    def share(self, task: int) -> None:
        """Hold a task together with other processes until this is closed, or until `alone`."""
        fcntl.lockf(self._file, fcntl.LOCK_SH, 1, task)

    def alone(self, task: int) -> bool:
        """Whether no other process holds a task, or shares it; if so it is held from now on."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, task)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        """Close the file; all claims of this process end."""
        self._file.close()
