"""Ridge regression of metric drops on the units that masks remove.

With M masks and U units, the smaller of the two normal matrices is decomposed where it has at most
`DENSE` rows. Beyond, nothing of size M x M or U x U is made: conjugate gradients, and for the
penalty Lanczos quadrature, go over the masks packed to bits. What masks have in common, and how
often units are removed together, are integers and exact in float32, so products of masks do not
depend on how they are computed; everything else runs on one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from vtcd_ops.estimates.mask_scores import MaskScores

#: Rows of the largest normal matrix that is made: 18 MB in float64.
DENSE = 1500

_COLUMNS = 512  # units that are unpacked at once
_ROWS = 2048  # masks that are unpacked at once
_STEPS, _PROBES = 48, 8  # of the Lanczos quadrature
# Penalties tried, in units of the largest eigenvalue of the normal matrix.
_PENALTIES = torch.logspace(-8, 3, 111, dtype=torch.float64)


_TURN = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the linear algebra of torch, NumPy and SciPy run on one thread.

    Their sums depend on the number of threads: NumPy's dot product of 20,000 numbers has other last
    bits on two threads than on one, and so has every step of SciPy's conjugate gradients. The
    numbers are those of the process, so callers in several threads take turns.
    """
    with _TURN:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(limits=1, user_api="blas"):
                yield
        finally:
            torch.set_num_threads(before)


