"""Writing a run, by one process or several; a kill at any moment loses no finished piece."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.concepts import Factorisation
from vtcd_ops.discovery.keeping import CONCEPTS, EVERYTHING, keeps_less, kept_by
from vtcd_ops.discovery.packed_tubelets import PackedTubelets, repacked
from vtcd_ops.discovery.records import LayerTubelets, VideoRecord, manifest_lines
from vtcd_ops.discovery.run_files import (
    COMPACTNESS_FILE,
    EVIDENCE_FOLDER,
    FORMAT,
    MANIFEST_FILE,
    RUN_FILE,
    SANITY_FOLDER,
    clip_file,
    concept_file,
    file_names,
    read_compactness,
    read_record,
    read_settings,
    read_tubelets,
    run_settings_identity,
    tubelet_file,
    tubelet_identity,
)
from vtcd_ops.discovery.same_run import CONCEPT_SETTINGS, expect_same
from vtcd_ops.storage import files
from vtcd_ops.storage.codec import pack_frames
from vtcd_ops.storage.documents import digest_json, read_json
from vtcd_ops.storage.files import naming
from vtcd_ops.storage.folder import LOCK_FILE, LOG_FILE, SETTINGS_FILE, ResultFolder, read_own

__all__ = ["LOCK_FILE", "RunWriter"]

_FINISH_TASK = 1 << 40  # beyond any video
_COMPACTNESS_TASK = _FINISH_TASK + 1
_CONCEPT_TASK = 1 << 39

#: What a run directory holds; everything else in it is not touched.
_OWN = (
    RUN_FILE, MANIFEST_FILE, COMPACTNESS_FILE, "concepts", "videos", "importance", "curves",
    EVIDENCE_FOLDER, SANITY_FOLDER, "report.html", LOG_FILE, SETTINGS_FILE,
)  # fmt: skip


class RunWriter(ResultFolder):
    """A run directory that is being written.

    Args:
        path: the directory; made if it does not exist.
        document: what identifies the run: kind, settings, model, versions, operators, parts,
            layers, and "keep" where that is not everything. A run that was begun is continued if
            it was begun with the same.
        resume: False: refuse a directory with a run in it.
        overwrite: remove the run that is there, its rankings, curves, evidence and report included.
        within: the directory above which symbolic links are the user's; ``path`` by default.

    Raises:
        InputError: the directory cannot be written, holds something else, or a run of other
            settings.
    """

    def __init__(
        self,
        path: Path,
        document: dict[str, Any],
        *,
        resume: bool = True,
        overwrite: bool = False,
        within: Path | None = None,
    ) -> None:
        super().__init__(path, within)
        self.parts: list[str] = document["parts"]
        self.layers: list[int] = document["layers"]
        self.keep = kept_by(document)
        self._reused: Path | None = None
        self._reused_keep = EVERYTHING
        document = {"format": FORMAT, **json.loads(json.dumps(document))}
        self.tubelets_belong = tubelet_identity(document)
        self.concepts_belong = run_settings_identity(document)
        self.own("")
        with naming(path):
            path.mkdir(parents=True, exist_ok=True)
            removed = overwrite and self._remove_run()
            self._begin(document, resume, may_hold_more=removed)

    def _remove_run(self) -> bool:
        """Remove a run that is there; return whether there was one."""
        if not self.has(SETTINGS_FILE):
            return False
        read_json(self.path / SETTINGS_FILE)  # it is a run of some version, not just of that name
        self.own(SETTINGS_FILE)
        try:
            if not self.claims.alone():
                raise InputError(
                    f"{self.path} cannot be begun anew: another process works on the run there"
                )
            for name in _OWN:
                path = self.path / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        finally:
            ResultFolder.close(self, remove=True)
        return True

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.has(RUN_FILE)

    def close(self, *, remove: bool = False) -> None:
        """End the claims of this process; the last one after the end removes their file."""
        super().close(remove=remove or self.finished)

    def _begin(self, document: dict[str, Any], resume: bool, may_hold_more: bool) -> None:
        own = {LOCK_FILE, LOG_FILE, SANITY_FOLDER}
        settings = self.path / SETTINGS_FILE
        if not settings.is_file():
            foreign = [
                entry.name
                for entry in sorted(self.path.iterdir())
                if entry.name not in own and not entry.name.startswith(files.TEMPORARY)
            ]
            # another process of the same run may have begun it meanwhile
            if foreign and not may_hold_more and not settings.is_file():
                raise InputError(f"{self.path} is not empty and not a run: it holds {foreign[0]}")
            if self.write_json(SETTINGS_FILE, document, replace=False):
                return
        if not resume:
            raise InputError(f"{self.path} already holds a run: choose another directory")
        begun = read_settings(self.path)
        if begun["format"] != FORMAT:
            raise InputError(
                f"{self.path} holds a run of an earlier version of vtcd_ops, which can be loaded "
                "when it is finished but not gone on with: choose another directory, or begin anew "
                "with overwrite"
            )
        begun, document = ({**one, "keep": kept_by(one)} for one in (begun, document))
        expect_same(self.path, begun, document)

    def has_layer(self, video: int, layer: int) -> bool:
        """Whether the tubelets of a layer of a video are there, in all parts."""
        return all(self.has(tubelet_file(video, part, layer)) for part in self.parts)

    def has_video(self, video: int) -> bool:
        """Whether a video is done."""
        if not self.has(clip_file(video)):
            return False
        if self.keep == CONCEPTS and self.finished:
            return True  # its tubelets have been removed
        return all(self.has_layer(video, n) for n in self.layers)

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
        return read_record(self.path, video, self.tubelets_belong)

    def tubelets(self, record: VideoRecord, part: str, layer: int) -> tuple[LayerTubelets, str]:
        """Return the tubelets of a layer of a video, and the hash of their file's content."""
        tubelets, stored = read_tubelets(self.path, record, part, layer, self.tubelets_belong)
        return tubelets, stored.sha256

    def compactness(
        self, choose: Callable[[], dict[tuple[str, int], float]]
    ) -> dict[tuple[str, int], float]:
        """Return the compactness of every part and layer; one process chooses and stores it."""
        with self.claims.claim(_COMPACTNESS_TASK, wait=True):
            if not self.has(COMPACTNESS_FILE):
                chosen = choose()
                values: dict[str, dict[str, float]] = {part: {} for part in self.parts}
                for (part, layer), value in chosen.items():
                    values[part][str(layer)] = value
                document = {"belongs": self.tubelets_belong, "compactness": values}
                self.write_json(COMPACTNESS_FILE, document)
        sites = [(part, layer) for part in self.parts for layer in self.layers]
        found = read_compactness(self.path, sites, self.tubelets_belong)
        other = self._reused
        if other is not None and found != read_compactness(other, sites, self.tubelets_belong):
            raise InputError(
                f"the compactness of {other} was chosen from other videos, so its tubelets cannot "
                "be reused"
            )
        return found

    def write_clip(self, record: VideoRecord, preview: Sequence[np.ndarray] | None) -> None:
        """Store a video's record and what the model saw of it, a frame uint8 [H, W, 3] each.

        None, in a run that keeps less than everything: the record alone.
        """
        info: dict[str, Any] = {"record": asdict(record)}
        tensors = {}
        if preview is not None:
            info["preview_shape"] = [len(preview), *preview[0].shape]
            tensors["preview"] = pack_frames(preview)
        self.write(clip_file(record.index), tensors, info, self.tubelets_belong)

    def write_tubelets(
        self, record: VideoRecord, part: str, layer: int, tubelets: PackedTubelets
    ) -> None:
        """Store the tubelets of all heads of a layer of one video."""
        tensors, info = tubelets.contents()
        info |= {"part": part, "layer": layer, "content": record.content}
        name = tubelet_file(record.index, part, layer)
        self.write(name, tensors, info, self.tubelets_belong)

    def write_concepts(
        self,
        part: str,
        layer: int,
        members: list[dict[str, np.ndarray]],
        found: list[Factorisation],
        sources: list[str],
    ) -> None:
        """Store the concepts of all heads of a layer.

        Args:
            part: of the layer.
            layer: which.
            members: for each head video, label and size [N] of its tubelets.
            found: for each head its concepts.
            sources: the hashes of the tubelets of all videos.
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
        info = {"part": part, "layer": layer, "tubelets": digest_json(sources)}
        self.write(concept_file(part, layer), tensors, info, self.concepts_belong)

    def write_manifest(self, num_videos: int) -> None:
        """Write the list of the videos, by which later processes tell that theirs are the same.

        Raises:
            InputError: the run was begun with fewer or more videos.
        """
        if self.has(clip_file(num_videos)):
            raise InputError(f"{self.path} holds a run of more videos: choose another directory")
        content = manifest_lines([self.record(video) for video in range(num_videos)])
        path = self.own(MANIFEST_FILE)
        if files.write_atomic(path, content, replace=False):
            return
        with naming(path, "read"):
            begun = path.read_bytes()
        if begun != content:
            raise InputError(
                f"{self.path} was begun with {begun.count(10)} videos, now there are {num_videos}: "
                "give the same videos, choose another directory, or begin anew with overwrite"
            )

    def finish(self, num_videos: int, heads: list[int]) -> None:
        """Write the list of all files, read and verified; then the run can be loaded.

        Raises:
            InputError: a file is damaged, or belongs to another place.
        """
        with self.claims.claim(_FINISH_TASK, wait=True):
            if self.finished:
                self.remove_unkept(num_videos)
                return
            try:
                self._verify(num_videos)
            except InputError as error:
                raise InputError(
                    f"{error}; without that file, the same command makes it again"
                ) from error
            names = sorted(file_names(num_videos, self.parts, self.layers, self.keep))
            names += [COMPACTNESS_FILE] if self.has(COMPACTNESS_FILE) else []
            sealed = self.seal(names)
            files.remove_temporaries(self.path)
            files.flush_folders(self.path)  # no power cut leaves the list without its files
            self.log("finished")
            document = {"num_videos": num_videos, "heads": heads, "files": sealed}
            self.write_json(RUN_FILE, document)
            self.remove_unkept(num_videos)

    def remove_unkept(self, num_videos: int) -> None:
        """Remove the tubelets of a finished run that keeps its concepts alone."""
        if self.keep != CONCEPTS:
            return
        written = file_names(num_videos, self.parts, self.layers)
        for name in written - file_names(num_videos, self.parts, self.layers, self.keep):
            with naming(self.path / name, "removed"):
                self.own(name).unlink(missing_ok=True)

    def _verify(self, num_videos: int) -> None:
        """Read every file once before the list vouches for it."""
        records = [self.record(video) for video in range(num_videos)]
        for part in self.parts:
            for layer in self.layers:
                sources = [self.tubelets(record, part, layer)[1] for record in records]
                name = concept_file(part, layer)
                made_of = read_own(self.path, name, self.concepts_belong).info.get("tubelets")
                if made_of != digest_json(sources):
                    raise InputError(
                        f"{self.path / name} belongs elsewhere: it was made of other tubelets than "
                        f"those of {self.path}"
                    )

    def reuse(self, other: Path) -> None:
        """Take over, video by video, what another run has of the same videos.

        Raises:
            InputError: there is no run, or one whose model or settings of tubelets are others.
        """
        begun = read_settings(other)
        if begun["format"] != FORMAT:
            raise InputError(f"{other} holds a run of an earlier version of vtcd_ops")
        expect_same(other, begun, read_settings(self.path), ignoring=(*CONCEPT_SETTINGS, "keep"))
        if keeps_less(kept_by(begun), self.keep) or kept_by(begun) == CONCEPTS:
            raise InputError(
                f"discover: reuse expected a run with the tubelets that keep={self.keep!r} keeps, "
                f"got {other}, which was discovered with keep={kept_by(begun)!r}"
            )
        self._reused, self._reused_keep = other, kept_by(begun)

    def take_over(self, video: int, content: str) -> None:
        """Link what the other run has of a video, if it is the same under the same number."""
        other = self._reused
        if other is None or not (other / clip_file(video)).is_file():
            return
        record = read_record(other, video, self.tubelets_belong)
        if record.content != content:
            return
        if self._reused_keep != self.keep:
            self._take_over_less(other, record)
            return
        names = [tubelet_file(video, part, n) for part in self.parts for n in self.layers]
        for name in (clip_file(video), *names):
            if self.has(name) or not (other / name).is_file():
                continue
            try:
                os.link(other / name, self.folder_of(name))  # files are replaced, never changed
            except OSError:
                with naming(other / name, "read"):
                    copied = (other / name).read_bytes()
                files.write_atomic(self.folder_of(name), copied, replace=False)

    def _take_over_less(self, other: Path, record: VideoRecord) -> None:
        """Store of another run's video what this run keeps of it."""
        if not self.has(clip_file(record.index)):
            self.write_clip(record, None)
        for part in self.parts:
            for layer in self.layers:
                name = tubelet_file(record.index, part, layer)
                if self.has(name) or not (other / name).is_file():
                    continue
                tubelets, _ = read_tubelets(other, record, part, layer, self.tubelets_belong)
                self.write_tubelets(record, part, layer, repacked(tubelets, self.keep))


def _widen(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))
