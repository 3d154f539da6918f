"""What a run holds: a record a video, the tubelets of a layer, the concepts of a head."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.discovery.keeping import EVERYTHING, KEEPS, TOKENS, expect_kept
from vtcd_ops.storage.codec import unpack_labels
from vtcd_ops.storage.documents import (
    TEXT,
    either,
    expect_arrays,
    expect_fields,
    listing,
    making_of,
    number,
    one_of,
    optional,
    whole,
)

_EDGE = whole(1, 2**31 - 1)  # of a frame or a grid
_FIELDS = {
    "index": whole(0),
    "name": TEXT,
    "source": optional(TEXT),
    "sha256": TEXT,
    "num_video_frames": whole(1),
    "fps": number(above=0),
    "frame_size": listing(_EDGE, 2),
    "crop": listing(number(), 4),
    "frame_indices": listing(whole(0)),
    "tubelet_size": _EDGE,
    "label": optional(either(TEXT, whole(-(2**63)))),
    "text": optional(TEXT),
    "query_mask": optional(TEXT),
    "target_masks": optional(TEXT),
    "inputs_sha256": optional(TEXT),
    "frame_times": either(listing(number()), one_of([], ())),
}


@dataclass(frozen=True)
class VideoRecord:
    """What a run knows of one video.

    Args:
        index: its number in the run.
        name: how reports call it.
        source: its path; None where it was an array.
        sha256: of its content, so that other runs can tell that it is the same video.
        inputs_sha256: of what the model got beside its frames, a query mask, say; None: nothing.
        num_video_frames: frames of the whole video.
        fps: frames per second of the video, on average.
        frame_size: (height, width) of its frames, in pixels.
        crop: the part of a frame that the model saw: (top, left, height, width) in pixels of the
            frame. Label volumes and token grids cover it in equal steps. Beyond the frame's edges
            where black surrounded it.
        frame_indices: the frames that the model looked at; label volumes have one step for each.
        tubelet_size: how many of them one step of the token grid spans.
        frame_times: when each of them is shown, in seconds from the video's first frame; none in
            runs of an earlier version.
        label: class, if known.
        text: sentence, if any.
        query_mask: path of the query mask, if any.
        target_masks: path of the true masks, if any.
    """

    index: int
    name: str
    source: str | None
    sha256: str
    num_video_frames: int
    fps: float
    frame_size: tuple[int, int]
    crop: tuple[float, float, float, float]
    frame_indices: tuple[int, ...]
    tubelet_size: int
    label: str | int | None = None
    text: str | None = None
    query_mask: str | None = None
    target_masks: str | None = None
    inputs_sha256: str | None = None
    frame_times: tuple[float, ...] = ()

    @property
    def num_frames(self) -> int:
        """Frames that the model looked at."""
        return len(self.frame_indices)

    @property
    def content(self) -> str:
        """What tells what a model saw of it from what it sees of any other video."""
        return f"{self.sha256} {self.inputs_sha256}"


@dataclass(frozen=True, repr=False, eq=False)
class HeadConcepts:
    """The concepts of one head, and the tubelets that belong to them.

    Args:
        part, layer, head: where.
        k: number of concepts; 0 of a head that was pruned from the model.
        centers: float32 [K, C].
        video: int32 [N], the video of each tubelet.
        label: int32 [N], its label in the video's label volume.
        concept: int32 [N], its concept.
        size: int64 [N], its voxels.
        encodings: float32 [N, K], how it is composed of the concepts.
        weights: float32 [N, K], how the concepts are composed of tubelets.
        silhouette: float32 [N], NaN where undefined (one concept).
        error: what the factorisation leaves, ‖T − T G U‖; NaN where there was none.
        num_iter: its iterations.
    """

    part: str
    layer: int
    head: int
    k: int
    centers: np.ndarray
    video: np.ndarray
    label: np.ndarray
    concept: np.ndarray
    size: np.ndarray
    encodings: np.ndarray
    weights: np.ndarray
    silhouette: np.ndarray
    error: float
    num_iter: int

    def __repr__(self) -> str:
        return (
            f"HeadConcepts({self.part} of layer {self.layer}, head {self.head}: {self.k} concepts, "
            f"{len(self.concept)} tubelets)"
        )

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, which may change

    @property
    def encoding(self) -> np.ndarray:
        """Each tubelet's encoding in its own concept, float32 [N]."""
        return np.take_along_axis(self.encodings, self.concept[:, None], axis=1)[:, 0]

    @property
    def mean_silhouette(self) -> float:
        """Mean silhouette of the tubelets; NaN for one concept."""
        return float(self.silhouette.mean()) if len(self.silhouette) else float("nan")


