"""The number of concepts of a head (point 3 of the paper's mathematics)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.ops import arguments, ragged
from vtcd_ops.ops.silhouette import silhouettes_of_many

MAX_NUM_CONCEPTS = 15
CRITERIA = ("elbow", "elbow_released", "silhouette", "elbow_silhouette")


class NumConcepts(int):
    """A number of concepts, which is an integer, with what it was chosen by.

    Args:
        k: the number.
        objective: what each number of concepts tried scored, by number: inertia per row for the
            elbow, mean silhouette for ``silhouette``, 1 − mean silhouette for ``elbow_silhouette``.
        silhouette: mean silhouette of the k clusters; 0 for one cluster. Of more than 8,192 rows
            each is compared with a share of the others alone.
    """

    objective: dict[int, float]
    silhouette: float

    def __new__(cls, k: int, objective: dict[int, float], silhouette: float) -> NumConcepts:
        """Make the number k carry its evidence."""
        number = super().__new__(cls, k)
        number.objective = objective
        number.silhouette = silhouette
        return number


@dataclass
class _Problem:
    """One matrix on its way to a number of concepts."""

    data: Tensor  # [N, C]
    scaled: Tensor  # float64 [N, C]: data times 2^-exponent, less an origin
    exponent: int
    objective: dict[int, float] = field(default_factory=dict)
    labels: dict[int, Tensor] = field(default_factory=dict)  # int32 [N] for each k
    chosen: int | None = None

    @property
    def largest(self) -> int:
        return max(1, min(MAX_NUM_CONCEPTS, len(self.data) - 1))


@overload
def choose_num_concepts(
    data: Tensor,
    criterion: str = ...,
    threshold: float = ...,
    *,
    num_restarts: int = ...,
    seed: int = ...,
) -> NumConcepts: ...
@overload
def choose_num_concepts(
    data: Sequence[Tensor],
    criterion: str = ...,
    threshold: float = ...,
    *,
    num_restarts: int = ...,
    seed: int = ...,
) -> list[NumConcepts]: ...
def choose_num_concepts(
    data: Tensor | Sequence[Tensor],
    criterion: str = "elbow",
    threshold: float = 0.9,
    *,
    num_restarts: int = 10,
    seed: int = 0,
) -> NumConcepts | list[NumConcepts]:
    """Choose how many concepts a head has, from 1 to min(15, N - 1), by k-means.

    >>> corners = 9 * torch.eye(4, 32).repeat_interleave(25, dim=0)
    >>> chosen = choose_num_concepts(corners + torch.rand(100, 32))
    >>> int(chosen), chosen.silhouette > 0.5
    (4, True)

    Args:
        data: float32 or float64 [N, C], or a list of such, worked on together.
        criterion: ``"elbow"``, the paper's: the last k that still helped, k - 1 for the first k
            with J(k) > threshold · J(k - 1), J the inertia per row; ``"elbow_released"``, the
            failing k itself, which is what the authors' code returns; ``"silhouette"``, the
            k >= 2 of the best mean silhouette; ``"elbow_silhouette"``, the elbow of
            1 − mean silhouette, from 2.
            J(k - 1) = 0 ends the search: nothing is left to explain.
        threshold: how much a further concept must leave at most; of the elbows.
        num_restarts: of k-means.
        seed: of k-means.

    Returns:
        A :class:`NumConcepts`, which is an int, or a list of them.

    Raises:
        ValueError: an unknown criterion, a threshold outside (0, 1], a matrix without rows, NaN or
            Inf.
        TypeError: another dtype.
    """
    op = "choose_num_concepts"
    if not isinstance(criterion, str) or criterion not in CRITERIA:
        raise ValueError(f"{op}: criterion expected {', '.join(CRITERIA)}, got {criterion}")
    threshold = arguments.as_number(op, "threshold", threshold)
    if not 0 < threshold <= 1:
        raise ValueError(f"{op}: threshold expected above 0 and at most 1, got {threshold:g}")
    matrices = ragged.matrices(op, data)
    if not matrices:
        return []
    num_restarts = arguments.as_integer(op, "num_restarts", num_restarts)
    seed = arguments.as_integer(op, "seed", seed)
    _check_num_concepts(*ragged.pack(op, matrices), num_restarts)
    problems = [_problem(matrix) for matrix in matrices]
    by_inertia = criterion in ("elbow", "elbow_released")
    if by_inertia:
        _search_elbow(problems, threshold, criterion == "elbow_released", num_restarts, seed)
    else:
        _search_silhouette(problems, threshold, criterion, num_restarts, seed)
    found = _with_silhouettes(problems, by_inertia)
    return found[0] if isinstance(data, Tensor) else found


def _check_num_concepts(data: Tensor, offsets: Tensor, num_restarts: int) -> None:
    """Check the arguments of ``choose_num_concepts``, its matrices one below the other."""
    op = "choose_num_concepts"
    ragged.check_ragged(op, data, offsets)
    if data.is_meta:
        raise ValueError(f"{op}: data expected on a device that holds values, got meta")
    arguments.repeats(op, "num_restarts", num_restarts)


# Between these the squares of a spread neither overflow nor vanish in float64.
_SMALLEST_SPREAD, _LARGEST_SPREAD = 1e-140, 1e140


def _problem(data: Tensor) -> _Problem:
    """Bring data of an extreme size to one whose inertia float64 can hold."""
    rows = data.detach().double()
    spread = float((rows - rows[:1]).abs().max())
    if spread == 0 or _SMALLEST_SPREAD < spread < _LARGEST_SPREAD or math.isnan(spread):
        return _Problem(data, rows, 0)
    exponent = 1025 if math.isinf(spread) else math.frexp(spread)[1]
    centred = np.ldexp(rows.cpu().numpy(), -(exponent // 2))
    centred = np.ldexp(centred - centred[:1], exponent // 2 - exponent)
    return _Problem(data, torch.from_numpy(centred).to(rows.device), exponent)


def _cluster(problems: list[_Problem], k: int, num_restarts: int, seed: int) -> list[float]:
    """Cluster every problem into k, keep the labels, return the inertia per row, scaled."""
    rows, offsets = ragged.pack("choose_num_concepts", [problem.scaled for problem in problems])
    k_each = ragged.k_tensor("choose_num_concepts", k, len(problems))
    with arguments.kernel_errors("kmeans", caller="choose_num_concepts"):
        labels, _, inertia, _ = torch.ops.vtcd.kmeans(
            rows, offsets, k_each, num_restarts=num_restarts, seed=seed
        )
    sizes = [len(problem.data) for problem in problems]
    for problem, part in zip(problems, labels.split(sizes), strict=True):
        problem.labels[k] = part
    return [float(value) / size for value, size in zip(inertia, sizes, strict=True)]


def _mean_silhouettes(data: list[Tensor], labels: list[Tensor]) -> list[float]:
    return [float(part.double().mean()) for part in silhouettes_of_many(data, labels)]


def _search_elbow(
    problems: list[_Problem], threshold: float, released: bool, num_restarts: int, seed: int
) -> None:
    """Count up k for all problems together; those that have found their elbow drop out."""
    for k in range(1, MAX_NUM_CONCEPTS + 1):
        running = [problem for problem in problems if problem.chosen is None]
        if not running:
            return
        inertia = _cluster(running, k, num_restarts, seed)
        for problem, value in zip(running, inertia, strict=True):
            problem.objective[k] = value
            problem.chosen = _elbow(problem, k, first=1, threshold=threshold, released=released)


def _search_silhouette(
    problems: list[_Problem], threshold: float, criterion: str, num_restarts: int, seed: int
) -> None:
    for problem in problems:
        if problem.largest == 1:
            problem.chosen = 1
            problem.labels[1] = problem.data.new_zeros(len(problem.data), dtype=torch.int32)
    for k in range(2, MAX_NUM_CONCEPTS + 1):
        running = [problem for problem in problems if problem.chosen is None]
        if not running:
            return
        _cluster(running, k, num_restarts, seed)
        means = _mean_silhouettes(
            [problem.data for problem in running], [problem.labels[k] for problem in running]
        )
        for problem, mean in zip(running, means, strict=True):
            if criterion == "silhouette":
                problem.objective[k] = mean
                if k == problem.largest:
                    problem.chosen = max(problem.objective, key=problem.objective.__getitem__)
            else:
                problem.objective[k] = 1 - mean
                problem.chosen = _elbow(problem, k, first=2, threshold=threshold, released=False)


def _elbow(
    problem: _Problem, k: int, *, first: int, threshold: float, released: bool
) -> int | None:
    """Return the number of concepts if it is known now that J(k) is, else None."""
    value = problem.objective[k]
    if k > first and value > threshold * problem.objective[k - 1]:
        return k if released else k - 1
    if value == 0 or k == problem.largest:
        return k
    return None


def _unscaled(problem: _Problem, by_inertia: bool) -> dict[int, float]:
    """Return what each number scored at the size of the data; inf or 0 beyond float64."""
    if not by_inertia or problem.exponent == 0:
        return problem.objective
    values = np.array(list(problem.objective.values()))
    with np.errstate(over="ignore", under="ignore"):
        scored = np.ldexp(values, 2 * problem.exponent)
    return dict(zip(problem.objective, scored.tolist(), strict=True))


def _with_silhouettes(problems: list[_Problem], by_inertia: bool) -> list[NumConcepts]:
    chosen = [problem.chosen or 1 for problem in problems]
    means = _mean_silhouettes(
        [problem.data for problem in problems],
        [problem.labels[k] for problem, k in zip(problems, chosen, strict=True)],
    )
    return [
        NumConcepts(k, _unscaled(problem, by_inertia), mean)
        for problem, k, mean in zip(problems, chosen, means, strict=True)
    ]
