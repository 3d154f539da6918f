"""What is put in place of a removed concept: which ranks the four miniatures best, on new videos.

    python benchmarks/bench_replace.py --work WORK

Concepts are ranked on some clips under each replacement, and by integrated gradients; curves follow
the orders on other clips of the run, under each replacement again. A ranking is the better the
further the curve that removes the least important first lies above the one that removes the most
important first. WORK keeps runs, scores and curves; a killed benchmark goes on from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Column, threads, write
from _miniature import METRICS, Miniature
from scipy.integrate import trapezoid

import vtcd_ops
from reproduce.models import ROLES
from vtcd_ops.importance.comparisons import compare_units
from vtcd_ops.importance.replacements import REPLACEMENTS

NUM_MASKS, POINTS, STEPS = 64, 6, 8


def gaps(role: str, work: Path, num_videos: int) -> dict[tuple[str, str], np.ndarray]:
    """Area between the two curves of each new video, [V], by how it was ranked and removed."""
    miniature = Miniature(role, work)
    run, adapter, samples = miniature.run, miniature.adapter, miniature.samples
    ranked, new = samples[::2][:num_videos], samples[1::2][:num_videos]
    ask: dict[str, Any] = {"metric": miniature.metric, "masks_per_forward": 16, "progress": False}
    names = {}
    for replace in REPLACEMENTS:
        one = vtcd_ops.rank(
            run, adapter, ranked, num_masks=NUM_MASKS, stop_at=None, replace=replace,
            name=f"replace-{replace}", **ask,
        )  # fmt: skip
        names[replace] = one.name
    one = vtcd_ops.rank(
        run,
        adapter,
        ranked,
        method="integrated_gradients",
        num_steps=STEPS,
        name="gradients",
        **ask,
    )
    names["integrated gradients"] = one.name
    found = {}
    for removed in REPLACEMENTS:
        curves = vtcd_ops.curves(
            run, adapter, new, rankings=list(names.values()), num_points=POINTS, num_random=0,
            replace=removed, name=f"replace-{removed}", **ask,
        )  # fmt: skip
        for how, name in names.items():
            gap = curves.scores[name, "negative"] - curves.scores[name, "positive"]
            found[how, removed] = trapezoid(gap, curves.fractions, axis=1)
    return found


def rows_of(role: str, found: dict[tuple[str, str], np.ndarray]) -> list[dict[str, Any]]:
    """A row a ranking."""
    rows = []
    for how in dict.fromkeys(how for how, _ in found):
        row: dict[str, Any] = {"model": f"`{ROLES[role].miniature}`", "ranked": how}
        row |= {removed: float(found[how, removed].mean()) for removed in REPLACEMENTS}
        row["above"], row["p"] = ahead(found, how, "integrated gradients", "zero")
        row["over"], row["over_p"] = ahead(found, how, "zero", how)
        rows.append(row)
    return rows


def ahead(
    found: dict[tuple[str, str], np.ndarray], how: str, other: str, removed: str
) -> tuple[str | None, float | None]:
    """How far one ranking lies above another by the same removal, and its p-value."""
    if how == other or removed not in REPLACEMENTS:
        return None, None
    compared = compare_units(found[how, removed] - found[other, removed])
    words = f"{compared.difference:+.3f} [{compared.low:+.3f}, {compared.high:+.3f}]"
    return words, compared.p_value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/replace"))
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--models", nargs="+", choices=tuple(METRICS), default=list(METRICS))
    arguments = parser.parse_args()
    rows = []
    with threads(1):
        for role in arguments.models:
            rows += rows_of(role, gaps(role, arguments.work, arguments.videos))
            print(*rows[-4:], sep="\n", flush=True)
            write(
                "replace",
                rows,
                [
                    Column("model", "model"),
                    Column("ranked", "ranked under"),
                    *(Column(name, f"{name} put in place", "{:.3f}") for name in REPLACEMENTS),
                    Column("above", "zero put in place, above integrated gradients"),
                    Column("p", "p", "{:.2f}"),
                    Column("over", "its own put in place, above the ranking under zeros"),
                    Column("over_p", "p", "{:.2f}"),
                ],
                note="Area between the curves that remove the least and the most important "
                f"concepts first, larger is better, on {arguments.videos} clips that were not "
                f"ranked on; {arguments.videos} others were, with {NUM_MASKS} masks and as many "
                f"gradients each, or integrated gradients of {STEPS} steps under zeros; curves of "
                f"{POINTS} steps. Intervals of 95 % over clips, p by changing signs (least "
                f"possible: {2.0 ** (1 - arguments.videos):.2f}).",
            )


if __name__ == "__main__":
    main()
