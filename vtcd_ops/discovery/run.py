"""A finished run: `vtcd_ops.load(RUN)`; `run_files` describes its files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.discovery import run_results
from vtcd_ops.discovery.assignment import Assignment, assign
from vtcd_ops.discovery.concepts import paint
from vtcd_ops.discovery.keeping import EVERYTHING, TOKENS, expect_kept, kept_by
from vtcd_ops.discovery.records import HeadConcepts, LayerTubelets, VideoRecord, concepts_of_heads
from vtcd_ops.discovery.run_files import (
    READABLE,
    RUN_FILE,
    SANITY_FOLDER,
    clip_file,
    concept_file,
    copy_folder,
    read_compactness,
    read_contents,
    read_record,
    read_settings,
    read_tubelets,
    run_settings_identity,
    tubelet_file,
    tubelet_identity,
)
from vtcd_ops.discovery.run_table import concept_rows, draw_heads
from vtcd_ops.storage.codec import unpack_frames
from vtcd_ops.storage.documents import digest_json, expect_fields, listing, making_of, whole
from vtcd_ops.storage.files import naming
from vtcd_ops.storage.folder import SETTINGS_FILE, read_own, verify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vtcd_ops.concept_evidence.result import Evidence
    from vtcd_ops.importance.curve_results import Curves
    from vtcd_ops.importance.importance import Importance

__all__ = ["Run", "load"]

_MOST_KEPT = 64 << 20  # bytes of compressed tubelets that a run holds in memory


class Run(Tabular):
    """A finished run, read from its directory. Made by :func:`vtcd_ops.load`.

    Everything indexed by layer or head takes the model's own numbers. Iterated over, it is a row
    for each concept; two runs are equal where all of their files are the same.
    """

    def __init__(self, path: Path, documents: dict[str, Any]) -> None:
        self.path = path
        self.kind: str = documents["kind"]  #: "discovery", or "stored" by `store_concepts`
        self.settings: dict[str, Any] = documents["settings"]
        self.model: dict[str, Any] = documents["model"]
        self.format: int = documents["format"]  #: of the files
        self.versions: dict[str, str] = documents["versions"]
        self.operators: dict[str, str] = documents["operators"]  #: instruction set, SHA-256
        self.keep = kept_by(documents)  #: "everything", "tokens" or "concepts"
        self.parts: tuple[str, ...] = tuple(documents["parts"])
        self.layers: tuple[int, ...] = tuple(documents["layers"])
        self.heads: tuple[int, ...] = tuple(documents["heads"])
        checks = self.format > READABLE[0]
        self._files: dict[str, Any] = documents["files"]
        self._tubelets_belong = tubelet_identity(documents) if checks else None
        self._concepts_belong = run_settings_identity(documents) if checks else None
        self.videos: list[VideoRecord] = [
            read_record(path, index, self._tubelets_belong)
            for index in range(documents["num_videos"])
        ]
        self._concepts: dict[tuple[str, int], list[HeadConcepts]] = {}
        self._kept: OrderedDict[str, LayerTubelets] = OrderedDict()  # those read last

    def __repr__(self) -> str:
        return (
            f"Run({str(self.path)!r}, model {self.model['name']!r}, "
            f"{counted(len(self.videos), 'video')}, {len(self.layers)} layers x "
            f"{len(self.heads)} heads, {', '.join(self.parts)})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self._content == other._content

    def __hash__(self) -> int:  # type: ignore[override]  # a run is never changed
        return hash(self._content)

    @cached_property
    def _content(self) -> str:
        return digest_json([self.settings, self.model, self._files])

    def _rows(self) -> list[Row]:
        return concept_rows(self)

    def _draw(self, ax: Axes) -> None:
        draw_heads(self, ax)

    def expect_kept(self, caller: str, needed: str = EVERYTHING, instead: str = "") -> None:
        """Raise where the run does not keep what a caller needs; see :func:`.expect_kept`."""
        expect_kept(caller, self.path, self.keep, needed, instead)

    @cached_property
    def sanity(self) -> Run | None:
        """The run of the weight-randomised copy of the model, if there is one.

        Raises:
            InputError: it is damaged, or the control of another run.
        """
        folder = self.path / SANITY_FOLDER
        return self.control_in(folder) if (folder / RUN_FILE).is_file() else None

    def copies(self) -> list[Run]:
        """Return the runs of weight-randomised copies that there are.

        That of ``discover(sanity=True)`` comes first, then those of :func:`vtcd_ops.evidence`.
        """
        first = self.sanity
        found = [] if first is None else [first]
        number = 1
        while (self.path / copy_folder(number) / RUN_FILE).is_file():
            found.append(self.control_in(self.path / copy_folder(number)))
            number += 1
        return found

    def control_in(self, folder: Path) -> Run:
        """Return a run in a folder, verified to be that of a weight-randomised copy.

        Raises:
            InputError: it is damaged, or the control of another run.
        """
        control = load(folder)
        same_videos = [one.content for one in control.videos] == [
            one.content for one in self.videos
        ]
        asked, done = ({**run.settings, "content": None} for run in (self, control))
        if done != asked or not same_videos or not self._controlled_by(control):
            raise InputError(f"{folder} is the control of another run than {self.path}")
        return control

    def _controlled_by(self, control: Run) -> bool:
        """Whether a run is that of this one's model with random weights."""
        if self._concepts_belong is None:  # format 2 does not say
            return True
        return control.model.get("control_of") == self.model["sha256"]

    def preview(self, video: int) -> np.ndarray:
        """Return what the model saw of a video, uint8 [T, H, W, 3], small."""
        name = clip_file(self._video(video))
        self.expect_kept("run.preview")
        tensors, info, _ = read_own(self.path, name, self._tubelets_belong)
        expect_fields(self.path / name, info, {"preview_shape": listing(whole(0), 4)})
        with making_of(self.path / name):
            return unpack_frames(tensors["preview"], tuple(info["preview_shape"]))

    def tubelets(self, video: int, layer: int, part: str | None = None) -> LayerTubelets:
        """Return the tubelets of all heads of one layer and video."""
        part = self._part(part)
        self._row(layer, self.heads[0], part)
        self.expect_kept("run.tubelets", TOKENS)
        name = tubelet_file(self._video(video), part, layer)
        if name not in self._kept:  # heads of a layer are read in turn, through all videos
            read = read_tubelets(self.path, self.videos[video], part, layer, self._tubelets_belong)
            if len(read[0].sizes) != len(self.heads) or read[0].keep != self.keep:
                raise InputError(f"{self.path / name} is damaged: its heads are not the run's")
            self._kept[name] = read[0]
            while len(self._kept) > 1 and sum(k.nbytes for k in self._kept.values()) > _MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]

    def labels(self, video: int, layer: int, part: str | None = None) -> np.ndarray:
        """Return the tubelet of every voxel, int32 [A, T, H, W]; -1: dropped."""
        self.expect_kept("run.labels")
        tubelets = self.tubelets(video, layer, part)
        return np.stack([tubelets.labels(row) for row in range(len(self.heads))])

    def concepts(self, layer: int, head: int, part: str | None = None) -> HeadConcepts:
        """Return the concepts of one head."""
        part = self._part(part)
        row = self._row(layer, head, part)
        if (part, layer) not in self._concepts:
            name = concept_file(part, layer)
            tensors = read_own(self.path, name, self._concepts_belong).arrays
            found = concepts_of_heads(self.path / name, part, int(layer), self.heads, tensors)
            if max(int(one.video.max(initial=0)) for one in found) >= len(self.videos):
                raise InputError(f"{self.path / name} is damaged: it has tubelets of no video")
            self._concepts[part, layer] = found
        return self._concepts[part, layer][row]

    def support(self, video: int, layer: int, head: int, part: str | None = None) -> np.ndarray:
        """Return the concept of every voxel, int16 [T, H, W]; -1: none."""
        row = self._row(layer, head, self._part(part))
        self.expect_kept("run.support")
        return self._support(video, self.tubelets(video, layer, part), row, layer, part)

    def tokens(self, video: int, layer: int, part: str | None = None) -> np.ndarray:
        """Return the concept of every token, int32 [A, t*h*w]; -1: none.

        A token takes the concept of the voxel nearest to its centre, under the aligned-corner map
        by which features were interpolated.
        """
        self.expect_kept("run.tokens", TOKENS)
        tubelets = self.tubelets(video, layer, part)
        rows = [
            paint(
                tubelets.token_labels(row),
                self._concept_of_label(video, tubelets, row, layer, part),
            )
            for row in range(len(self.heads))
        ]
        return np.stack(rows).astype(np.int32)

    def compactness(self, layer: int, part: str | None = None) -> float:
        """Return the compactness with which SLIC divided the videos in a layer."""
        part = self._part(part)
        self._row(layer, self.heads[0], part)
        fixed = self.settings.get("compactness")
        if fixed == "auto":
            sites = [(one, int(n)) for one in self.parts for n in self.layers]
            return read_compactness(self.path, sites, self._tubelets_belong)[part, int(layer)]
        if fixed is None:
            raise InputError(f"{self.path}: its concepts were made elsewhere, without SLIC")
        return float(fixed)

    def units(self, part: str | None = None) -> np.ndarray:
        """Return (layer, head, concept) of every concept of the run, int64 [U, 3]."""
        rows = [
            (layer, head, concept)
            for layer in self.layers
            for head in self.heads
            for concept in range(self.concepts(layer, head, part).k)
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def importance(
        self, name: str | None = None, estimator: str | None = None
    ) -> Importance | None:
        """Return a ranking of the run's units that :func:`vtcd_ops.rank` made.

        Args:
            name: of the ranking; None: the latest by cris, else the latest of any method.
            estimator: of importance from the scores, where not the one it was ranked with.

        Returns:
            The importance; None where no name is given and there is no ranking.

        Raises:
            InputError: no ranking of that name, or a damaged one.
        """
        return run_results.reader("importance")(self, name, estimator)

    def importances(self) -> list[str]:
        """Return the names of the run's rankings, the latest last."""
        return run_results.reader("importances")(self)

    def curves(self, name: str | None = None) -> Curves | None:
        """Return attribution curves that :func:`vtcd_ops.curves` made.

        Args:
            name: of the curves; None: the latest.

        Returns:
            The curves; None where no name is given and there are none.

        Raises:
            InputError: no curves of that name, or damaged ones.
        """
        return run_results.reader("curves")(self, name)

    def evidence(self, part: str | None = None) -> Evidence | None:
        """Return what :func:`vtcd_ops.evidence` measured of the run; None where it was not made.

        Args:
            part: of the run's parts; the first by default.

        Raises:
            InputError: it is damaged, or of another state of the run.
        """
        part = self._part(part)
        self._row(self.layers[0], self.heads[0], part)
        return run_results.reader("evidence")(self, part)

    def assign(
        self,
        sample: Any,
        model: Adapter | str | None = None,
        *,
        device: str = "auto",
        max_memory: int | str = "1GB",
    ) -> Assignment:
        """Return the run's concepts in a new video, see :func:`.assignment.assign`."""
        return assign(self, sample, model, device=device, max_memory=max_memory)

    def _support(
        self, video: int, tubelets: LayerTubelets, row: int, layer: int, part: str | None
    ) -> np.ndarray:
        table = self._concept_of_label(video, tubelets, row, layer, part)
        return paint(tubelets.labels(row), table)

    def _concept_of_label(
        self, video: int, tubelets: LayerTubelets, row: int, layer: int, part: str | None
    ) -> np.ndarray:
        part = self._part(part)
        concepts = self.concepts(layer, self.heads[row], part)
        mine = concepts.video == self._video(video)
        table = np.full(tubelets.sizes.shape[1], -1)
        with making_of(self.path / concept_file(part, layer)):
            table[concepts.label[mine]] = concepts.concept[mine]
        return table

    def _video(self, video: int) -> int:
        _expect_in("video", video, range(len(self.videos)))
        return int(video)

    def _part(self, part: str | None) -> str:
        """The part asked for, by default the run's first."""
        return self.parts[0] if part is None else part

    def _row(self, layer: int, head: int, part: str) -> int:
        """Where a head is in the arrays of its layer."""
        _expect_in("part", part, self.parts)
        _expect_in("layer", layer, self.layers)
        _expect_in("head", head, self.heads)
        return self.heads.index(head)


def _expect_in(name: str, value: Any, choices: Any) -> None:
    if value not in choices:
        raise InputError(f"run: {name} expected one of {list(choices)}, got {value!r}")


def load(path: str | Path, *, progress: Callable[[str], None] | None = None) -> Run:
    """Return a finished run after verifying every file of it.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = vtcd_ops.discover(example_adapter(), videos, out=folder.name, progress=False)
    >>> run = vtcd_ops.load(folder.name)
    >>> run.model["name"], len(run.videos), run.layers, run.heads
    ('example', 3, (0, 1, 2), (0, 1))
    >>> folder.cleanup()

    Args:
        path: the run's directory.
        progress: called with the name of each file as it is verified.

    Raises:
        InputError: there is no run, it is unfinished, of another version, incomplete, or damaged.
    """
    path = Path(path)
    with naming(path, "read"):  # a name that is too long
        is_run = (path / SETTINGS_FILE).is_file()
    if not is_run:
        raise InputError(f"{path} is not a run of vtcd: it has no {SETTINGS_FILE}")
    settings = read_settings(path)
    if not (path / RUN_FILE).is_file():
        raise InputError(f"the run {path} is unfinished: the same discover command finishes it")
    contents = read_contents(path, settings)
    for name in contents["files"]:
        if progress is not None:
            progress(name)
        verify(path, contents["files"], name)
    with making_of(path / SETTINGS_FILE):
        return Run(path, {**settings, **contents})