class LayerTubelets:
    """The tubelets of all heads of one layer and video, as read from the run.

    Args:
        path: of the file, for messages.
        tensors: of the file.
        info: of the file.

    Raises:
        InputError: the file does not hold what it should.
    """

    def __init__(self, path: Path, tensors: dict[str, np.ndarray], info: dict[str, Any]) -> None:
        volume = listing(_EDGE, 3)
        expect_fields(path, info, {"shape": volume, "padded_size": volume, "grid": volume})
        axes = {"means": "A S C", "sizes": "A S", "ends": "A", "labels": "L"}
        types = {"means": "float32", "sizes": "int64", "ends": "int64", "labels": "uint8"}
        lengths = expect_arrays(path, tensors, {name: (types[name], axes[name]) for name in axes})
        kinds = listing(one_of("uint8", "uint16", "uint32"), lengths["A"])
        expect_fields(path, info, {"dtypes": kinds})
        ends = tensors["ends"]
        if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != lengths["L"]:
            raise InputError(f"{path} is damaged: its label volumes do not end where they should")
        self._path = path
        self._tensors = tensors
        self._dtypes: list[str] = info["dtypes"]
        expect_fields(path, {"keep": EVERYTHING, **info}, {"keep": one_of(*KEEPS)})
        self.keep: str = info.get("keep", EVERYTHING)  #: of the labels
        self.shape: tuple[int, int, int] = tuple(info["shape"])  #: label volume (T, H, W)
        self.padded_size: tuple[int, int, int] = tuple(info["padded_size"])
        self.grid: tuple[int, int, int] = tuple(info["grid"])  #: token grid (t, h, w)
        self.means = tensors["means"]  #: float32 [A, S, C]
        self.sizes = tensors["sizes"]  #: int64 [A, S], 0 = no such tubelet
        if any(n > padded for n, padded in zip(self.shape, self.padded_size, strict=True)):
            raise InputError(f"{path} is damaged: shape expected within padded_size")
        if any(n > padded for n, padded in zip(self.grid, self.padded_size, strict=True)):
            raise InputError(f"{path} is damaged: grid expected within padded_size")

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return sum(array.nbytes for array in self._tensors.values())

    def labels(self, row: int) -> np.ndarray:
        """Return the label volume of the head in a row, int32 [T, H, W]."""
        expect_kept("labels", self._path, self.keep, EVERYTHING)
        return self._unpack(row, self.shape)

    def token_labels(self, row: int) -> np.ndarray:
        """Return the tubelet of every token [t*h*w] of the head in a row; -1: none."""
        expect_kept("tokens", self._path, self.keep, TOKENS)
        if self.keep == TOKENS:
            return self._unpack(row, self.grid).reshape(-1)
        return self.at_tokens(self._unpack(row, self.shape))

    def _unpack(self, row: int, shape: tuple[int, int, int]) -> np.ndarray:
        """The labels of the head in a row, int32, in the shape that they are stored in."""
        ends = self._tensors["ends"]
        begin = int(ends[row - 1]) if row else 0
        blob = self._tensors["labels"][begin : int(ends[row])].tobytes()
        with making_of(self._path):
            labels = unpack_labels(blob, shape, self._dtypes[row])
        if int(labels.max(initial=-1)) >= self.sizes.shape[1]:
            raise InputError(f"{self._path} is damaged: a label is that of no tubelet")
        return labels

    def at_tokens(self, volume: np.ndarray) -> np.ndarray:
        """Return the values [t*h*w] of a volume [T, H, W] at the tokens' own places."""
        t, h, w = token_voxels(self.grid, self.padded_size, self.shape[0])
        return volume[np.ix_(t, h, w)].reshape(-1)


