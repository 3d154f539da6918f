"""`vtcd show RUN`: what is in a run, and what can be done with it next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtcd_ops.commands.output import output
from vtcd_ops.common.errors import counted
from vtcd_ops.discovery.degenerate_heads import degenerate_heads
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.importance.curves import read_curves
from vtcd_ops.importance.importance import Importance
from vtcd_ops.rosetta_concepts.store import SUMMARY_FILE, load_rosetta


def show(path: Path) -> list[Importance]:
    """Print what a run, or a result of rosetta, holds; return the rankings of a run."""
    if (path / SUMMARY_FILE).is_file():
        found = load_rosetta(path)
        output.say(f"{path}: {found!r}")
        for row in found.summary():
            output.say(f"  {found.line(row)}")
        output.tell(path=str(path), kind="rosetta", summary=found.summary())
        output.hint(f"vtcd report {path}")
        return []
    run = load(path)
    for name, value in describe(run):
        output.say(f"{name + ':':<12}{value}")
    output.tell(**facts(run))
    output.hint(*next_commands(run))
    rankings = (run.importance(name) for name in run.importances())
    return [ranking for ranking in rankings if ranking is not None]


def facts(run: Run) -> dict[str, Any]:
    """Return what a run holds, as JSON holds it."""
    curves = read_curves(run)
    written = run.path / "report.html"
    return {
        "path": str(run.path),
        "kind": run.kind,
        "model": run.model["name"],
        "num_videos": len(run.videos),
        "num_frames": sorted({video.num_frames for video in run.videos}),
        "layers": list(run.layers),
        "heads": list(run.heads),
        "concepts": {part: len(run.units(part)) for part in run.parts},
        "degenerate_heads": {part: degenerate_of(run, part) for part in run.parts},
        "control": run.sanity is not None,
        "evidence": run.evidence() is not None,
        "rankings": list(run.importances()),
        "curves": None if curves is None else curves.name,
        "report": str(written) if written.is_file() else None,
        "next": [command.partition("#")[0].rstrip() for command in next_commands(run)],
    }


def degenerate_of(run: Run, part: str) -> list[list[int]]:
    """Return (layer, head) of the heads of whose concepts hardly any recurs."""
    heads = [[layer, head] for layer in run.layers for head in run.heads]
    return [head for head, is_one in zip(heads, degenerate_heads(run, part), strict=True) if is_one]


def describe(run: Run) -> list[tuple[str, str]]:
    """Return what a run holds, as (name, text)."""
    frames = sorted({video.num_frames for video in run.videos})
    span = str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    concepts = sum(len(run.units(part)) for part in run.parts)
    curves = read_curves(run)
    layers = "each of layers" if len(run.layers) > 1 else "layer"
    return [
        ("run", str(run.path)),
        ("model", run.model["name"]),
        ("videos", f"{len(run.videos)} of {span} frames"),
        ("heads", f"{len(run.heads)} in {layers} {', '.join(map(str, run.layers))}"),
        ("parts", ", ".join(run.parts)),
        ("concepts", str(concepts)),
        ("degenerate", _degenerate(run)),
        ("control", "none" if run.sanity is None else "a copy with random weights"),
        ("evidence", "none" if run.evidence() is None else "measured"),
        ("rankings", ", ".join(run.importances()) or "none"),
        ("curves", "none" if curves is None else curves.name),
        ("report", "report.html" if (run.path / "report.html").is_file() else "none"),
    ]


def _degenerate(run: Run) -> str:
    """The heads of whose concepts hardly any recurs."""
    found = [
        f"{part if len(run.parts) > 1 else ''} layer {layer} head {head}".strip()
        for part in run.parts
        for layer, head in degenerate_of(run, part)
    ]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return f"{', '.join(found[:4])}{more}: hardly any of their concepts recurs" if found else "none"


def next_commands(run: Run) -> list[str]:
    """Return the commands that make what a run does not have."""
    wanted = []
    if run.evidence() is None:
        wanted.append(f"vtcd evidence {run.path}   # what speaks for them, beside chance")
    if not run.importances():
        wanted.append(f"vtcd rank {run.path}       # which of them matter")
    elif read_curves(run) is None:
        wanted.append(f"vtcd curves {run.path}     # what is left without them")
    return [*wanted, f"vtcd report {run.path}     # see and share"]


def summary_of(run: Run) -> str:
    """Return a run in a line."""
    concepts = sum(len(run.units(part)) for part in run.parts)
    return f"{run.path}: {concepts} concepts of {counted(len(run.videos), 'video')}"
