"""Scores of videos under masks on disk, while they are being measured and afterwards.

    FOLDER/settings.json              what the scores depend on; scores of others are refused,
                                      or replaced where the caller says so
    FOLDER/videos/00003.safetensors   where units lie in video 3, its unmasked score
    FOLDER/parts/...safetensors       some columns of some video, until all are there
    FOLDER/scores.safetensors         everything that was measured
    FOLDER/result.json                hashes of the files; written last
    FOLDER/log.jsonl                  time stamps

Masks are not stored: they follow from the settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops import _files
from vtcd_ops.errors import InputError
from vtcd_ops.run_writer import LOCK_FILE, expect_same
from vtcd_ops.store import LOG_FILE, SETTINGS_FILE

FORMAT = 1  # of the files; a reader refuses any other
SCORES_FILE = "scores.safetensors"
RESULT_FILE = "result.json"
_VIDEOS, _PARTS = "videos", "parts"
_PART_TASK = 1 << 32
_FINISH_TASK = 1 << 60
_BEGIN_TASK = _FINISH_TASK + 1
_USE_TASK = _FINISH_TASK + 2  # shared by all processes that work in the folder

Tensors = dict[str, np.ndarray]


class ScoresWriter:
    """Scores that are being measured, by one process or several; a kill loses no finished part.

    Args:
        path: the folder; made if it does not exist.
        document: what identifies the scores; what was begun goes on if it was begun with the same.
        what: "a ranking" or the like, for messages.
        overwrite: throw away scores of other settings; those of the same ones go on.

    Raises:
        InputError: the folder cannot be written, or holds scores of other settings.
    """

    def __init__(
        self, path: Path, document: dict[str, Any], what: str, *, overwrite: bool = False
    ) -> None:
        self.path = path
        self.document = {"format": FORMAT, **document}
        try:
            path.mkdir(parents=True, exist_ok=True)
            with self.claims.claim(_BEGIN_TASK, wait=True):  # one process at a time
                self._begin(what, overwrite)
                self.claims.share(_USE_TASK)
        except OSError as error:
            self.close()
            raise InputError(f"{path} cannot be written: {error.strerror}") from error
        except InputError:
            self.close()
            raise

    def _begin(self, what: str, overwrite: bool) -> None:
        """Claim the folder, or go on with what was begun there with the same settings."""
        settings, content = self.path / SETTINGS_FILE, _files.encode_json(self.document)
        if not _files.write_atomic(settings, content, replace=False):
            begun, now = read_settings(self.path) or {}, json.loads(json.dumps(self.document))
            if begun == now:
                return
            if not overwrite and holds_scores(self.path):
                refuse_others(self.path, begun, now, what)
            if not self.claims.alone(_USE_TASK):
                raise InputError(
                    f"{self.path} is in use: another process makes {what} of other settings there"
                )
            self._clear()
            _files.write_atomic(settings, content)
        self.log("started")

    def _clear(self) -> None:
        """Remove everything except the lock; the settings last, so that a kill loses no order."""
        (self.path / RESULT_FILE).unlink(missing_ok=True)
        kept = (LOCK_FILE, SETTINGS_FILE)
        for entry in [one for one in self.path.iterdir() if one.name not in kept]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @cached_property
    def claims(self) -> _files.Claims:
        """Which process does what."""
        return _files.Claims(self.path / LOCK_FILE)

    def close(self) -> None:
        """End the claims of this process."""
        self.claims.close()

    def video_task(self, video: int) -> int:
        """The number of a video, for claims."""
        return video

    def part_task(self, video: int, start: int) -> int:
        """The number of a part of a video's scores, for claims."""
        return _PART_TASK + (video << 28) + start

    def video(self, video: int) -> Tensors | None:
        """Return what is known of a video: present, baseline, and tokens if it was assigned."""
        path = self.path / _VIDEOS / f"{video:05d}.safetensors"
        return _files.read_tensors(path)[0] if path.is_file() else None

    def write_video(self, video: int, tensors: Tensors) -> None:
        """Store what is known of a video before it is masked."""
        self.write(f"{_VIDEOS}/{video:05d}.safetensors", tensors)

    def has_part(self, video: int, start: int, stop: int) -> bool:
        """Whether columns start to stop - 1 of what is measured of a video are there."""
        return (self.path / _part_file(video, start, stop)).is_file()

    def write_part(self, video: int, start: int, part: np.ndarray) -> None:
        """Store what was measured of a video, from column start on."""
        self.write(_part_file(video, start, start + len(part)), {"part": part})

    def part(self, video: int, start: int, stop: int) -> np.ndarray:
        """Return columns start to stop - 1 of what was measured of a video."""
        return _files.read_tensors(self.path / _part_file(video, start, stop))[0]["part"]

    def stored_scores(self, known: int = 0) -> Tensors | None:
        """Return the scores that were put together, where they hold more columns than known."""
        path = self.path / SCORES_FILE
        if not path.is_file():
            return None
        if known and (result := self.result()) is not None and result["num_columns"] <= known:
            return None
        tensors = _files.read_tensors(path)[0]
        return tensors if num_columns(tensors) > known else None

    def result(self) -> dict[str, Any] | None:
        """Return what was finished, with fewer masks perhaps."""
        path = self.path / RESULT_FILE
        return _files.read_json(path) if path.is_file() else None

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """While open, no other process puts the parts together and removes them."""
        with self.claims.claim(_FINISH_TASK, wait=True):
            yield

    def write_scores(self, tensors: Tensors) -> bool:
        """Store all scores, while `finishing`; return False where more are stored already."""
        stored = num_columns(self.stored_scores() or {})
        if stored > num_columns(tensors) and self.result() is not None:
            return False
        if stored < num_columns(tensors):
            (self.path / RESULT_FILE).unlink(missing_ok=True)
            self.write(SCORES_FILE, tensors)
        return True

    def finish(self, columns: int, *names: str) -> None:
        """Store the hashes of the scores and the files named.

        Parts that lie within the scores are no longer needed; those beyond them are another
        process's, which measures more.
        """
        files = {
            name: [(self.path / name).stat().st_size, _files.sha256_file(self.path / name)]
            for name in (SCORES_FILE, *names)
        }
        result = _files.encode_json({"files": files, "num_columns": columns})
        _files.write_atomic(self.path / RESULT_FILE, result)
        for part in (self.path / _PARTS).glob("*.safetensors"):
            if int(part.stem.rpartition("-")[2]) <= columns:
                part.unlink(missing_ok=True)
        if self.claims.alone(_USE_TASK):  # else they may be what another process is writing
            _files.remove_temporaries(self.path)
            self.claims.share(_USE_TASK)
        self.log("finished")

    def write(self, name: str, tensors: Tensors, info: dict[str, Any] | None = None) -> None:
        """Store tensors and information in a file of the folder."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _files.write_tensors(path, tensors, info or {})
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error

    def log(self, event: str) -> None:
        """Note the time of an event: the only file in which equal scores differ."""
        entry = {"time": time.time(), "event": event, "pid": os.getpid()}
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def holds_scores(path: Path) -> bool:
    """Whether anything was measured; no name is taken by what never came about."""
    finished = (path / SCORES_FILE).is_file() or (path / RESULT_FILE).is_file()
    return finished or any((path / _PARTS).glob("*.safetensors"))


def refuse_others(path: Path, begun: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Raise where scores were begun with other settings, at the first of them."""
    if begun.get("videos") != now["videos"]:
        raise InputError(
            f"{path} holds {what} of other videos or labels: choose another name, or overwrite it"
        )
    expect_same(path, begun, now, what)


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of scores that were begun in a folder; None where there are none."""
    if not (path / SETTINGS_FILE).is_file():
        return None
    document = _files.read_json(path / SETTINGS_FILE)
    if document.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {document.get('format')}, this version of vtcd_ops reads {FORMAT}"
        )
    return document


def read_scores(path: Path) -> Tensors:
    """Return the finished scores in a folder, after verifying every file of it.

    Raises:
        InputError: a file is missing or damaged.
    """
    for name, (size, digest) in _files.read_json(path / RESULT_FILE)["files"].items():
        file = path / Path(name).name
        if not file.is_file() or file.stat().st_size != size or _files.sha256_file(file) != digest:
            raise InputError(f"{file} is damaged: its content does not match its SHA-256")
    return _files.read_tensors(path / SCORES_FILE)[0]


def finished_names(folder: Path) -> list[str]:
    """Return the names of the finished scores in the folders below one, the latest last."""
    found = [path.parent for path in folder.glob(f"*/{RESULT_FILE}")]
    return [path.name for path in sorted(found, key=lambda path: (_finished(path), path.name))]


def num_columns(tensors: Tensors) -> int:
    """Return how many masks, or effects, scores hold; 0 where there are none."""
    for name in ("scores", "effects"):
        if name in tensors:
            return int(tensors[name].shape[1])
    return 0


def folder_name(name: str) -> str:
    """Return a name that is one of a folder, or raise."""
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise InputError(f"name expected the name of a folder, got {name!r}")
    return name


def _part_file(video: int, start: int, stop: int) -> str:
    return f"{_PARTS}/{video:05d}-{start:06d}-{stop:06d}.safetensors"


def _finished(path: Path) -> float:
    """When the scores in a folder were finished."""
    try:
        lines = (path / LOG_FILE).read_text(encoding="utf-8").splitlines()
        times = [json.loads(line)["time"] for line in lines if '"finished"' in line]
        return float(times[-1])
    except (OSError, ValueError, KeyError, IndexError):
        return 0.0
