"""Concepts: what the tubelets of all videos have in common, head by head (equations 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import torch

from vtcd_ops.common.accelerator import is_out_of_memory, release_memory
from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.ops import ConvexNMF, choose_num_concepts, cnmf
from vtcd_ops.ops.library import device_with_kernels
from vtcd_ops.ops.silhouette import silhouettes_of_many

_MAIN_MEMORY = torch.device("cpu")

_NNLS_STEPS = 100  # for each concept; an active set changes a few times for each


@dataclass(frozen=True, eq=False)
class Factorisation:
    """Concepts of one head.

    Args:
        centers: float32 [K, C], the concepts.
        concept: int32 [N], the concept that each tubelet belongs to.
        encoding: float32 [N, K], how each tubelet is composed of concepts.
        weights: float32 [N, K], how each concept is composed of tubelets; columns sum to 1.
        silhouettes: float32 [N], silhouette of each tubelet in its concept, NaN for one concept;
            among more than 8,192 tubelets by comparison with a share of the others.
        error: ‖T − T G U‖ (Frobenius norm).
        num_iter: iterations of the factorisation.
    """

    centers: np.ndarray
    concept: np.ndarray
    encoding: np.ndarray
    weights: np.ndarray
    silhouettes: np.ndarray
    error: float
    num_iter: int

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, which may change


def find_concepts(
    tubelets: list[np.ndarray], settings: Settings, device: torch.device = _MAIN_MEMORY
) -> list[Factorisation]:
    """Find the concepts of several heads at once.

    Args:
        tubelets: for each head the tubelets of all videos, float32 [N, C].
        settings: criterion, threshold, assign, seed.
        device: where to, if the operators have kernels for it; half of the heads at a time where
            its memory is too small for all.

    Returns:
        One factorisation a head.

    Raises:
        InputError: a head has a single tubelet in all videos.
    """
    for head, its_tubelets in enumerate(tubelets):
        expect_several(head, len(its_tubelets))
    if not tubelets:  # a layer without heads
        return []
    device = device_with_kernels(device, "kmeans", "cnmf", "silhouette")
    return _in_halves(tubelets, lambda some: _find(some, settings, device), device)


def no_concepts(channels: int) -> Factorisation:
    """Return the concepts of a head that was pruned: none."""
    return Factorisation(
        centers=np.zeros((0, channels), dtype=np.float32),
        concept=np.zeros(0, dtype=np.int32),
        encoding=np.zeros((0, 0), dtype=np.float32),
        weights=np.zeros((0, 0), dtype=np.float32),
        silhouettes=np.zeros(0, dtype=np.float32),
        error=float("nan"),
        num_iter=0,
    )


def _in_halves(
    tubelets: list[np.ndarray],
    find: Callable[[list[np.ndarray]], list[Factorisation]],
    device: torch.device,
) -> list[Factorisation]:
    """Find the concepts of all heads, or of half of them and then the others."""
    try:
        return find(tubelets)
    except (RuntimeError, ValueError) as error:
        if len(tubelets) == 1 or not is_out_of_memory(error):
            raise
    release_memory(device)
    middle = len(tubelets) // 2
    halves = tubelets[:middle], tubelets[middle:]
    return [found for half in halves for found in _in_halves(half, find, device)]


def _find(
    tubelets: list[np.ndarray], settings: Settings, device: torch.device
) -> list[Factorisation]:
    """Find the concepts of heads that fit into the memory together."""
    data = [torch.from_numpy(rows).to(device) for rows in tubelets]
    chosen = choose_num_concepts(
        data, criterion=settings.criterion, threshold=settings.threshold, seed=settings.seed
    )
    results = [
        ConvexNMF(*(each.cpu() for each in result))
        for result in cnmf(data, chosen, seed=settings.seed)
    ]
    encodings = [
        encode(rows, result.centers.numpy()) for rows, result in zip(tubelets, results, strict=True)
    ]
    tables = [
        encoding if settings.assign == "encoding" else result.weights.numpy()
        for encoding, result in zip(encodings, results, strict=True)
    ]
    concepts = [table.argmax(axis=1).astype(np.int32) for table in tables]
    labels = [torch.from_numpy(concept).to(device) for concept in concepts]
    silhouettes = silhouettes_of_many(data, labels)
    return [
        Factorisation(
            centers=result.centers.numpy(),
            concept=concept,
            encoding=encoding,
            weights=result.weights.numpy(),
            silhouettes=_where_defined(coefficients.cpu().numpy(), concept),
            error=float(result.error),
            num_iter=int(result.num_iter),
        )
        for result, encoding, concept, coefficients in zip(
            results, encodings, concepts, silhouettes, strict=True
        )
    ]


def expect_several(head: int, count: int) -> None:
    """Raise where a head has too few tubelets, in all videos, to have concepts."""
    if count < 2:
        raise InputError(
            f"concepts need at least two tubelets, head {head} has {count} in all videos: "
            "give more videos or a larger n_segments"
        )


def _where_defined(silhouettes: np.ndarray, concept: np.ndarray) -> np.ndarray:
    """The silhouettes [N], or NaN where all tubelets belong to one concept."""
    alone = len(np.unique(concept)) < 2
    return np.full(len(concept), np.nan, dtype=np.float32) if alone else silhouettes


def encode(tubelets: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return how tubelets are composed of given concepts: non-negative least squares.

    Solves equation 3 for U with W fixed, ``min ‖x − Wu‖ over u >= 0`` for each tubelet x, by the
    active set method of Lawson and Hanson in float64. It is how a new video gets the concepts of a
    run. SciPy's answer is looked at, since SciPy 1.15 may return one that is no minimum
    (scipy/scipy#25389), and no newer one is to be had for Python 3.10.

    >>> import numpy as np
    >>> encode(np.array([[2.0, 0.0], [0.0, -1.0]]), np.eye(2)).tolist()
    [[2.0, 0.0], [0.0, 0.0]]

    Args:
        tubelets: [N, C].
        centers: [K, C].

    Returns:
        float32 [N, K].

    Raises:
        InputError: the method finds no end, as it may among concepts that are nearly equal.
    """
    x = tubelets.astype(np.float64)
    w = centers.astype(np.float64).T  # [C, K]
    unit = np.abs(w).max(initial=0.0) or 1.0  # its tolerances are for numbers around one
    scales = np.abs(x).max(axis=1, initial=0.0)
    encoding = np.zeros((len(x), w.shape[1]))
    for row, scale in enumerate(scales.tolist()):
        if scale == 0 or w.shape[1] == 0:
            continue
        solution = _composed(w / unit, x[row] / scale)
        if solution is None:
            raise InputError(
                f"concepts: how tubelet {row} is composed of {w.shape[1]} concepts could not be "
                "found, some are nearly equal: ask for fewer with another criterion or threshold"
            )
        encoding[row] = solution * (scale / unit)
    return encoding.astype(np.float32)


