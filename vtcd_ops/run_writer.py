"""Writing a run, by one process or several; a kill at any moment loses no finished piece."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops import _files
from vtcd_ops._codec import pack_frames, pack_labels
from vtcd_ops.concepts import Factorisation
from vtcd_ops.errors import InputError
from vtcd_ops.records import VideoRecord, record_from_json
from vtcd_ops.store import (
    COMPACTNESS_FILE,
    FORMAT,
    LOG_FILE,
    MANIFEST_FILE,
    RUN_FILE,
    SANITY_FOLDER,
    SETTINGS_FILE,
    clip_file,
    concept_file,
    read_settings,
    tubelet_file,
)

LOCK_FILE = ".lock"
_FINISH_TASK = 1 << 40  # beyond any video
_COMPACTNESS_TASK = _FINISH_TASK + 1
_CONCEPT_TASK = 1 << 39


class RunWriter:
    """A run directory that is being written.

    Args:
        path: the directory; made if it does not exist.
        document: what identifies the run: kind, settings, model, versions, operators, parts,
            layers. A run that was begun is continued if it was begun with the same.
        resume: False: refuse a directory with a run in it.

    Raises:
        InputError: the directory cannot be written, holds something else, or a run of other
            settings.
    """

    def __init__(self, path: Path, document: dict[str, Any], *, resume: bool = True) -> None:
        self.path = path
        self.parts: list[str] = document["parts"]
        self.layers: list[int] = document["layers"]
        document = {"format": FORMAT, **document}
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._begin(document, resume)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error

    @cached_property
    def claims(self) -> _files.Claims:
        """Which process does what."""
        return _files.Claims(self.path / LOCK_FILE)

    def close(self) -> None:
        """End the claims of this process; whoever comes last after the end removes their file.

        It may vanish under processes that still hold it: all files are there, so that they find
        nothing to do, whatever they claim.
        """
        if "claims" in self.__dict__:
            self.claims.close()
        if self.finished:
            (self.path / LOCK_FILE).unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.path / RUN_FILE).is_file()

    def _begin(self, document: dict[str, Any], resume: bool) -> None:
        own = {LOCK_FILE, LOG_FILE, SANITY_FOLDER}
        settings = self.path / SETTINGS_FILE
        if not settings.is_file():
            foreign = [
                entry.name
                for entry in sorted(self.path.iterdir())
                if entry.name not in own and not entry.name.startswith(_files.TEMPORARY)
            ]
            # another process of the same run may have begun it meanwhile
            if foreign and not settings.is_file():
                raise InputError(f"{self.path} is not empty and not a run: it holds {foreign[0]}")
            if _files.write_atomic(settings, _files.encode_json(document), replace=False):
                return
        if not resume:
            raise InputError(f"{self.path} already holds a run: choose another directory")
        expect_same(self.path, read_settings(self.path), json.loads(json.dumps(document)))

    def has(self, name: str) -> bool:
        """Whether a file of the run is there; files appear complete."""
        return (self.path / name).is_file()

    def has_layer(self, video: int, layer: int) -> bool:
        """Whether the tubelets of a layer of a video are there, in all parts."""
        return all(self.has(tubelet_file(video, part, layer)) for part in self.parts)

    def has_video(self, video: int) -> bool:
        """Whether a video is done."""
        return self.has(clip_file(video)) and all(self.has_layer(video, n) for n in self.layers)

    def concept_task(self, number: int) -> int:
        """The task number of the concepts of a layer, for :class:`Claims`."""
        return _CONCEPT_TASK + number

    def check_video(self, video: int, sha256: str, inputs_sha256: str | None, name: str) -> None:
        """Raise where a video that was begun is not the one that now has its number."""
        if not self.has(clip_file(video)):
            return
        record = self.record(video)
        if record.sha256 == sha256 and record.inputs_sha256 != inputs_sha256:
            raise InputError(
                f"{self.path} was begun with other masks or other inputs of {name}: give the same, "
                "or choose another directory"
            )
        if record.sha256 != sha256:
            raise InputError(
                f"{self.path} was begun with another video as number {video}, now it is {name}: "
                "give the same videos in the same order, or choose another directory"
            )

    def record(self, video: int) -> VideoRecord:
        """Return the record of a video that was begun."""
        return record_from_json(_files.read_tensors(self.path / clip_file(video))[1]["record"])

    def compactness(
        self, choose: Callable[[], dict[tuple[str, int], float]]
    ) -> dict[tuple[str, int], float]:
        """Return the compactness of every part and layer; one process chooses and stores it."""
        path = self.path / COMPACTNESS_FILE
        with self.claims.claim(_COMPACTNESS_TASK, wait=True):
            if not path.is_file():
                chosen = choose()
                table: dict[str, dict[str, float]] = {part: {} for part in self.parts}
                for (part, layer), value in chosen.items():
                    table[part][str(layer)] = value
                _files.write_atomic(path, _files.encode_json(table))
        return {
            (part, int(layer)): value
            for part, values in _files.read_json(path).items()
            for layer, value in values.items()
        }

    def write_clip(self, record: VideoRecord, preview: np.ndarray) -> None:
        """Store a video's record and what the model saw of it, uint8 [T, H, W, 3]."""
        info = {"record": asdict(record), "preview_shape": list(preview.shape)}
        self._write(clip_file(record.index), {"preview": pack_frames(preview)}, info)

    def write_tubelets(self, video: int, part: str, layer: int, tubelets: PackedTubelets) -> None:
        """Store the tubelets of all heads of a layer of one video."""
        self._write(tubelet_file(video, part, layer), *tubelets.contents())

    def write_concepts(
        self,
        part: str,
        layer: int,
        members: list[dict[str, np.ndarray]],
        found: list[Factorisation],
    ) -> None:
        """Store the concepts of all heads of a layer.

        Args:
            part: of the layer.
            layer: which.
            members: for each head video, label and size [N] of its tubelets.
            found: for each head its concepts.
        """
        k = np.array([len(head.centers) for head in found], dtype=np.int64)
        tensors = {
            name: np.concatenate([head[name] for head in members])
            for name in ("video", "label", "size")
        }
        tensors |= {
            "k": k,
            "ends": np.cumsum([len(head.concept) for head in found], dtype=np.int64),
            "centers": np.concatenate([head.centers for head in found]),
            "concept": np.concatenate([head.concept for head in found]),
            "silhouette": np.concatenate([head.silhouettes for head in found]),
            "encodings": np.concatenate([_widen(head.encoding, int(k.max())) for head in found]),
            "weights": np.concatenate([_widen(head.weights, int(k.max())) for head in found]),
            "error": np.array([head.error for head in found], dtype=np.float64),
            "num_iter": np.array([head.num_iter for head in found], dtype=np.int64),
        }
        self._write(concept_file(part, layer), tensors, {"part": part, "layer": layer})

    def log(self, event: str) -> None:
        """Note the time of an event: the only file in which equal runs differ."""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, "pid": os.getpid()}
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def finish(self, num_videos: int, heads: list[int]) -> None:
        """Write the manifest and the list of all files; from then on the run can be loaded."""
        with self.claims.claim(_FINISH_TASK, wait=True):
            if self.finished:
                return
            records = [self.record(video) for video in range(num_videos)]
            _files.write_atomic(self.path / MANIFEST_FILE, manifest_lines(records))
            names = [SETTINGS_FILE, MANIFEST_FILE, *(clip_file(v) for v in range(num_videos))]
            names += [COMPACTNESS_FILE] if self.has(COMPACTNESS_FILE) else []
            for part in self.parts:
                for layer in self.layers:
                    names.append(concept_file(part, layer))
                    names += [tubelet_file(video, part, layer) for video in range(num_videos)]
            files = {
                name: [(self.path / name).stat().st_size, _files.sha256_file(self.path / name)]
                for name in names
            }
            _files.remove_temporaries(self.path)
            _files.flush_folders(self.path)  # no power cut leaves the list without its files
            self.log("finished")
            document = {"num_videos": num_videos, "heads": heads, "files": files}
            _files.write_atomic(self.path / RUN_FILE, _files.encode_json(document))

    def _write(self, name: str, tensors: dict[str, np.ndarray], info: dict[str, Any]) -> None:
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _files.write_tensors(path, tensors, info)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error


