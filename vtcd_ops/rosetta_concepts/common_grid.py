"""One voxel grid for the views that several models have of a video.

Models look at different frames, cut different parts out of them and have label volumes of different
sizes. The common grid covers what all of them saw; along each axis it has as many voxels as the
coarsest of their label volumes. A common voxel takes the label of the voxel that is nearest to its
centre in each volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.records import LayerTubelets, VideoRecord

Interval = tuple[float, float]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class LabelGrid:
    """Where the voxels of a label volume stand.

    Args:
        shape: the volume (T, H, W).
        padded_size: the volume before padding was cut off its end.
        tokens: token grid (t, h, w) that it was interpolated from, corners aligned; equal to
            ``padded_size`` where it was not.
    """

    shape: Size
    padded_size: Size
    tokens: Size

    @classmethod
    def of(cls, tubelets: LayerTubelets) -> LabelGrid:
        """Return the grid of the label volumes of a layer."""
        return cls(tubelets.shape, tubelets.padded_size, tubelets.grid)


@dataclass(frozen=True)
class CommonGrid:
    """The voxels in which several views of a video are compared.

    Args:
        size: (T, H, W).
        span: the time that all views share, in frames of the video; frame f lasts from f to f + 1.
        rows: the part of a frame that all views share, from its first to its last row, in pixels.
        columns: the same for columns.
    """

    size: Size
    span: Interval
    rows: Interval
    columns: Interval

    def centres(self, axis: int) -> np.ndarray:
        """Return where the centres of the voxels are along an axis, in frames or pixels."""
        start, end = (self.span, self.rows, self.columns)[axis]
        count = self.size[axis]
        return start + (np.arange(count) + 0.5) * ((end - start) / count)


def common_grid(views: Sequence[tuple[VideoRecord, LabelGrid]], names: Sequence[str]) -> CommonGrid:
    """Return the grid of what all views of a video share.

    Args:
        views: for each model its record of the video, and its label grid.
        names: of the models, for the errors.

    Raises:
        InputError: the views share no frame, or no part of the frames.
    """
    records = [record for record, _ in views]
    height, width = records[0].frame_size
    span = _shared([time_span(record) for record in records], records, names, "frames")
    rows = _shared([_inside(r.crop[0], r.crop[2], height) for r in records], records, names, "rows")
    columns = _shared(
        [_inside(r.crop[1], r.crop[3], width) for r in records], records, names, "columns"
    )
    shapes = [grid.shape for _, grid in views]
    t, h, w = (min(lengths) for lengths in zip(*shapes, strict=True))
    return CommonGrid((t, h, w), span, rows, columns)


def nearest_voxels(
    grid: CommonGrid, record: VideoRecord, labels: LabelGrid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, along each axis, which voxel of a view's label volume each common voxel takes.

    >>> record = VideoRecord(0, "a", None, "", 4, 8.0, (8, 8), (0, 2, 8, 4), (0, 1, 2, 3), 1)
    >>> labels = LabelGrid((4, 8, 8), (4, 8, 8), (4, 8, 8))  # pixels 2 to 6 as 8 columns
    >>> grid = CommonGrid((2, 4, 4), (0.0, 4.0), (0.0, 8.0), (2.0, 6.0))
    >>> [axis.tolist() for axis in nearest_voxels(grid, record, labels)]
    [[1, 3], [1, 3, 5, 7], [1, 3, 5, 7]]

    Args:
        grid: the common grid.
        record: the view's record of the video.
        labels: its label grid.

    Returns:
        Indices [T], [H], [W] for ``volume[np.ix_(...)]``.
    """
    step = np.searchsorted(_time_borders(record)[1:-1], grid.centres(0), side="right")
    places = (
        (step + 0.5) / _steps_of_volume(record, labels),
        (grid.centres(1) - record.crop[0]) / record.crop[2],
        (grid.centres(2) - record.crop[1]) / record.crop[3],
    )
    t, h, w = (
        _nearest(place, tokens, voxels, kept)
        for place, tokens, voxels, kept in zip(
            places, labels.tokens, labels.padded_size, labels.shape, strict=True
        )
    )
    return t, h, w


def _nearest(place: np.ndarray, tokens: int, voxels: int, kept: int) -> np.ndarray:
    """The voxel nearest to places given as fractions of the view's extent.

    Tokens divide the extent into equal parts. Voxels do not, unless they are the tokens: with
    aligned corners the first and the last voxel stand at the centres of the first and last token.
    """
    if tokens == 1:
        position = place * voxels - 0.5
    else:
        position = (place * tokens - 0.5) * ((voxels - 1) / (tokens - 1))
    # a place half-way between two voxels, but for rounding, takes the later one
    nearest = np.floor(position + 0.5 + 1e-9).astype(np.int64)
    clipped: np.ndarray = np.clip(nearest, 0, kept - 1)
    return clipped


def _steps_of_volume(record: VideoRecord, labels: LabelGrid) -> float:
    """Looked-at frames that a label volume spans with its padding."""
    if labels.shape[0] == record.num_frames:
        return labels.padded_size[0]
    padded = -(-record.num_frames // record.tubelet_size) * record.tubelet_size
    in_tokens = labels.shape[0] * record.tubelet_size == padded
    return padded if in_tokens else record.num_frames


def time_span(record: VideoRecord) -> Interval:
    """Return the time that a view stands for, in frames of the video.

    A frame that the model looked at stands for the time up to half-way to the next one.

    >>> time_span(VideoRecord(0, "a", None, "", 40, 8.0, (8, 8), (0, 0, 8, 8), (10, 14, 18), 1))
    (8.5, 20.5)
    """
    borders = _time_borders(record)
    return float(borders[0]), float(borders[-1])


def _time_borders(record: VideoRecord) -> np.ndarray:
    """Where the looked-at frames meet in time, [frames + 1]."""
    centres = np.array(record.frame_indices, dtype=np.float64) + 0.5
    steps = np.diff(centres) if len(centres) > 1 else np.ones(1)
    first, last = centres[0] - steps[0] / 2, centres[-1] + steps[-1] / 2
    between = (centres[1:] + centres[:-1]) / 2
    ends = np.clip([first, last], 0.0, record.num_video_frames)
    return np.concatenate([ends[:1], between, ends[1:]])


def _inside(start: float, length: float, edge: int) -> Interval:
    """The part of a crop that lies in the frame; beyond it there was no video."""
    return max(0.0, float(start)), min(float(edge), float(start) + float(length))


def _shared(
    intervals: list[Interval], records: list[VideoRecord], names: Sequence[str], what: str
) -> Interval:
    start, end = max(first for first, _ in intervals), min(last for _, last in intervals)
    if start < end:
        return start, end
    early = min(range(len(intervals)), key=lambda i: intervals[i][1])
    late = max(range(len(intervals)), key=lambda i: intervals[i][0])
    raise InputError(
        f"rosetta: {names[early]} and {names[late]} saw different {what} of "
        f"{records[early].name}: {_text(intervals[early])} and {_text(intervals[late])}, "
        "which do not overlap"
    )


def _text(interval: Interval) -> str:
    return f"{interval[0]:g} to {interval[1]:g}"
