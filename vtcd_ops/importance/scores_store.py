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
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.same_run import expect_same
from vtcd_ops.storage import files
from vtcd_ops.storage.documents import (
    ANYTHING,
    TEXT,
    expect_arrays,
    expect_fields,
    listing,
    parse_json,
    read_json,
    table,
    whole,
)
from vtcd_ops.storage.files import naming
from vtcd_ops.storage.folder import (
    LOCK_FILE,
    LOG_FILE,
    SEALED,
    SETTINGS_FILE,
    ResultFolder,
    identity,
    read_own,
    verify,
)

FORMAT = 2  # of the files that are written
READABLE = (1, 2)  # files of format 1 do not say where they belong
SCORES_FILE = "scores.safetensors"
RESULT_FILE = "result.json"
_VIDEOS, _PARTS = "videos", "parts"
_PART_TASK = 1 << 32
_FINISH_TASK = 1 << 60
_BEGIN_TASK = _FINISH_TASK + 1
_USE_TASK = _FINISH_TASK + 2  # shared by all processes that work in the folder

Tensors = dict[str, np.ndarray]


class ScoresWriter(ResultFolder):
    """Scores that are being measured, by one process or several; a kill loses no finished part.

    Args:
        path: the folder, RUN/KIND/NAME; made if it does not exist.
        document: what identifies the scores; what was begun goes on if it was begun with the same.
        what: "a ranking" or the like, for messages.
        overwrite: throw away scores of other settings; those of the same ones go on.

    Raises:
        InputError: the folder cannot be written, or holds scores of other settings.
    """

    def __init__(
        self, path: Path, document: dict[str, Any], what: str, *, overwrite: bool = False
    ) -> None:
        super().__init__(path, within=path.parent.parent)
        self.document = {"format": FORMAT, "name": path.name, **document}
        self.belongs = scores_identity(json.loads(json.dumps(self.document)))
        self.folder_of(SETTINGS_FILE)
        try:
            with self.claims.claim(_BEGIN_TASK, wait=True):  # one process at a time
                self._begin(what, overwrite)
                self.claims.share(_USE_TASK)
        except InputError:
            self.close()
            raise

    def _begin(self, what: str, overwrite: bool) -> None:
        """Claim the folder, or go on with what was begun there with the same settings."""
        if not self.write_json(SETTINGS_FILE, self.document, replace=False):
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
            self.write_json(SETTINGS_FILE, self.document)
        self.log("started")

    def _clear(self) -> None:
        """Remove everything except the lock; the settings last, so that a kill loses no order."""
        with naming(self.path):
            (self.path / RESULT_FILE).unlink(missing_ok=True)
            kept = (LOCK_FILE, SETTINGS_FILE)
            for entry in [one for one in self.path.iterdir() if one.name not in kept]:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()

    def close(self, *, remove: bool = True) -> None:
        """End the claims of this process; the last one removes their file."""
        super().close(remove=remove)

    def video_task(self, video: int) -> int:
        """The number of a video, for claims."""
        return video

    def part_task(self, video: int, start: int) -> int:
        """The number of a part of a video's scores, for claims."""
        return _PART_TASK + (video << 28) + start

    def video(self, video: int) -> Tensors | None:
        """Return what is known of a video: present, baseline, and tokens if it was assigned."""
        name = f"{_VIDEOS}/{video:05d}.safetensors"
        return read_own(self.path, name, self.belongs).arrays if self.has(name) else None

    def write_video(self, video: int, tensors: Tensors) -> None:
        """Store what is known of a video before it is masked."""
        self.write_own(f"{_VIDEOS}/{video:05d}.safetensors", tensors)

    def has_part(self, video: int, start: int, stop: int) -> bool:
        """Whether columns start to stop - 1 of what is measured of a video are there."""
        return self.has(_part_file(video, start, stop))

    def write_part(self, video: int, start: int, part: np.ndarray) -> None:
        """Store what was measured of a video, from column start on."""
        self.write_own(_part_file(video, start, start + len(part)), {"part": part})

    def part(self, video: int, start: int, stop: int) -> np.ndarray:
        """Return columns start to stop - 1 of what was measured of a video."""
        name = _part_file(video, start, stop)
        tensors = read_own(self.path, name, self.belongs).arrays
        lengths = expect_arrays(self.path / name, tensors, {"part": ("float64", "M")})
        if lengths["M"] != stop - start:
            raise InputError(f"{self.path / name} is damaged: it holds {lengths['M']} columns")
        return tensors["part"]

    def stored_scores(self, known: int = 0) -> Tensors | None:
        """Return the scores that were put together, where they hold more columns than known."""
        if not self.has(SCORES_FILE):
            return None
        if known and (result := self.result()) is not None and result["num_columns"] <= known:
            return None
        tensors = read_own(self.path, SCORES_FILE, self.belongs).arrays
        _expect_scores(self.path / SCORES_FILE, tensors)
        return tensors if num_columns(tensors) > known else None

    def result(self) -> dict[str, Any] | None:
        """Return what was finished, with fewer masks perhaps."""
        return read_result(self.path) if self.has(RESULT_FILE) else None

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
            self.write_own(SCORES_FILE, tensors)
        return True

    def finish(self, columns: int, *names: str) -> None:
        """Store the hashes of the scores and the files named.

        Parts that lie within the scores are no longer needed; those beyond them are another
        process's, which measures more.
        """
        document = {"files": self.seal((SCORES_FILE, *names)), "num_columns": columns}
        self.write_json(RESULT_FILE, document)
        self._remove_parts(columns)
        files.remove_temporaries(self.path)
        self.log("finished")

    def _remove_parts(self, columns: int) -> None:
        """Remove the parts that were put together; others belong to a longer ranking beside."""
        with naming(self.path / _PARTS, "tidied"):
            for part in (self.path / _PARTS).glob("*-*-*.safetensors"):
                last = part.stem.rpartition("-")[2]
                if last.isdecimal() and int(last) <= columns:
                    part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or gone
            (self.path / _PARTS).rmdir()

    def write_own(self, name: str, tensors: Tensors, info: dict[str, Any] | None = None) -> None:
        """Store tensors and information in a file of these scores."""
        self.write(name, tensors, info or {}, self.belongs)