class PackedTubelets:
    """The tubelets of the heads of one layer of one video, compressed as they come.

    Args:
        grid: token grid (t, h, w).
        padded_size: label grid (T, H, W) with the frames that were padded.
    """

    def __init__(self, grid: tuple[int, int, int], padded_size: tuple[int, int, int]) -> None:
        self._info: dict[str, Any] = {"grid": list(grid), "padded_size": list(padded_size)}
        self._blobs: list[bytes] = []
        self._dtypes: list[str] = []
        self._means: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._blobs)

    def add(self, labels: np.ndarray, means: np.ndarray, sizes: np.ndarray) -> None:
        """Add the next head: labels [T, H, W], means [S, C], sizes [S]."""
        blob, dtype = pack_labels(labels)
        num_labels = int(np.flatnonzero(sizes).max(initial=-1)) + 1
        self._blobs.append(blob)
        self._dtypes.append(dtype)
        self._means.append(means[:num_labels])
        self._sizes.append(sizes[:num_labels])
        self._info["shape"] = list(labels.shape)

    def contents(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the information that the file holds."""
        num_labels = max(len(sizes) for sizes in self._sizes)
        pad = [num_labels - len(sizes) for sizes in self._sizes]
        rows = list(zip(self._means, self._sizes, pad, strict=True))
        tensors: dict[str, np.ndarray] = {
            "labels": np.frombuffer(b"".join(self._blobs), dtype=np.uint8),
            "ends": np.cumsum([len(blob) for blob in self._blobs], dtype=np.int64),
            "means": np.stack([np.pad(means, ((0, n), (0, 0))) for means, _, n in rows]),
            "sizes": np.stack([np.pad(sizes, (0, n)) for _, sizes, n in rows]),
        }
        return tensors, {**self._info, "dtypes": self._dtypes}


def manifest_lines(records: list[VideoRecord]) -> bytes:
    """Return the manifest of a run: a JSON object a line, readable by ``read_manifest``."""
    lines = []
    for record in records:
        row = {
            "video": record.source,
            "name": record.name,
            "label": record.label,
            "text": record.text,
            "query_mask": record.query_mask,
            "target_masks": record.target_masks,
        }
        lines.append(json.dumps({key: value for key, value in row.items() if value is not None}))
    return ("\n".join(lines) + "\n").encode()


def _widen(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))


def expect_same(
    path: Path, begun: dict[str, Any], now: dict[str, Any], what: str = "a run"
) -> None:
    """Raise at the first difference between what was begun and what is asked for now."""
    for group in sorted(begun.keys() | now.keys()):
        before, after = begun.get(group), now.get(group)
        if before == after:
            continue
        if group == "operators" and before and after:
            raise InputError(f"{path} holds a run made by {_other_operators(before, after)}")
        if isinstance(before, dict) and isinstance(after, dict):
            key = next(
                k for k in sorted(before.keys() | after.keys()) if before.get(k) != after.get(k)
            )
            group, before, after = f"{group} {key}", before.get(key), after.get(key)
        raise InputError(
            f"{path} holds {what} with {group} {before!r}, not {after!r}: choose another "
            f"{'directory' if what == 'a run' else 'name, or overwrite it'}"
        )


def _other_operators(before: dict[str, str], now: dict[str, str]) -> str:
    """Say which build of the operators made a run, which is loaded now, and how to go on."""
    made, loaded = before["instruction_set"], now["instruction_set"]
    if made != loaded:
        return (
            f"the {made} operators, this process has loaded the {loaded} ones, whose concepts "
            f"differ in their last digits: set VTCD_CPU={made}, or, where the CPU lacks it, choose "
            f"another directory and set VTCD_CPU={loaded} for every process"
        )
    return (
        f"another build of the operators (SHA-256 {before['sha256'][:12]}..., now "
        f"{now['sha256'][:12]}...): install that build again, or choose another directory; what "
        "is finished can be loaded all the same"
    )
