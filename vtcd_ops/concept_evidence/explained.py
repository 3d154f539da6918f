"""What share of a concept place alone, or colour alone, explains: in videos held out.

Every token has a cell of its place in the frame, or of its mean colour. A cell predicts that a
token belongs to a concept as often as its tokens do in all *other* videos; R² compares the squared
errors of that with those of one number for all cells. Place and colour have 64 cells each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.tokens import TokenConcepts
from vtcd_ops.discovery.run import Run

EDGE = 8  # cells of place along each edge of the frame
LEVELS = 4  # cells of colour along each of red, green and blue
_PRIOR = 4.0  # tokens of the overall share that every cell is given, so that rare cells say little


def place_cells(grid: tuple[int, int, int]) -> np.ndarray:
    """Return the cell of place of every token, int64 [t, h, w].

    >>> place_cells((1, 2, 16))[0, 1].tolist()
    [32, 32, 33, 33, 34, 34, 35, 35, 36, 36, 37, 37, 38, 38, 39, 39]
    """
    t, h, w = grid
    rows, columns = np.arange(h) * EDGE // h, np.arange(w) * EDGE // w
    return np.broadcast_to(rows[:, None] * EDGE + columns, (t, h, w))


def colour_cells(preview: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Return the cell of colour of every token, int64 [t, h, w].

    Args:
        preview: what the model saw, uint8 [T, H, W, 3].
        grid: token grid (t, h, w).
    """
    mean = preview.astype(np.float64)
    for axis, tokens in enumerate(grid):
        mean = _means(mean, axis, tokens)
    red, green, blue = np.moveaxis((mean * LEVELS / 256).astype(np.int64), -1, 0)
    return (red * LEVELS + green) * LEVELS + blue


def _means(values: np.ndarray, axis: int, tokens: int) -> np.ndarray:
    """Means over equal parts of an axis; the nearest value for parts that hold none."""
    length = values.shape[axis]
    if length < tokens:
        nearest: np.ndarray = np.take(
            values, (2 * np.arange(tokens) + 1) * length // (2 * tokens), axis
        )
        return nearest
    begins = np.arange(tokens) * length // tokens
    sizes = np.diff(np.append(begins, length))
    shape = [1] * values.ndim
    shape[axis] = tokens
    found: np.ndarray = np.add.reduceat(values, begins, axis=axis) / sizes.reshape(shape)
    return found


def share_explained(concepts: TokenConcepts, cells: list[np.ndarray], num_cells: int) -> PerVideo:
    """Return for every concept the R² of its tokens' cells in videos held out one at a time.

    Args:
        concepts: of a run of at least two videos; of fewer, no concept has a value.
        cells: for each video the cell of every token [t, h, w].
        num_cells: how many there are.
    """
    inside = np.stack(  # [V, cells, U]
        [_table(u, c, num_cells, len(concepts)) for u, c in zip(concepts.maps, cells, strict=True)]
    )
    tokens = np.stack([np.bincount(c.ravel(), minlength=num_cells) for c in cells])  # [V, cells]
    saved, plain = np.zeros((2, len(concepts), len(cells)))
    if len(cells) < 2:
        return PerVideo(saved, plain)
    for video in range(len(cells)):
        others, of_others = inside.sum(0) - inside[video], tokens.sum(0) - tokens[video]
        overall = others.sum(axis=0) / of_others.sum()
        predicted = (others + _PRIOR * overall) / (of_others[:, None] + _PRIOR)
        plain[:, video] = _errors(inside[video], tokens[video], overall)
        saved[:, video] = plain[:, video] - _errors(inside[video], tokens[video], predicted)
    return PerVideo(saved, plain)


def _errors(inside: np.ndarray, tokens: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Sum over tokens of (membership − prediction)², [U]."""
    outside = tokens[:, None] - inside
    found: np.ndarray = (inside * (1 - predicted) ** 2 + outside * predicted**2).sum(axis=0)
    return found


def _table(units: np.ndarray, cells: np.ndarray, num_cells: int, num_units: int) -> np.ndarray:
    """Tokens of each cell in each concept, int64 [cells, U]."""
    places = np.broadcast_to(cells.astype(np.int64) * num_units, units.shape)
    known = units >= 0
    counted = np.bincount((places + units)[known], minlength=num_cells * num_units)
    return counted.reshape(num_cells, num_units)


def explained_by_colour(run: Run, part: str, videos: Sequence[int]) -> np.ndarray:
    """Return what colour alone explains of every concept in some videos of a run, float64 [U]."""
    concepts = TokenConcepts.of(run, part, videos)
    grids = [units.shape[1:] for units in concepts.maps]
    cells = [colour_cells(run.preview(v), grid) for v, grid in zip(videos, grids, strict=True)]
    return share_explained(concepts, cells, LEVELS**3).values()


def explained(run: Run, concepts: TokenConcepts) -> dict[str, PerVideo]:
    """Return what place alone, and colour alone, explain of every concept of a run."""
    grids = [units.shape[1:] for units in concepts.maps]
    places = [place_cells(grid) for grid in grids]
    colours = [colour_cells(run.preview(video), grid) for video, grid in enumerate(grids)]
    return {
        "place": share_explained(concepts, places, EDGE**2),
        "colour": share_explained(concepts, colours, LEVELS**3),
    }
