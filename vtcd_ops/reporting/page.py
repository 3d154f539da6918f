"""The page: what was gathered, written into the templates as one HTML file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting.comparison import MARGIN, compare
from vtcd_ops.reporting.contents import FRAMES_PER_SECOND, Limits, gather
from vtcd_ops.reporting.figures import silhouette_figure
from vtcd_ops.reporting.importance import (
    IMPORTANCE,
    UNIQUENESS,
    importance_content,
    significant,
)
from vtcd_ops.reporting.quantities import CONCEPT_QUANTITIES, HEAD_QUANTITIES, Quantity, Values
from vtcd_ops.reporting.shown import ShownRun

_FORMAT = 1  # of the data in the page; docs/report.md describes it
_STYLES = ("page.css", "headmap.css", "clips.css", "importance.css")
_SCRIPTS = (
    "data.js",
    "contours.js",
    "clips.js",
    "headmap.js",
    "headview.js",
    "controls.js",
    "page.js",
)


@dataclass(frozen=True)
class Section:
    """A part of the page below the head map: a template and what it shows.

    A new one (curves, concepts shared by models) is one template and one entry in `_sections`.
    """

    id: str
    title: str
    template: str
    content: Any


def render_page(run: Run, limits: Limits, progress: bool) -> str:
    """Write the whole report of a run into one HTML text.

    Args:
        run: The run.
        limits: What bounds the size of the page.
        progress: Show progress bars.

    Returns:
        HTML that needs no other file. The same run and limits give the same text.
    """
    shown, videos, sheets = gather(run, limits, progress)
    heads = shown[0].heads
    known = (IMPORTANCE, *HEAD_QUANTITIES, MARGIN, UNIQUENESS)
    of_head = _defined(known, [head.values for head in heads])
    known = (IMPORTANCE, *CONCEPT_QUANTITIES)
    of_concept = _defined(known, [values for head in heads for values in head.concepts])
    document = {
        "format": _FORMAT,
        "framesPerSecond": FRAMES_PER_SECOND,
        "headQuantities": [asdict(quantity) for quantity in of_head],
        "conceptQuantities": [asdict(quantity) for quantity in of_concept],
        "videos": videos,
        "runs": [
            {"id": view.id, "title": view.title, "heads": [h.document() for h in view.heads]}
            for view in shown
        ],
    }
    template = environment().get_template("page.html.j2")
    return template.render(
        run=run,
        shown=shown,
        name=short_name(run.model["name"]),
        facts=_facts(run, shown),
        provenance=_provenance(run),
        notes=_notes(run, len(videos)),
        head_quantities=of_head,
        concept_quantities=of_concept,
        sections=_sections(run, shown),
        document=script_json(document),
        sheets=sheets,
        styles="\n".join(asset(name) for name in _STYLES),
        scripts="\n".join(asset(name) for name in _SCRIPTS),
    )


def short_name(name: str) -> str:
    """Leave out a model's options, and the folders of one that was read from the disk.

    >>> short_name("hf_dinov2:/home/me/weights/small"), short_name("google/vivit-b?image_size=64")
    ('hf_dinov2:small', 'google/vivit-b')
    """
    family, colon, source = name.partition("?")[0].rpartition(":")
    return family + colon + (Path(source).name if Path(source).is_absolute() else source)


def _defined(quantities: tuple[Quantity, ...], values: list[Values]) -> list[Quantity]:
    """Leave out what the run does not have at all, such as silhouettes of foreign concepts."""
    return [q for q in quantities if any(each.get(q.key) is not None for each in values)]


def _sections(run: Run, shown: list[ShownRun]) -> list[Section]:
    control = shown[1] if len(shown) > 1 else None
    comparisons = [
        {
            "part": part,
            "numbers": compare(shown[0], control, part) if control else None,
            "figure": silhouette_figure(shown, part),
        }
        for part in run.parts
    ]
    importance = importance_content(run)
    ranked = Section("importance", "Importance", "importance.html.j2", importance)
    return [
        *([] if importance is None else [ranked]),
        Section("control", "Sanity control", "control.html.j2", comparisons),
        Section("concepts", "All concepts", "concepts.html.j2", shown[0]),
        Section("settings", "Settings", "settings.html.j2", _settings(run)),
    ]


def _facts(run: Run, shown: list[ShownRun]) -> list[tuple[str, str]]:
    """Return what the header counts: (number, noun) each."""
    concepts = sum(len(head.concepts) for head in shown[0].heads)
    counts = [
        (len(run.videos), "video"),
        (len(run.layers), "layer"),
        (len(shown[0].heads), "head"),
        (concepts, "concept"),
    ]
    return [(f"{number:,}", noun + ("" if number == 1 else "s")) for number, noun in counts]


def _provenance(run: Run) -> str:
    """Say in one line what was looked at, and with what."""
    frames = sorted({video.num_frames for video in run.videos})
    span = str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    made_with = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    return f"{', '.join(run.parts).capitalize()} · {span} frames a video · {made_with}"


def _notes(run: Run, num_shown: int) -> list[str]:
    """Return what a reader must know before believing the page."""
    notes = []
    if ":mini-" in run.model["name"]:
        notes.append(
            "This is a miniature model, trained on rendered scenes so that everything here can be "
            "tried in minutes. It shows how the method works, and nothing about full-size models."
        )
    if run.model.get("num_frames") == 1:
        notes.append(
            "This is an image model: it saw every frame by itself. Its concepts follow things "
            "through time only as far as they look alike from frame to frame."
        )
    if num_shown < len(run.videos):
        notes.append(
            f"Clips are shown from {num_shown} of the {len(run.videos)} videos, those that most "
            "concepts are best seen in; all numbers are from all videos."
        )
    return notes


def _settings(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Flatten what identifies the run into tables of (name, value)."""
    tables = (("Model", run.model), ("Settings", run.settings), ("Versions", run.versions))
    return [(title, _rows(values)) for title, values in tables]


def _rows(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in sorted(values.items()):
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            rows.append((prefix + name, text))
    return rows


def script_json(document: dict[str, Any]) -> str:
    """Write JSON that cannot end the script element it stands in."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def asset(name: str) -> str:
    """Return a style or script of the page."""
    return files("vtcd_ops.reporting").joinpath("static", name).read_text(encoding="utf-8")


def _write_number(value: float | None, style: str) -> str:
    """Write a quantity the way the page's scripts do."""
    if value is None:
        return "–"
    if style == "percent":
        return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"
    if style == "count":
        return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before a zero


def environment() -> Any:
    """Return the environment that all templates are rendered in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vtcd_ops.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["significant"] = significant
    environment.filters["number"] = _write_number
    return environment
