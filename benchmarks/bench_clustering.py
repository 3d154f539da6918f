"""kmeans and silhouette against scikit-learn, on the same data with the same number of restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import tubelet_data
from _harness import Column, measure, threads, write
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples

import vtcd_ops

SIZES = ((360, 3), (360, 6), (360, 12), (700, 8), (5000, 8))
HEADS = 8
RESTARTS = 10


def repeated(num_different: int, num_rows: int) -> np.ndarray:
    """Return a few Gaussian rows, drawn again and again, float32 [N, 16]."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(num_different, 16)).astype(np.float32)
    return rows[random.integers(num_different, size=num_rows)]


def kmeans_row(
    matrices: list[np.ndarray], k: int, case: str = "kmeans, N = {:,}, k = {}"
) -> dict[str, Any]:
    data = [torch.from_numpy(matrix) for matrix in matrices]
    ours = vtcd_ops.kmeans(data, k)
    theirs = [KMeans(k, n_init=RESTARTS, random_state=0).fit(matrix) for matrix in matrices]
    ratios = [
        float(a.inertia) / b.inertia_ if b.inertia_ > 1e-6 else 1 + float(a.inertia)
        for a, b in zip(ours, theirs, strict=True)
    ]  # as far above 1 as ours is above 0 where theirs is 0
    timing = measure(lambda: vtcd_ops.kmeans(data, k), repeats=7, budget_s=4)
    rival = measure(
        lambda: [KMeans(k, n_init=RESTARTS, random_state=0).fit(matrix) for matrix in matrices],
        repeats=3, warmup=0, budget_s=4,
    )  # fmt: skip
    spread = f"{np.mean(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})"
    return {
        "case": case.format(len(matrices[0]), k),
        "agreement": f"inertia {spread} of theirs",
        "ours_ms": timing.median / len(matrices),
        "theirs_ms": rival.median / len(matrices),
        "speed": rival.median / timing.median,
    }


def silhouette_row(matrix: np.ndarray, k: int) -> dict[str, Any]:
    data = torch.from_numpy(matrix)
    labels = vtcd_ops.kmeans(data, k, num_restarts=1).labels
    ours = vtcd_ops.silhouette(data.double(), labels).numpy()
    theirs = silhouette_samples(matrix.astype(np.float64), labels.numpy())
    timing = measure(lambda: vtcd_ops.silhouette(data, labels), repeats=9, budget_s=4)
    rival = measure(lambda: silhouette_samples(matrix, labels.numpy()), repeats=9, budget_s=4)
    return {
        "case": f"silhouette, N = {len(matrix):,}, k = {k}",
        "agreement": f"largest difference {np.abs(ours - theirs).max():.0e}",
        "ours_ms": timing.median,
        "theirs_ms": rival.median,
        "speed": rival.median / timing.median,
    }


def main() -> None:
    tubelets = tubelet_data.load()
    rows = []
    with threads(1):
        for num_rows, k in SIZES:
            matrices = [head[:num_rows] for head in tubelets.heads if len(head) >= num_rows][:HEADS]
            if not matrices:
                matrices = [tubelets.tokens[:num_rows]]
            rows.append(kmeans_row(matrices, k))
            rows.append(silhouette_row(matrices[0], k))
        for k in (10, 50):
            case = "kmeans, N = {:,}, 20 different rows, k = {}"
            rows.append(kmeans_row([repeated(20, 2000)], k, case))
    write(
        "clustering",
        sorted(rows, key=lambda row: row["case"].split(",")[0]),
        [
            Column("case", "case"),
            Column("agreement", "agreement with scikit-learn"),
            Column("ours_ms", "ours, ms", "{:.2f}"),
            Column("theirs_ms", "scikit-learn, ms", "{:.2f}"),
            Column("speed", "times faster", "{:.1f}"),
        ],
        note=f"Data: {tubelets.source}, float32; at 5,000 rows single tokens of one head. One "
        f"thread, {RESTARTS} restarts each; k-means is the mean over up to {HEADS} heads, which we "
        "cluster in one call. The rows of which 20 are different are Gaussian.",
    )


if __name__ == "__main__":
    main()