def record_from_json(path: Path, values: Any) -> VideoRecord:
    """Return the record that was stored as JSON.

    Args:
        path: of the file, for messages.
        values: what it holds.

    Raises:
        InputError: it is none.
    """
    if isinstance(values, dict):
        values = {"frame_times": [], **values}  # runs of an earlier version have none
    expect_fields(path, values, _FIELDS, "record")
    names = ("frame_size", "crop", "frame_indices", "frame_times")
    tuples = {name: tuple(values[name]) for name in names}
    with making_of(path):
        record = VideoRecord(**{**values, **tuples})
    last = record.frame_indices[-1]
    if last >= record.num_video_frames or list(record.frame_indices) != sorted(
        record.frame_indices
    ):
        raise InputError(f"{path} is damaged: frame_indices expected ascending within the video")
    if record.frame_times and len(record.frame_times) != len(record.frame_indices):
        raise InputError(f"{path} is damaged: frame_times expected one for each of frame_indices")
    return record


def concepts_of_heads(
    path: Path, part: str, layer: int, heads: tuple[int, ...], tensors: dict[str, np.ndarray]
) -> list[HeadConcepts]:
    """Return the concepts of all heads of a layer, as read from the run.

    Raises:
        InputError: the file does not hold what it should.
    """
    rows = dict.fromkeys(("video", "label", "concept"), ("int32", "N"))
    rows |= {"size": ("int64", "N"), "silhouette": ("float32", "N")}
    rows |= dict.fromkeys(("encodings", "weights"), ("float32", "N K"))
    of_heads = {"k": ("int64", "A"), "ends": ("int64", "A")}
    of_heads |= {"error": ("float64", "A"), "num_iter": ("int64", "A")}
    forms = {**rows, **of_heads, "centers": ("float32", "U C")}
    lengths = expect_arrays(path, tensors, forms)
    k, ends = tensors["k"], tensors["ends"]
    fits = lengths["A"] == len(heads) and (k >= 0).all() and (k <= lengths["K"]).all()
    if not fits or k.sum() != lengths["U"]:
        raise InputError(f"{path} is damaged: its centers are not those of {len(heads)} heads")
    if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != lengths["N"]:
        raise InputError(f"{path} is damaged: its tubelets are not those of {len(heads)} heads")
    found = []
    for row, head in enumerate(heads):
        mine = slice(int(ends[row - 1]) if row else 0, int(ends[row]))
        last = int(k[: row + 1].sum())
        some = {name: tensors[name][mine] for name in ("video", "label", "concept", "size")}
        concept = some["concept"]
        if min(array.min(initial=0) for array in some.values()) < 0:
            raise InputError(f"{path} is damaged: video, label, concept or size is negative")
        if concept.max(initial=-1) >= k[row]:
            raise InputError(f"{path} is damaged: a tubelet has a concept that is not there")
        found.append(
            HeadConcepts(
                part=part,
                layer=layer,
                head=head,
                k=int(k[row]),
                centers=tensors["centers"][last - int(k[row]) : last],
                silhouette=tensors["silhouette"][mine],
                encodings=tensors["encodings"][mine, : int(k[row])],
                weights=tensors["weights"][mine, : int(k[row])],
                error=float(tensors["error"][row]),
                num_iter=int(tensors["num_iter"][row]),
                **some,
            )
        )
    return found


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
        known = {key: value for key, value in row.items() if value is not None}
        lines.append(json.dumps({"video": None} | known))  # null: it was an array
    return ("\n".join(lines) + "\n").encode()