def was_left(path: Path) -> bool:
    """Whether a process was killed in a folder of finished scores before it was tidied."""
    return (path / LOCK_FILE).is_file() or (path / _PARTS).is_dir()


def scores_identity(document: dict[str, Any]) -> str:
    """Return what the files of scores belong to: the settings, whatever they are called."""
    return identity(document, without=("name",))


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
    if "masks" in now and "masks" not in begun:
        raise InputError(
            f"{path} holds {what} whose videos share their masks; now each has masks of its own: "
            "it can be read, but not gone on with: choose another name, or overwrite it"
        )
    expect_same(path, begun, now, what)


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of scores that were begun in a folder; None where there are none.

    Raises:
        InputError: they are damaged, of another version, or those of another folder.
    """
    file = path / SETTINGS_FILE
    if not file.is_file():
        return None
    document = read_json(file)
    if document.get("format") not in READABLE:
        raise InputError(
            f"{path} has format {document.get('format')}, this version of vtcd_ops reads "
            f"formats {' and '.join(map(str, READABLE))}"
        )
    expect_fields(file, document, {"run": TEXT, "videos": listing(table(ANYTHING))})
    if document["format"] == FORMAT and document.get("name") != path.name:
        raise InputError(
            f"{file} belongs elsewhere: it is of {document.get('name')!r}; a folder keeps the name "
            "that its scores were measured under"
        )
    return document


def read_own_scores(path: Path, name: str) -> files.Stored:
    """Return what a file of finished scores holds, after checking that it lies where it belongs."""
    settings = read_settings(path) or {}
    belongs = scores_identity(settings) if settings.get("format") == FORMAT else None
    return read_own(path, name, belongs)


def read_result(path: Path) -> dict[str, Any]:
    """Return the document that seals finished scores.

    Raises:
        InputError: it is missing or damaged.
    """
    document = read_json(path / RESULT_FILE)
    expect_fields(path / RESULT_FILE, document, {"files": SEALED, "num_columns": whole(0)})
    files = document["files"]
    if SCORES_FILE not in files or any(Path(name).name != name for name in files):
        raise InputError(f"{path / RESULT_FILE} is damaged: files expected {SCORES_FILE}")
    return document


def read_scores(path: Path) -> Tensors:
    """Return the finished scores in a folder, after verifying every file of it.

    Raises:
        InputError: a file is missing, damaged, or belongs to another place.
    """
    files = read_result(path)["files"]
    for name in files:
        verify(path, files, name)
    tensors = read_own_scores(path, SCORES_FILE).arrays
    _expect_scores(path / SCORES_FILE, tensors)
    return tensors


def _expect_scores(path: Path, tensors: Tensors) -> None:
    """Raise where scores are not tables of the same videos and units."""
    forms = {"units": ("int64", "U 3"), "present": ("bool", "V U"), "baseline": ("float64", "V")}
    forms |= {"prior": ("float64", "V U")} if "prior" in tensors else {}
    measured = "scores" if "scores" in tensors else "effects"
    lengths = expect_arrays(path, tensors, {**forms, measured: ("float64", "V M")})
    if lengths["3"] != 3:
        raise InputError(f"{path} is damaged: units expected rows of three numbers")


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
        times = [parse_json(line)["time"] for line in lines if '"finished"' in line]
        last = times[-1]
        return datetime.fromisoformat(last).timestamp() if isinstance(last, str) else float(last)
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError):
        return 0.0
