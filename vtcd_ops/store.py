"""What a run leaves on disk, and reading it: `vtcd_ops.load(RUN)`.

    RUN/settings.json                   settings, model identity, versions, build
    RUN/videos/00003/clip.safetensors   what the model saw of video 3, and its record
    RUN/videos/00003/keys-05.safetensors  tubelets of all heads of layer 5: label volumes, means
    RUN/concepts/keys-05.safetensors    concepts of all heads of layer 5, and whose tubelets
    RUN/compactness.json                of every layer, where it was chosen from the features
    RUN/manifest.jsonl                  the samples
    RUN/run.json                        size and SHA-256 of every file; written last
    RUN/log.jsonl                       time stamps, the only thing that differs between equal runs

No file holds code; all are checked when they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops._codec import unpack_frames
from vtcd_ops._files import read_json, read_tensors, sha256_file
from vtcd_ops.concepts import paint
from vtcd_ops.errors import InputError
from vtcd_ops.records import HeadConcepts, LayerTubelets, VideoRecord, record_from_json

if TYPE_CHECKING:
    from vtcd_ops.adapter import Adapter
    from vtcd_ops.assignment import Assignment
    from vtcd_ops.importance import Importance

FORMAT = 2  # of the files; a reader refuses any other
SETTINGS_FILE = "settings.json"
RUN_FILE = "run.json"
LOG_FILE = "log.jsonl"
MANIFEST_FILE = "manifest.jsonl"
COMPACTNESS_FILE = "compactness.json"
SANITY_FOLDER = "sanity"


class Run:
    """A finished run, read from its directory. Made by :func:`vtcd_ops.load`.

    Everything indexed by layer or head takes the model's own numbers.
    """

    def __init__(self, path: Path, documents: dict[str, Any]) -> None:
        self.path = path
        self.kind: str = documents["kind"]  #: "discovery", or "stored" by `store_concepts`
        self.settings: dict[str, Any] = documents["settings"]
        self.model: dict[str, Any] = documents["model"]
        self.versions: dict[str, str] = documents["versions"]
        self.operators: dict[str, str] = documents["operators"]  #: instruction set, SHA-256
        self.parts: tuple[str, ...] = tuple(documents["parts"])
        self.layers: tuple[int, ...] = tuple(documents["layers"])
        self.heads: tuple[int, ...] = tuple(documents["heads"])
        self.videos: list[VideoRecord] = [
            record_from_json(self._tensors(clip_file(index))[1]["record"])
            for index in range(documents["num_videos"])
        ]
        self._concepts: dict[tuple[str, int], tuple[dict[str, np.ndarray], dict[str, Any]]] = {}
        self._last: tuple[str, LayerTubelets] | None = None

    def __repr__(self) -> str:
        return (
            f"Run({str(self.path)!r}, model {self.model['name']!r}, {len(self.videos)} videos, "
            f"{len(self.layers)} layers x {len(self.heads)} heads, {', '.join(self.parts)})"
        )

    @property
    def sanity(self) -> Run | None:
        """The run of the weight-randomised copy of the model, if there is one."""
        folder = self.path / SANITY_FOLDER
        return load(folder) if (folder / RUN_FILE).is_file() else None

    def preview(self, video: int) -> np.ndarray:
        """Return what the model saw of a video, uint8 [T, H, W, 3], small."""
        tensors, info = self._tensors(clip_file(self._video(video)))
        return unpack_frames(tensors["preview"], tuple(info["preview_shape"]))

    def tubelets(self, video: int, layer: int, part: str = "keys") -> LayerTubelets:
        """Return the tubelets of all heads of one layer and video."""
        self._row(layer, self.heads[0], part)
        name = tubelet_file(self._video(video), part, layer)
        if self._last is None or self._last[0] != name:  # heads of a layer are read in turn
            self._last = (name, LayerTubelets(*self._tensors(name)))
        return self._last[1]

    def labels(self, video: int, layer: int, part: str = "keys") -> np.ndarray:
        """Return the tubelet of every voxel, int32 [A, T, H, W]; -1: dropped."""
        tubelets = self.tubelets(video, layer, part)
        return np.stack([tubelets.labels(row) for row in range(len(self.heads))])

    def concepts(self, layer: int, head: int, part: str = "keys") -> HeadConcepts:
        """Return the concepts of one head."""
        row = self._row(layer, head, part)
        if (part, layer) not in self._concepts:
            self._concepts[part, layer] = self._tensors(concept_file(part, layer))
        tensors, _ = self._concepts[part, layer]
        ends, center_ends = tensors["ends"], np.cumsum(tensors["k"])
        k = int(tensors["k"][row])
        rows = slice(int(ends[row - 1]) if row else 0, int(ends[row]))
        return HeadConcepts(
            part=part,
            layer=layer,
            head=head,
            k=k,
            centers=tensors["centers"][int(center_ends[row]) - k : int(center_ends[row])],
            encodings=tensors["encodings"][rows, :k],
            weights=tensors["weights"][rows, :k],
            error=float(tensors["error"][row]),
            num_iter=int(tensors["num_iter"][row]),
            **{
                name: tensors[name][rows]
                for name in ("video", "label", "concept", "size", "silhouette")
            },
        )

    def support(self, video: int, layer: int, head: int, part: str = "keys") -> np.ndarray:
        """Return the concept of every voxel, int16 [T, H, W]; -1: none."""
        row = self._row(layer, head, part)
        return self._support(video, self.tubelets(video, layer, part), row, layer, part)

    def tokens(self, video: int, layer: int, part: str = "keys") -> np.ndarray:
        """Return the concept of every token, int32 [A, t*h*w]; -1: none.

        A token takes the concept of the voxel nearest to its centre, under the aligned-corner map
        by which features were interpolated.
        """
        tubelets = self.tubelets(video, layer, part)
        rows = [
            tubelets.at_tokens(self._support(video, tubelets, row, layer, part))
            for row in range(len(self.heads))
        ]
        return np.stack(rows).astype(np.int32)

    def compactness(self, layer: int, part: str = "keys") -> float:
        """Return the compactness with which SLIC divided the videos in a layer."""
        self._row(layer, self.heads[0], part)
        fixed = self.settings.get("compactness")
        if fixed == "auto":
            return float(read_json(self.path / COMPACTNESS_FILE)[part][str(layer)])
        if fixed is None:
            raise InputError(f"{self.path}: its concepts were made elsewhere, without SLIC")
        return float(fixed)

    def units(self, part: str = "keys") -> np.ndarray:
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
        from vtcd_ops.importance_store import read_importance

        return read_importance(self, name, estimator)

    def importances(self) -> list[str]:
        """Return the names of the run's rankings, the latest last."""
        from vtcd_ops.importance_store import stored_names

        return stored_names(self)

    def assign(self, sample: Any, model: Adapter | str | None = None) -> Assignment:
        """Return the run's concepts in a new video, see :func:`vtcd_ops.assignment.assign`."""
        from vtcd_ops.assignment import assign

        return assign(self, sample, model)

    def _support(
        self, video: int, tubelets: LayerTubelets, row: int, layer: int, part: str
    ) -> np.ndarray:
        concepts = self.concepts(layer, self.heads[row], part)
        mine = concepts.video == self._video(video)
        table = np.full(tubelets.sizes.shape[1], -1)
        table[concepts.label[mine]] = concepts.concept[mine]
        return paint(tubelets.labels(row), table)

    def _tensors(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return read_tensors(self.path / name)

    def _video(self, video: int) -> int:
        _expect_in("video", video, range(len(self.videos)))
        return int(video)

    def _row(self, layer: int, head: int, part: str) -> int:
        """Where a head is in the arrays of its layer."""
        _expect_in("part", part, self.parts)
        _expect_in("layer", layer, self.layers)
        _expect_in("head", head, self.heads)
        return self.heads.index(head)


def _expect_in(name: str, value: Any, choices: Any) -> None:
    if value not in choices:
        raise InputError(f"run: {name} expected one of {list(choices)}, got {value!r}")


def clip_file(video: int) -> str:
    """Where a video's record and preview are, below the run."""
    return f"videos/{video:05d}/clip.safetensors"


def tubelet_file(video: int, part: str, layer: int) -> str:
    """Where the tubelets of a layer of a video are, below the run."""
    return f"videos/{video:05d}/{part}-{layer:02d}.safetensors"


def concept_file(part: str, layer: int) -> str:
    """Where the concepts of a layer are, below the run."""
    return f"concepts/{part}-{layer:02d}.safetensors"


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
    if not (path / SETTINGS_FILE).is_file():
        raise InputError(f"{path} is not a run of vtcd: it has no {SETTINGS_FILE}")
    settings = read_settings(path)
    if not (path / RUN_FILE).is_file():
        raise InputError(f"the run {path} is unfinished: the same discover command finishes it")
    contents = read_json(path / RUN_FILE)
    for name, (size, digest) in contents["files"].items():
        if progress is not None:
            progress(name)
        _verify(path, name, size, digest)
    try:
        return Run(path, {**settings, **contents})
    except (KeyError, TypeError) as error:
        raise InputError(f"the run {path} cannot be read: {error!r}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings document of a run directory, if this version can read the run.

    Raises:
        InputError: it is damaged, or the run is of another version.
    """
    document = read_json(path / SETTINGS_FILE)
    if document.get("format") != FORMAT:
        raise InputError(
            f"the run {path} has format {document.get('format')}, this version of vtcd_ops reads "
            f"format {FORMAT}"
        )
    return document


def _verify(path: Path, name: str, size: int, digest: str) -> None:
    file = path / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"the run {path} lists a file outside of itself: {name}")
    if not file.is_file():
        raise InputError(f"{file} is missing: the run is incomplete")
    if file.stat().st_size != size or sha256_file(file) != digest:
        raise InputError(f"{file} is damaged: its content does not match its SHA-256")
