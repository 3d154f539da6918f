"""The better mode: how likely each token's concepts are to be the object, over all heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.ops import cnmf, slic3d, tubelet_pool

_PRIOR_TOKENS = 2  # of the share of the object in the whole frame, seen of every concept beforehand
_LEAST = 1e-3  # a concept that is surely an object, or none, is so with this doubt
_KEPT = 0.8  # of what earlier frames say of a concept, from one step to the next
_STEEPNESS = 2.0  # of how surely a token is the object, over its score above the threshold
_THRESHOLDS = np.linspace(-3, 2, 21)
_MOST_TUBELETS = 2048  # of a video; longer videos get longer tubelets, not more of them


@dataclass(frozen=True)
class TokenConcepts:
    """How a head's concepts are made.

    Args:
        num_concepts: concepts of a head, at most one a tubelet.
        tokens_per_tubelet: tokens of a tubelet on average.
        compactness: of SLIC.
        seed: of k-means.
    """

    num_concepts: int = 32
    tokens_per_tubelet: int = 16
    compactness: float = 0.1
    seed: int = 0

    def wanted(self, grid: Sequence[int]) -> int:
        """Return how many tubelets SLIC is asked for in a grid of tokens (t, h, w)."""
        return min(max(math.prod(grid) // self.tokens_per_tubelet, 2), _MOST_TUBELETS)

    def find(self, features: Tensor) -> tuple[Tensor, list[int]]:
        """Return the concept of every token, and how many concepts each head has.

        Tubelets are small supervoxels of the token grid, concepts their convex factorisation; a
        token has the concept whose centre is nearest, so supports are as fine as the tokens.

        Args:
            features: of several heads, [B, C, t, h, w].

        Returns:
            int64 [B, t*h*w].
        """
        grid = features.shape[2:]
        labels = slic3d(features, grid, self.wanted(grid), self.compactness)
        channels = features.flatten(2)  # [B, C, N]
        data = [means_of_tubelets(x, of) for x, of in zip(channels, labels.flatten(1), strict=True)]
        number = [min(self.num_concepts, len(rows)) for rows in data]
        factors = cnmf(data, number, seed=self.seed)
        nearest = [
            nearest_concept(x, found.centers)
            for x, found in zip(channels.transpose(1, 2), factors, strict=True)
        ]
        return torch.stack(nearest), number


def nearest_concept(tokens: Tensor, centers: Tensor) -> Tensor:
    """Return which centre [K, C] is nearest to each token [N, C], int64 [N]."""
    # by differences: products of matrices round by the number of threads
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(tokens, centers, compute_mode=mode).argmin(1)


def means_of_tubelets(features: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of the tokens of features [C, N] of each label that occurs, [S, C]."""
    row = features.float()[None, :, None, None]  # where in the grid they are does not matter
    means, counts = tubelet_pool(row, labels[None, None, None], int(labels.max()) + 1)
    return means[0, counts[0] > 0]


def concept_log_odds(concept: np.ndarray, covered: np.ndarray, num_concepts: int) -> np.ndarray:
    """Return the log-odds of each concept to be the object, by the tokens of the first frame.

    >>> concept, covered = np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 0.0])
    >>> odds = np.exp(concept_log_odds(concept, covered, 3))  # (2 + 1) / (2 + 2) are object, ...
    >>> odds.round(3).tolist()
    [3.0, 0.333, 1.0]

    Args:
        concept: of each token, int [N].
        covered: share of each token that the object covers, float64 [N].
        num_concepts: K; a concept that is not in the frame is the object as often as any token.

    Returns:
        float64 [K].
    """
    count = np.bincount(concept, minlength=num_concepts)
    inside = np.bincount(concept, weights=covered, minlength=num_concepts)
    share = (inside + _PRIOR_TOKENS * covered.mean()) / (count + _PRIOR_TOKENS)
    share = share.clip(_LEAST, 1 - _LEAST)
    odds: np.ndarray = np.log(share) - np.log1p(-share)
    return odds


