"""What a run holds: a record a video, the tubelets of a layer, the concepts of a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vtcd_ops._codec import unpack_labels
from vtcd_ops.tubelets import token_voxels


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
        fps: frames per second of the video.
        frame_size: (height, width) of its frames, in pixels.
        crop: the part of a frame that the model saw: (top, left, height, width) in pixels of the
            frame. Label volumes and token grids cover it in equal steps. Beyond the frame's edges
            where black surrounded it.
        frame_indices: the frames that the model looked at; label volumes have one step for each.
        tubelet_size: how many of them one step of the token grid spans.
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

    @property
    def num_frames(self) -> int:
        """Frames that the model looked at."""
        return len(self.frame_indices)


@dataclass(frozen=True, repr=False)
class HeadConcepts:
    """The concepts of one head, and the tubelets that belong to them.

    Args:
        part, layer, head: where.
        k: number of concepts.
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

    @property
    def encoding(self) -> np.ndarray:
        """Each tubelet's encoding in its own concept, float32 [N]."""
        return np.take_along_axis(self.encodings, self.concept[:, None], axis=1)[:, 0]

    @property
    def mean_silhouette(self) -> float:
        """Mean silhouette of the tubelets; NaN for one concept."""
        return float(self.silhouette.mean())


class LayerTubelets:
    """The tubelets of all heads of one layer and video, as read from the run."""

    def __init__(self, tensors: dict[str, np.ndarray], info: dict[str, Any]) -> None:
        self._tensors = tensors
        self._dtypes: list[str] = info["dtypes"]
        self.shape: tuple[int, int, int] = tuple(info["shape"])  #: label volume (T, H, W)
        self.padded_size: tuple[int, int, int] = tuple(info["padded_size"])
        self.grid: tuple[int, int, int] = tuple(info["grid"])  #: token grid (t, h, w)
        self.means = tensors["means"]  #: float32 [A, S, C]
        self.sizes = tensors["sizes"]  #: int64 [A, S], 0 = no such tubelet

    def labels(self, row: int) -> np.ndarray:
        """Return the label volume of the head in a row, int32 [T, H, W]."""
        ends = self._tensors["ends"]
        begin = int(ends[row - 1]) if row else 0
        blob = self._tensors["labels"][begin : int(ends[row])].tobytes()
        return unpack_labels(blob, self.shape, self._dtypes[row])

    def at_tokens(self, volume: np.ndarray) -> np.ndarray:
        """Return the values [t*h*w] of a volume [T, H, W] at the tokens' own places."""
        t, h, w = token_voxels(self.grid, self.padded_size, self.shape[0])
        return volume[np.ix_(t, h, w)].reshape(-1)


def record_from_json(values: dict[str, Any]) -> VideoRecord:
    """Return the record that was stored as JSON."""
    tuples = {name: tuple(values[name]) for name in ("frame_size", "crop", "frame_indices")}
    return VideoRecord(**{**values, **tuples})
