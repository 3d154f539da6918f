"""Concepts: what the tubelets of all videos have in common, head by head (equations 2 and 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vtcd_ops.errors import InputError
from vtcd_ops.ops import choose_num_concepts, cnmf, silhouette
from vtcd_ops.settings import Settings

_NNLS_SWEEPS = 10_000
_NNLS_TOLERANCE = 1e-9  # relative; well below what float32 shows


@dataclass(frozen=True)
class Factorisation:
    """Concepts of one head.

    Args:
        centers: float32 [K, C], the concepts.
        concept: int32 [N], the concept that each tubelet belongs to.
        encoding: float32 [N, K], how each tubelet is composed of concepts.
        weights: float32 [N, K], how each concept is composed of tubelets; columns sum to 1.
        silhouettes: float32 [N], silhouette of each tubelet in its concept, NaN for one concept.
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


def find_concepts(tubelets: list[np.ndarray], settings: Settings) -> list[Factorisation]:
    """Find the concepts of several heads at once.

    Args:
        tubelets: for each head the tubelets of all videos, float32 [N, C].
        settings: criterion, threshold, assign, seed.

    Returns:
        One factorisation a head.

    Raises:
        InputError: a head has a single tubelet in all videos.
    """
    for head, its_tubelets in enumerate(tubelets):
        _expect_several(head, len(its_tubelets))
    data = [torch.from_numpy(rows) for rows in tubelets]
    chosen = choose_num_concepts(
        data, criterion=settings.criterion, threshold=settings.threshold, seed=settings.seed
    )
    results = cnmf(data, chosen, seed=settings.seed)
    encodings = [
        encode(rows, result.centers.numpy(), start=result.encoding.numpy())
        for rows, result in zip(tubelets, results, strict=True)
    ]
    tables = [
        encoding if settings.assign == "encoding" else result.weights.numpy()
        for encoding, result in zip(encodings, results, strict=True)
    ]
    concepts = [table.argmax(axis=1).astype(np.int32) for table in tables]
    silhouettes = silhouette(data, [torch.from_numpy(concept) for concept in concepts])
    return [
        Factorisation(
            centers=result.centers.numpy(),
            concept=concept,
            encoding=encoding,
            weights=result.weights.numpy(),
            silhouettes=_where_defined(coefficients.numpy(), concept),
            error=float(result.error),
            num_iter=int(result.num_iter),
        )
        for result, encoding, concept, coefficients in zip(
            results, encodings, concepts, silhouettes, strict=True
        )
    ]


def _expect_several(head: int, count: int) -> None:
    if count < 2:
        raise InputError(
            f"concepts need at least two tubelets, head {head} has {count} in all videos: "
            "give more videos or a larger n_segments"
        )


def _where_defined(silhouettes: np.ndarray, concept: np.ndarray) -> np.ndarray:
    """The silhouettes [N], or NaN where all tubelets belong to one concept."""
    alone = len(np.unique(concept)) < 2
    return np.full(len(concept), np.nan, dtype=np.float32) if alone else silhouettes


def encode(
    tubelets: np.ndarray, centers: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Return how tubelets are composed of given concepts: non-negative least squares.

    Solves equation 3 for U with W fixed, ``min ‖x − Wu‖ over u >= 0`` for each tubelet x, by cyclic
    coordinate descent in float64. It is how a new video gets the concepts of a run.

    >>> import numpy as np
    >>> encode(np.array([[2.0, 0.0], [0.0, -1.0]]), np.eye(2)).tolist()
    [[2.0, 0.0], [0.0, 0.0]]

    Args:
        tubelets: [N, C].
        centers: [K, C].
        start: [N, K], not negative, where to begin; 0 by default. The solution is the same.

    Returns:
        float32 [N, K].
    """
    x = tubelets.astype(np.float64)
    w = centers.astype(np.float64)
    gram = np.einsum("kc,jc->kj", w, w)  # [K, K]; einsum sums in one order, whatever the threads
    target = np.einsum("nc,kc->nk", x, w)  # [N, K]
    encoding = np.zeros_like(target) if start is None else start.astype(np.float64)
    scale = np.abs(target).max(initial=0.0)
    for _ in range(_NNLS_SWEEPS):
        largest = 0.0
        for k in range(len(w)):
            if gram[k, k] == 0:
                continue
            slope = target[:, k] - np.einsum("nj,j->n", encoding, gram[k])
            updated = np.maximum(encoding[:, k] + slope / gram[k, k], 0.0)
            change = np.abs(updated - encoding[:, k]).max(initial=0.0) * gram[k, k]
            largest = max(largest, float(change))
            encoding[:, k] = updated
        if largest <= _NNLS_TOLERANCE * scale:
            break
    return encoding.astype(np.float32)


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