def token_scores(
    concepts: Tensor, num_concepts: list[int], covered: np.ndarray, grid: tuple[int, int, int]
) -> Tensor:
    """Return the mean of all heads' log-odds of every token for each object.

    Args:
        concepts: of every token in every head, int64 [B, t*h*w].
        num_concepts: of each head.
        covered: shares of the first frame's tokens that each object covers, float64 [O, h*w].
        grid: (t, h, w).

    Returns:
        float32 [O, t, h, w], on the device of the concepts.
    """
    first = concepts[:, : covered.shape[1]].cpu().numpy()
    total = torch.zeros((len(covered), concepts.shape[1]), device=concepts.device)
    for head, number in enumerate(num_concepts):
        odds = np.stack([concept_log_odds(first[head], one, number) for one in covered])
        table = torch.from_numpy(odds.astype(np.float32)).to(total.device)
        total += table[:, concepts[head]]
    return (total / len(num_concepts)).unflatten(1, grid)


def followed_scores(
    concepts: Tensor,
    num_concepts: list[int],
    covered: np.ndarray,
    grid: tuple[int, int, int],
    thresholds: np.ndarray,
    memory: float,
) -> Tensor:
    """Return scores as `token_scores`, of concepts that frames after the first tell more about.

    What is seldom in the first frame is known from the frames before the present one: with C
    tokens of a concept in the first frame, I of them the object's, and two with the object's share
    p in the whole frame, its share of the object is (I + 2p + M s) / (C + 2 + M). Here s is the
    share in the frames before, where each token counts as much as it is the object by its own
    score, and earlier frames count less and less. M tops C up to `memory` times a concept's mean
    tokens in a frame: what the first frame shows well is not unlearnt.

    Args:
        concepts: of every token in every head, int64 [B, t*h*w].
        num_concepts: of each head.
        covered: shares of the first frame's tokens that each object covers, float64 [O, h*w].
        grid: (t, h, w).
        thresholds: above which score a token is the object, float64 [O].
        memory: how many tokens of a concept the first frame should show for it to be known from
            there alone, as a share of a concept's mean tokens in a frame.

    Returns:
        float32 [O, t, h, w], on the device of the concepts; the first step is `token_scores`'.
    """
    heads, most = len(num_concepts), max(num_concepts)
    concept = concepts.cpu().numpy().reshape(heads, grid[0], -1)
    place = (concept + most * np.arange(heads)[:, None, None]).swapaxes(0, 1)  # [t, B, h*w]
    mean = covered.mean(axis=1, keepdims=True)
    usual = place.shape[2] / np.repeat(num_concepts, most)  # tokens of a concept [B*K]

    def counted(step: int, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        where, size = place[step].ravel(), heads * most
        inside = [np.bincount(where, np.tile(one, heads), size) for one in shares]
        return np.bincount(where, minlength=size), np.stack(inside)

    count, inside = counted(0, covered)
    remembered = (memory * usual - count).clip(min=0)
    later_count, later_inside = np.zeros(count.shape), np.zeros(inside.shape)
    scores = np.empty((len(covered), grid[0], place.shape[2]))
    for step in range(grid[0]):
        share, weight = mean, 0 * remembered
        if step:
            share = (later_inside + _PRIOR_TOKENS * mean) / (later_count + _PRIOR_TOKENS)
            weight = remembered
        share = inside + _PRIOR_TOKENS * mean + weight * share
        share = (share / (count + _PRIOR_TOKENS + weight)).clip(_LEAST, 1 - _LEAST)
        odds = np.log(share) - np.log1p(-share)
        scores[:, step] = odds[:, place[step]].mean(axis=1)
        sure = 1 / (1 + np.exp(_STEEPNESS * (thresholds[:, None] - scores[:, step])))
        if step:
            more = counted(step, sure)
            later_count = _KEPT * later_count + more[0]
            later_inside = _KEPT * later_inside + more[1]
    found = torch.from_numpy(scores.astype(np.float32)).to(concepts.device)
    return found.reshape(len(covered), *grid)


def best_threshold(scores: np.ndarray, mask: np.ndarray) -> float:
    """Return above which score [H, W] the pixels agree best with a mask, of 21 from -3 to 2.

    >>> best_threshold(np.array([[-4.0, 0.6, 3.0]]), np.array([[False, False, True]]))
    2.0

    Of thresholds that agree as well, the highest.
    """
    agreement = []
    for threshold in _THRESHOLDS:
        found = scores > threshold
        either, both = int((found | mask).sum()), int((found & mask).sum())
        agreement.append((both / max(either, 1), float(threshold)))
    return max(agreement)[1]
