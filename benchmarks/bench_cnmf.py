"""cnmf: coordinate descent against multiplicative updates, from the same start.

Twenty problems, 100 to 1,000 tubelets, 3 to 12 concepts. The error that 10,000 multiplicative
updates reach is computed in full; their time is that of 300 updates, scaled, because every update
costs the same once subnormal numbers are flushed. So is the time of the updates as they have been
published (pymf), which form an N x N product and the error in every update; their numbers are not
flushed, which makes late updates slower still than is counted here.

    python benchmarks/bench_cnmf.py [--cache ERRORS.json]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tubelet_data
from _harness import Column, Timing, measure, threads, write

import vtcd_ops

UPDATES = 10_000
TIMED_UPDATES = 300
TIMED_PUBLISHED_UPDATES = 40
SCALE_ROWS = (750, 1500, 3000, 6000, 12_000)
SCALE_SWEEPS = 20


@dataclass(frozen=True)
class Problem:
    """A matrix float32 [N, 64], its number of concepts, and the labels int32 [N] to start from."""

    data: torch.Tensor
    k: int
    labels: torch.Tensor


def problems(heads: list[np.ndarray]) -> list[Problem]:
    """Return twenty problems of different heads, N from 100 to 1,000 in equal ratios."""
    found = []
    for i, num_rows in enumerate(np.geomspace(100, 1000, 20).round().astype(int)):
        matrix = heads[(11 * i) % len(heads)][:num_rows]
        data, k = torch.from_numpy(matrix), 3 + (7 * i) % 10
        found.append(Problem(data, k, vtcd_ops.kmeans(data, k).labels))
    return found


def multiplicative_errors(problems: list[Problem], cache: Path | None) -> list[float]:
    """Return the error of each problem after 10,000 multiplicative updates."""
    if cache is not None and cache.exists():
        return json.loads(cache.read_text())
    # Each thread has a part of the list: every second one first, as the last take half of all time.
    order = [*range(0, len(problems), 2), *range(1, len(problems), 2)]
    found = vtcd_ops.cnmf(
        [problems[index].data for index in order],
        [problems[index].k for index in order],
        init=[problems[index].labels for index in order],
        solver="mu",
        max_num_iter=UPDATES,
        tol=0,
    )
    of_index = dict(zip(order, found, strict=True))
    errors = [float(of_index[index].error) for index in range(len(problems))]
    if cache is not None:
        cache.write_text(json.dumps(errors))
    return errors


def published_updates(problem: Problem, num_iter: int) -> None:
    """Run the multiplicative updates in the order of operations of their published code."""
    x = problem.data.double().numpy().T  # [C, N]
    members = problem.labels.numpy()[:, None] == np.arange(problem.k)
    encoding = members + 0.2
    weights = encoding / np.maximum(members.sum(0), 1)
    gram = x.T @ x
    plus, minus = (np.abs(gram) + gram) / 2, (np.abs(gram) - gram) / 2
    for _ in range(num_iter):
        minus_weights, plus_weights = minus @ weights, plus @ weights
        outer = encoding @ weights.T  # [N, N]
        up, down = plus_weights + outer @ minus_weights, minus_weights + outer @ plus_weights
        encoding = encoding * np.sqrt(up / (down + 1e-9))
        square = encoding.T @ encoding
        up = plus @ encoding + minus_weights @ square
        down = minus @ encoding + plus_weights @ square
        weights = weights * np.sqrt(up / (down + 1e-9))
        np.linalg.norm(x - x @ weights @ encoding.T)


def seconds(timing: Timing, timed_updates: int) -> float:
    """Return the seconds of 10,000 updates, from the time of some."""
    return timing.median / 1e3 * UPDATES / timed_updates


def compare(problem: Problem, error: float) -> dict[str, Any]:
    """Return the row of one problem."""

    def solve(solver: str, **options: float) -> vtcd_ops.ConvexNMF:
        return vtcd_ops.cnmf(problem.data, problem.k, init=problem.labels, solver=solver, **options)

    found = solve("cd")
    descent = measure(lambda: solve("cd"), repeats=9, budget_s=1)
    updates = measure(
        lambda: solve("mu", max_num_iter=TIMED_UPDATES, tol=0), repeats=3, warmup=1, budget_s=2
    )
    published = measure(
        lambda: published_updates(problem, TIMED_PUBLISHED_UPDATES), repeats=3, warmup=1, budget_s=2
    )
    mu_s = seconds(updates, TIMED_UPDATES)
    published_s = seconds(published, TIMED_PUBLISHED_UPDATES)
    return {
        "rows": len(problem.data),
        "k": problem.k,
        "error_ratio": float(found.error) / error,
        "num_iter": int(found.num_iter),
        **descent.columns("cd"),
        "mu_s": mu_s,
        "published_s": published_s,
        "times_mu": 1e3 * mu_s / descent.median,
        "times_published": 1e3 * published_s / descent.median,
    }


def scaling(tubelets: tubelet_data.Tubelets) -> list[dict[str, Any]]:
    """Time a fixed number of sweeps on more and more rows, and all heads in one call."""
    rows = []
    order = np.random.default_rng(0).permutation(len(tubelets.tokens))
    for num_rows in SCALE_ROWS:
        data = torch.from_numpy(tubelets.tokens[order[:num_rows]])
        labels = vtcd_ops.kmeans(data, 8, num_restarts=1).labels

        def sweeps(data: torch.Tensor = data, labels: torch.Tensor = labels) -> object:
            return vtcd_ops.cnmf(data, 8, init=labels, max_num_iter=SCALE_SWEEPS, tol=0)

        times = {}
        for count in (1, 2):
            with threads(count):
                times[count] = measure(sweeps, repeats=5, budget_s=3).median
        rows.append(
            {
                "case": f"{SCALE_SWEEPS} sweeps, N = {num_rows:,}, k = 8",
                "one_thread_ms": times[1],
                "two_threads_ms": times[2],
                "us_per_row": 1e3 * times[1] / num_rows,
            }
        )
    parts = [part for head in tubelets.heads for part in (head[:360], head[-360:])]
    data = [torch.from_numpy(part) for part in parts]
    for case, call in {
        f"{len(data)} heads, N = 360, k = 6, from k-means": lambda: vtcd_ops.cnmf(data, 6),
        f"k of {len(data)} heads by the elbow": lambda: vtcd_ops.choose_num_concepts(data),
    }.items():
        times = {}
        for count in (1, 2):
            with threads(count):
                times[count] = measure(call, repeats=5, warmup=1, budget_s=4).median
        rows.append(
            {
                "case": case,
                "one_thread_ms": times[1],
                "two_threads_ms": times[2],
                "us_per_row": None,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, help="keeps the errors of the 10,000 updates")
    parser.add_argument("--errors-only", action="store_true", help="fill the cache and stop")
    arguments = parser.parse_args()
    tubelets = tubelet_data.load()
    cases = problems(tubelets.heads)
    errors = multiplicative_errors(cases, arguments.cache)
    if arguments.errors_only:
        return
    with threads(1):
        rows = [compare(case, error) for case, error in zip(cases, errors, strict=True)]
    ratios = [row["error_ratio"] for row in rows]
    write(
        "cnmf",
        rows,
        [
            Column("rows", "N"),
            Column("k", "k"),
            Column("error_ratio", "error / error of 10,000 updates", "{:.4f}"),
            Column("num_iter", "sweeps"),
            Column("cd_ms", "`cd`, ms", "{:.2f}"),
            Column("mu_s", "10,000 updates `mu`, s", "{:.2f}"),
            Column("published_s", "as published, s", "{:.1f}"),
            Column("times_mu", "`mu` / `cd`", "{:,.0f}"),
            Column("times_published", "published / `cd`", "{:,.0f}"),
        ],
        note=f"Data: {tubelets.source}; same start (k-means), one thread. `cd` runs until it "
        f"stops by itself. Error ratio: median {np.median(ratios):.4f}, worst {max(ratios):.4f}. "
        f"Times of 10,000 updates are scaled from {TIMED_UPDATES} (`mu`) and "
        f"{TIMED_PUBLISHED_UPDATES} (published, a NumPy replica of pymf's operations before "
        "subnormals slow it down).",
        details={"median_error_ratio": float(np.median(ratios)), "worst_error_ratio": max(ratios)},
    )
    write(
        "cnmf_scaling",
        scaling(tubelets),
        [
            Column("case", "case"),
            Column("one_thread_ms", "1 thread, ms", "{:.1f}"),
            Column("two_threads_ms", "2 threads, ms", "{:.1f}"),
            Column("us_per_row", "µs a row", "{:.2f}"),
        ],
        note=f"Data: {tubelets.source}; the rows of the first five are single tokens of one head.",
    )


if __name__ == "__main__":
    main()
