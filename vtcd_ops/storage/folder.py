"""A folder of results: what it holds says where it belongs, and nothing is written beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage import files
from vtcd_ops.storage.claims import Claims
from vtcd_ops.storage.documents import TEXT, digest_json, either, encode_json, listing, table, whole
from vtcd_ops.storage.file_claims import FileClaims
from vtcd_ops.storage.files import Stored, naming, sha256_file
from vtcd_ops.storage.job_store import job_store
from vtcd_ops.storage.store_claims import StoreClaims

SETTINGS_FILE = "settings.json"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".lock"

#: What a sealing document lists: size and SHA-256 of every file by its name.
SEALED = table(listing(either(whole(0), TEXT), 2))


class ResultFolder:
    """A folder whose files are written whole, carry where they belong, and can be sealed.

    Args:
        path: the folder.
        within: the folder above which nothing is looked at; ``path`` and all below it must be no
            symbolic links, through which something else would be written. ``path`` by default.
    """

    def __init__(self, path: Path, within: Path | None = None) -> None:
        self.path = path
        self._within = path if within is None else within

    @cached_property
    def claims(self) -> Claims:
        """Which process does what: of a job by its store, of processes started by hand by locks."""
        path, store = self.own(LOCK_FILE), job_store()
        return FileClaims(path) if store is None else StoreClaims(path, store)

    def close(self, *, remove: bool = False) -> None:
        """End the claims of this process; ``remove`` their file unless another process uses it."""
        if remove and "claims" not in self.__dict__ and not self.has(LOCK_FILE):
            return
        if remove or "claims" in self.__dict__:
            self.claims.close(remove=remove)
            del self.__dict__["claims"]

    def has(self, name: str) -> bool:
        """Whether a file is there; files appear complete."""
        return (self.path / name).is_file()

    def own(self, name: str) -> Path:
        """Return the path of a file, after making sure that it lies in the folder itself."""
        path = self.path / name
        for part in (path, *path.parents):
            if part == self._within or part == part.parent:
                break
            if part.is_symlink():
                raise InputError(
                    f"{part} is a symbolic link, and writing would go through it: put the folder "
                    "or file itself there"
                )
        return path

    def folder_of(self, name: str) -> Path:
        """Return the path of a file whose folder has been made."""
        path = self.own(name)
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(
        self, name: str, tensors: Mapping[str, np.ndarray], info: dict[str, Any], belongs: str
    ) -> None:
        """Store tensors and information in a file that says where it belongs.

        Args:
            name: of the file, below the folder.
            tensors: arrays.
            info: what else the file holds.
            belongs: hash of what the file is a part of, see :func:`read_own`.
        """
        place = {"file": name, "belongs": belongs}
        files.write_tensors(self.folder_of(name), dict(tensors), {**info, **place})

    def write_json(self, name: str, document: dict[str, Any], *, replace: bool = True) -> bool:
        """Store a document; return False where there is one that is not to be replaced."""
        return files.write_atomic(self.folder_of(name), encode_json(document), replace=replace)

    def log(self, event: str, **more: str) -> None:
        """Note the time of an event, and more: the only file in which equal results differ."""
        time = datetime.now().astimezone().isoformat()
        entry = json.dumps({"time": time, "event": event, "pid": os.getpid(), **more}) + "\n"
        path = self.own(LOG_FILE)
        with naming(path):
            descriptor = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666
            )
            try:
                left = entry.encode()
                while left:  # a disk that is nearly full takes a part
                    left = left[os.write(descriptor, left) :]
            finally:
                os.close(descriptor)

    def seal(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Return size and SHA-256 of files, as a sealing document lists them."""
        sealed = {}
        for name in names:
            digest = sha256_file(self.path / name)
            sealed[name] = [(self.path / name).stat().st_size, digest]
        return sealed


def read_own(path: Path, name: str, belongs: str | None) -> Stored:
    """Return what a file holds, after checking that it lies where it belongs.

    Args:
        path: the folder.
        name: of the file, below the folder.
        belongs: hash of what the file must be a part of; None: it is of a format that does not say.

    Raises:
        InputError: it is missing, damaged, or belongs to another place.
    """
    stored = files.read_tensors(path / name)
    if belongs is None:
        return stored
    if stored.info.get("file") != name:
        raise InputError(
            f"{path / name} belongs elsewhere: it was written as {stored.info.get('file')}"
        )
    if stored.info.get("belongs") != belongs:
        raise InputError(
            f"{path / name} belongs elsewhere: it was written with other settings than those of "
            f"{path}"
        )
    return stored


def verify(path: Path, files: Mapping[str, Any], name: str) -> None:
    """Check a file of a folder against the list that sealed it.

    Raises:
        InputError: it is missing, or not the one that was sealed.
    """
    size, digest = files[name]
    file = path / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"the run {path} lists a file outside of itself: {name}")
    if not file.is_file():
        raise InputError(f"{file} is missing: the run is incomplete")
    if file.stat().st_size != size or sha256_file(file) != digest:
        raise InputError(f"{file} is damaged: its content does not match its SHA-256")


def identity(document: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """Return what tells a document of settings from every other: the hash of its fields."""
    return digest_json({name: value for name, value in document.items() if name not in without})
