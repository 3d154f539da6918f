"""Faults, kills and damage over every verb: `python benchmarks/faults [faults] [damage]`.

What it finds that is not as it should be is printed, and counted in `results/`; with `--sample` a
few of each are tried, nothing is written, and the status says whether all went well.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from shim import Shim, preload

LIBRARY = preload()  # before anything heavy: the process begins anew

from _harness import RESULTS, Column, write  # noqa: E402
from damage import AREAS, try_damages  # noqa: E402
from inject import Found, inject  # noqa: E402
from signals import in_signals  # noqa: E402
from tasks import TASKS, Places  # noqa: E402

_FAULT_COLUMNS = [
    Column("task", "verb"),
    Column("faults", "faults"),
    Column("overcome", "done all the same"),
    Column("sentence", "a sentence"),
    Column("traceback", "no sentence"),
    Column("silent", "silent"),
    Column("lost", "lost or torn"),
    Column("left", "temporaries left"),
    Column("signals", "SIGKILL, SIGTERM, SIGSTOP"),
    Column("again", "not the same bytes afterwards"),
]
_DAMAGE_COLUMNS = [
    Column("what", "damage"),
    Column("tried", "tried"),
    Column("sentence", "refused in a sentence"),
    Column("harmless", "harmless"),
    Column("believed", "believed"),
    Column("traceback", "no sentence"),
    Column("silent", "silent"),
]


def try_faults(places: Places, arguments: argparse.Namespace) -> bool:
    """Try all faults and signals of the verbs; return whether all went well."""
    draw, rows, bad = random.Random(arguments.seed), [], []
    for task in TASKS:
        if arguments.tasks and task.name not in arguments.tasks:
            continue
        failed = list(inject(Shim(LIBRARY), places, task, arguments.share, draw))
        hit = list(in_signals(Shim(LIBRARY), places, task, arguments.signals, draw))
        rows.append(_fault_row(task.name, failed, hit))
        bad += [found for found in (*failed, *hit) if not found.is_good]
        print(rows[-1], flush=True)
    for found in bad:
        print(found, flush=True)
    if not arguments.sample:
        note = (
            "Every open, read, write, fsync, rename, link, unlink, mkdir and mmap below the "
            "folder of a small run made to fail in turn (EIO, ENOSPC, EINTR, EMFILE, ENOMEM, EPERM "
            "of a link, half of a read or write), then the same command again; and signals at "
            "operations drawn by lot. Left temporaries: where a file could not be removed, or the "
            "process was killed, they go with the next command. "
            f"Seed {arguments.seed}, share {arguments.share:g}."
        )
        found = [[one.task, one.fault, one.number, one.outcome] for one in bad]
        rows, found = _with_others(note, rows, found)
        write("faults", rows, _FAULT_COLUMNS, note=note, details={"bad": found})
    return not bad


def _with_others(
    note: str, rows: list[dict[str, Any]], bad: list[list[Any]]
) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """Add what an earlier call of the same seed and share found of verbs not tried by this one."""
    path = RESULTS / "faults.json"
    before = json.loads(path.read_text()) if path.is_file() else {"note": ""}
    if before["note"] != note:
        return rows, bad
    tried = {row["task"] for row in rows}
    kept = [row for row in before["rows"] if row["task"] not in tried]
    order = [task.name for task in TASKS]
    rows = sorted([*kept, *rows], key=lambda row: order.index(row["task"]))
    return rows, [one for one in before["details"]["bad"] if one[0] not in tried] + bad


def _fault_row(task: str, failed: list[Found], hit: list[Found]) -> dict[str, Any]:
    outcomes = Counter(found.outcome for found in failed)
    both = [*failed, *hit]
    return {
        "task": task,
        "faults": len(failed),
        **{name: outcomes[name] for name in ("overcome", "sentence", "traceback", "silent")},
        "lost": sum(bool(found.lost or found.torn) for found in both),
        "left": sum(bool(found.left) for found in failed if not found.fault.startswith("unlink")),
        "signals": len(hit),
        "again": sum(bool(found.again) for found in both)
        + sum(found.outcome in ("traceback", "silent") for found in hit),
    }


def try_all_damages(places: Places, arguments: argparse.Namespace) -> bool:
    """Damage all files; return whether nothing was silent, and all was said in sentences."""
    draw = random.Random(arguments.seed)
    counts: dict[str, Counter[str]] = {}
    bad: Counter[tuple[str, str, str, str]] = Counter()
    for area in AREAS:
        for file, what, outcome, words in try_damages(
            places, area, arguments.flips, arguments.damage_share, draw
        ):
            counts.setdefault(what, Counter())[outcome] += 1
            if outcome in ("traceback", "silent"):
                bad[file, what, outcome, words[-1200:]] += 1
        print(area.name, {what: dict(count) for what, count in counts.items()}, flush=True)
    for (file, what, outcome, words), number in bad.items():
        print(f"{number} x {file} {what}: {outcome}\n{words}", flush=True)
    if not arguments.sample:
        keys = [column.key for column in _DAMAGE_COLUMNS[2:]]
        rows = [
            {"what": what, "tried": count.total(), **{key: count[key] for key in keys}}
            for what, count in counts.items()
        ]
        write(
            "damage", rows, _DAMAGE_COLUMNS,
            note="Every file of a run with its control, two rankings and curves, of a Rosetta "
            "result, a pruned model and the masks of a data set. Swapped: with each other file of "
            "its kind; of another run: the same file of a run of another model. Forged: a value or "
            "a name of a sealed document replaced by absurd sizes, wrong types and paths that lead "
            "out of the folder, and sealed again, which nothing tells from a true one. "
            f"Seed {arguments.seed}, {arguments.flips} flips a file, "
            f"share {arguments.damage_share:g}.",
            details={"bad": [[file, what, outcome] for file, what, outcome, _ in bad]},
        )  # fmt: skip
    return not bad


def main() -> int:
    """Try what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["faults", "damage"])
    parser.add_argument("--tasks", nargs="*")
    parser.add_argument("--share", type=float, default=1.0, help="of the faults, drawn by lot")
    parser.add_argument("--damage-share", type=float, default=1.0)
    parser.add_argument("--signals", type=int, default=20, help="of each kind and verb")
    parser.add_argument("--flips", type=int, default=200, help="of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    good = []
    with tempfile.TemporaryDirectory(prefix="vtcd-faults-") as folder:
        places = Places(Path(folder).resolve())
        if "faults" in arguments.parts:
            good.append(try_faults(places, arguments))
        if "damage" in arguments.parts:
            good.append(try_all_damages(places, arguments))
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