class Removals:
    """The indicators of removal X [M, U] by the masks of a seed, packed to bits: M U / 8 bytes."""

    def __init__(self, data: MaskScores, seed: int) -> None:
        self.num_masks, self.num_units = data.num_masks, data.num_units
        self._bits = np.empty((data.num_masks, -(-data.num_units // 8)), dtype=np.uint8)
        for masks, keep in data.chunks(seed):
            self._bits[masks] = np.packbits(~keep.numpy(), axis=1)

    def rows(self, masks: np.ndarray, units: np.ndarray) -> Iterator[Tensor]:
        """Unpack the indicators of some masks, a few at a time: float32 [m, units]."""
        for start in range(0, len(masks), _ROWS):
            bits = np.unpackbits(self._bits[masks[start : start + _ROWS]], axis=1)
            yield torch.from_numpy(bits[:, units].astype(np.float32))

    def columns(self, units: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        """Unpack the indicators of some units, a few at a time: a slice of them, float32 [M, u]."""
        for start in range(0, len(units), _COLUMNS):
            some = units[start : start + _COLUMNS]
            first = some[0] // 8  # units are in ascending order
            bits = np.unpackbits(self._bits[:, first : some[-1] // 8 + 1], axis=1)
            yield (
                slice(start, start + len(some)),
                torch.from_numpy(bits[:, some - 8 * first].astype(np.float32)),
            )


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What generalised cross-validation needs to know of regressions on the same masks.

    Args:
        values: float64 [r], eigenvalues of the normal matrix.
        weights: float64 [r, v], how much of each squared target lies in each direction.
        multiplicity: float64 [r], how many directions each stands for.
        rest: float64 [v], what of the squared targets lies in none.
        total: float64 [v], the squared targets, centred.
        left: masks that are fitted, less the one that the intercept takes.
    """

    values: Tensor
    weights: Tensor
    multiplicity: Tensor
    rest: Tensor
    total: Tensor
    left: float

    def scores(self, penalties: Tensor) -> Tensor:
        """Return the logarithms of the criterion under penalties [p], summed over targets: [p].

        Targets that never change say nothing.
        """
        shrunk = penalties[:, None] / (self.values + penalties[:, None])  # [p, r]
        residual = shrunk**2 @ self.weights + self.rest  # [p, v]
        freedom = self.left - ((1 - shrunk) * self.multiplicity).sum(1)
        freedom = freedom.clamp(min=1e-9 * self.left)
        changing = self.total > 0
        share = residual[:, changing] / self.total[changing]
        return (share.clamp(min=1e-30).log() - 2 * freedom.log()[:, None]).sum(1)


def common_penalty(spectra: Sequence[Spectrum]) -> float:
    """Choose one penalty for all regressions by generalised cross-validation.

    The criterion (Golub, Heath and Wahba 1979) estimates the error of a regression; the sum of its
    logarithms weighs videos whose scores vary much and little alike.
    """
    largest = max((float(one.values.max()) for one in spectra if len(one.values)), default=0.0)
    if largest <= 0:
        return 1.0
    penalties = _PENALTIES * largest
    scores = torch.stack([one.scores(penalties) for one in spectra]).sum(0)
    return float(penalties[int(scores.argmin())])


class Regression:
    """Ridge regressions on the removals of some units, centred, with a free intercept.

    Args:
        removals: of all masks.
        units: int64 [u], ascending: the columns that are fitted.
    """

    def __init__(self, removals: Removals, units: np.ndarray) -> None:
        self._removals, self.units = removals, units
        count, masks = len(units), removals.num_masks
        self._primal = count <= min(masks, DENSE)
        self._dual = not self._primal and masks <= DENSE
        if self._primal:
            self._products = self._unit_products(np.arange(masks))
        elif self._dual:
            self._kernel = torch.zeros(masks, masks, dtype=torch.float64)
            for _, block in removals.columns(units):
                self._kernel += (block @ block.T).double()

    @property
    def num_bytes(self) -> int:
        """Memory that its matrix takes."""
        if self._primal:
            return sum(one.nbytes for one in self._products)
        return self._kernel.nbytes if self._dual else 0

    def coefficients(
        self, y: Tensor, used: np.ndarray, penalty: float
    ) -> Iterator[tuple[int, Tensor]]:
        """Fit targets on several choices of masks.

        Args:
            y: float64 [M, v], the targets.
            used: bool [M, k], the masks of each fit.
            penalty: on the squared coefficients.

        Yields:
            The index of the choice, and the coefficients float64 [u, v].
        """
        if self._primal or self._dual:
            fit = self._fit_primal if self._primal else self._fit_dual
            for i in range(used.shape[1]):
                yield i, fit(y, used[:, i], penalty)
            return
        fits, targets = used.shape[1], y.shape[1]
        masks = torch.from_numpy(used).repeat_interleave(targets, dim=1)
        duals = self._by_conjugate_gradients(y.repeat(1, fits), masks, penalty)
        for i in range(fits):
            yield i, self._from_dual(duals[:, i * targets : (i + 1) * targets])

    def table(self) -> np.ndarray:
        """Unpack the indicators of removal of its units: float64 [M, u]."""
        pieces = [block for _, block in self._removals.columns(self.units)]
        found: np.ndarray = torch.cat(pieces, dim=1).double().numpy()
        return found

    def predict(self, coefficients: Tensor) -> Tensor:
        """Multiply the removals of all masks with coefficients [u, k]: float64 [M, k]."""
        result = torch.zeros(self._removals.num_masks, coefficients.shape[1], dtype=torch.float64)
        for some, block in self._removals.columns(self.units):
            result += block.double() @ coefficients[some]
        return result

    def _unit_products(self, masks: np.ndarray) -> tuple[Tensor, Tensor]:
        """How often units are removed together [u, u], and alone [u], by some masks."""
        count = len(self.units)
        together = torch.zeros(count, count, dtype=torch.float64)
        alone = torch.zeros(count, dtype=torch.float64)
        for block in self._removals.rows(masks, self.units):
            together += (block.T @ block).double()
            alone += block.sum(0).double()
        return together, alone

    def _normal(self, masks: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the centred normal matrix [u, u] and the mean removals [u] of some masks."""
        together, alone = self._products
        left_out = np.flatnonzero(~masks)
        if len(left_out):
            others = self._unit_products(left_out)
            together, alone = together - others[0], alone - others[1]
        mean = alone / float(masks.sum())
        return together - torch.outer(alone, mean), mean

    def _correlate(self, y: Tensor, masks: np.ndarray) -> Tensor:
        """Multiply the removals with centred targets of some masks: [u, k]."""
        result = torch.zeros(len(self.units), y.shape[1], dtype=torch.float64)
        indices = np.flatnonzero(masks)
        start = 0
        for block in self._removals.rows(indices, self.units):
            result += block.T.double() @ y[start : start + len(block)]
            start += len(block)
        return result

    def _fit_primal(self, y: Tensor, masks: np.ndarray, penalty: float) -> Tensor:
        normal, _ = self._normal(masks)
        normal.diagonal().add_(penalty)
        target = self._correlate(_centred(y[torch.from_numpy(masks)]), masks)
        return torch.cholesky_solve(target, torch.linalg.cholesky(normal))

    def _centred_kernel(self, masks: np.ndarray) -> Tensor:
        rows = torch.from_numpy(np.flatnonzero(masks))
        kernel = self._kernel[rows][:, rows]
        return _centred(_centred(kernel).T)

    def _fit_dual(self, y: Tensor, masks: np.ndarray, penalty: float) -> Tensor:
        kernel = self._centred_kernel(masks)
        kernel.diagonal().add_(penalty)
        rows = torch.from_numpy(masks)
        solved = torch.cholesky_solve(_centred(y[rows]), torch.linalg.cholesky(kernel))
        dual = torch.zeros_like(y)
        dual[rows] = _centred(solved)
        return self._from_dual(dual)

    def _from_dual(self, dual: Tensor) -> Tensor:
        """Multiply the transposed removals with [M, k], whose columns sum to 0: [u, k]."""
        result = torch.empty(len(self.units), dual.shape[1], dtype=torch.float64)
        for some, block in self._removals.columns(self.units):
            result[some] = block.T.double() @ dual
        return result

    def spectrum(self, y: Tensor, used: np.ndarray) -> Spectrum:
        """Decompose what generalised cross-validation needs to know of regressions.

        Args:
            y: float64 [M, v], the targets.
            used: bool [M], the masks that are fitted.
        """
        target = _centred(y[torch.from_numpy(used)])
        if not (self._primal or self._dual):
            return self._quadrature(y, used)
        if self._primal:
            values, vectors = torch.linalg.eigh(self._normal(used)[0])
            products = (vectors.T @ self._correlate(target, used)) ** 2
        else:
            values, vectors = torch.linalg.eigh(self._centred_kernel(used))
            products = (vectors.T @ target) ** 2
        kept = values > 1e-10 * values.amax() if len(values) else values > 0
        values, weights = values[kept], products[kept]
        if self._primal:
            weights = weights / values[:, None]
        total = (target**2).sum(0)
        rest = (total - weights.sum(0)).clamp(min=0)
        left = float(used.sum()) - 1
        return Spectrum(values, weights, torch.ones_like(values), rest, total, left)

    def _apply_kernel(self, vectors: Tensor, used: Tensor) -> Tensor:
        """Multiply the centred kernel of the used masks with [M, k], without making it."""
        inner = _centred_on(vectors, used)
        result = torch.zeros_like(vectors)
        for _, block in self._removals.columns(self.units):
            wide = block.double()
            result += wide @ (wide.T @ inner)
        return _centred_on(result, used)

    def _by_conjugate_gradients(self, y: Tensor, used: Tensor, penalty: float) -> Tensor:
        """Solve (kernel + penalty) a = y for all columns side by side: [M, k].

        Together they are one system, whose matrix holds their kernels along its diagonal: a pass
        over the masks serves all of them.
        """
        target = _centred_on(y, used)
        scale = target.square().sum(0).sqrt()
        target /= torch.where(scale > 0, scale, 1.0)  # so that none is solved for another's sake

        def apply(vector: np.ndarray) -> np.ndarray:
            columns = torch.from_numpy(vector).view_as(target)
            product: np.ndarray = (
                self._apply_kernel(columns, used).add_(columns, alpha=penalty).numpy()
            )
            return product.reshape(-1)

        matrix = scipy.sparse.linalg.LinearOperator(
            (target.numel(), target.numel()), matvec=apply, dtype=np.float64
        )
        solved, _ = scipy.sparse.linalg.cg(
            matrix, target.flatten().numpy(), rtol=1e-10, maxiter=500
        )
        return _centred_on(torch.from_numpy(solved).view_as(target) * scale, used)

    def _quadrature(self, y: Tensor, used: np.ndarray) -> Spectrum:
        """Estimate the spectrum by Lanczos quadrature (Golub, Meurant 2010): see `spectrum`."""
        generator = torch.Generator().manual_seed(0)
        probes = torch.randint(0, 2, (len(y), _PROBES), generator=generator, dtype=torch.float64)
        targets = y.shape[1]
        rows = torch.from_numpy(used)[:, None].expand(-1, targets + _PROBES)
        start = _centred_on(torch.cat([y, 2 * probes - 1], dim=1), rows)
        nodes, weights = self._lanczos(start, rows)
        of_probes = weights[targets:].flatten() / _PROBES  # squares average to the trace
        values = nodes.flatten().clamp(min=0)
        steps = nodes.shape[1]
        on_target = torch.zeros(len(values), targets, dtype=torch.float64)
        for i in range(targets):
            on_target[i * steps : (i + 1) * steps, i] = weights[i]
        multiplicity = torch.cat([torch.zeros(targets * steps, dtype=torch.float64), of_probes])
        total = start[:, :targets].square().sum(0)
        left = float(used.sum()) - 1
        return Spectrum(values, on_target, multiplicity, torch.zeros(targets).double(), total, left)

    def _lanczos(self, start: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """Return nodes and weights [k, steps] of the quadratures that vectors [M, k] define.

        The recurrence is written out: SciPy's Lanczos methods keep their tridiagonal matrix, whose
        eigenvalues and first eigenvector components these are, to themselves.
        """
        squares = (start**2).sum(0)
        current, before = start / squares.sqrt().clamp(min=1e-300), torch.zeros_like(start)
        beta = torch.zeros(start.shape[1], dtype=torch.float64)
        steps = min(_STEPS, start.shape[0] - 1)
        diagonal, beside = [], []
        for _ in range(steps):
            product = self._apply_kernel(current, used) - beta * before
            alpha = (current * product).sum(0)
            product -= alpha * current
            beta = (product**2).sum(0).sqrt()
            diagonal.append(alpha)
            beside.append(beta)
            before, current = current, product / beta.clamp(min=1e-300)
        main, off = torch.stack(diagonal, 1).numpy(), torch.stack(beside, 1)[:, :-1].numpy()
        found = [scipy.linalg.eigh_tridiagonal(*one) for one in zip(main, off, strict=True)]
        nodes = torch.from_numpy(np.stack([values for values, _ in found]))
        first = torch.from_numpy(np.stack([vectors[0] for _, vectors in found]))
        return nodes, squares[:, None] * first**2


def _centred(columns: Tensor) -> Tensor:
    return columns - columns.mean(0, keepdim=True)


def _centred_on(columns: Tensor, used: Tensor) -> Tensor:
    """Centre each column over the rows used by it; the others become 0."""
    kept = torch.where(used, columns, 0.0)
    mean = kept.sum(0) / used.sum(0)
    return torch.where(used, kept - mean, 0.0)