def _composed(w: np.ndarray, x: np.ndarray) -> np.ndarray | None:
    """The minimum of ‖x − Wu‖ over u >= 0, numbers around one; None where none was found."""
    steps = _NNLS_STEPS * w.shape[1]
    try:
        solution: np.ndarray = scipy.optimize.nnls(w, x, maxiter=steps)[0]
    except RuntimeError:
        return None
    if _is_minimum(w, x, solution):
        return solution
    bounded = scipy.optimize.lsq_linear(w, x, (0, np.inf), method="bvls", max_iter=steps)
    solution = np.where(bounded.active_mask < 0, 0.0, np.maximum(bounded.x, 0))
    return solution if _is_minimum(w, x, solution) else None


def _is_minimum(w: np.ndarray, x: np.ndarray, u: np.ndarray) -> bool:
    """Whether no step from u >= 0 leads down: the conditions of Karush, Kuhn and Tucker."""
    gradient = w.T @ (w @ u - x)
    allowed = 1e-7 * len(x)
    return bool(gradient.min() >= -allowed and (np.abs(gradient) * u).max() <= allowed)


def paint(labels: np.ndarray, concept_of_label: np.ndarray) -> np.ndarray:
    """Return the concept of every voxel, given the concept of every tubelet.

    >>> import numpy as np
    >>> paint(np.array([[0, 1], [-1, 1]]), np.array([4, 2])).tolist()
    [[4, 2], [-1, 2]]

    Args:
        labels: tubelet of each voxel [...], -1 where there is none.
        concept_of_label: concept of each tubelet [S], -1 where there is none.

    Returns:
        int16 [...], -1 where there is no concept.
    """
    table = np.append(concept_of_label, -1).astype(np.int16)  # label -1 finds the last entry
    return table[labels]
