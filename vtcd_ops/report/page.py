# SPDX-License-Identifier: MIT
"""The page: what was gathered, written into the templates as one HTML file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from vtcd_ops.report.comparison import compare
from vtcd_ops.report.contents import FRAMES_PER_SECOND, Limits, gather, quantities_document
from vtcd_ops.report.figures import silhouette_figure

if TYPE_CHECKING:
    from vtcd_ops.report.contents import ShownRun
    from vtcd_ops.store import Run

_FORMAT = 1  # of the data in the page; docs/report.md describes it
_STYLES = ("page.css", "headmap.css", "clips.css")
_SCRIPTS = ("data.js", "contours.js", "clips.js", "headmap.js", "headview.js", "page.js")


@dataclass(frozen=True)
class Section:
    """A part of the page below the head map: a template and what it shows.

    A new one (curves, concepts shared by models) is one template and one entry in `_sections`.
    """

    id: str
    title: str
    template: str
    content: Any


def render_page(run: Run, limits: Limits) -> str:
    """Write the whole report of a run into one HTML text.

    Args:
        run: The run.
        limits: What bounds the size of the page.

    Returns:
        HTML that needs no other file. The same run and limits give the same text.
    """
    shown, videos, sheets = gather(run, limits)
    document = {
        "format": _FORMAT,
        "framesPerSecond": FRAMES_PER_SECOND,
        "quantities": quantities_document(),
        "videos": videos,
        "runs": [
            {"id": view.id, "title": view.title, "heads": [h.document() for h in view.heads]}
            for view in shown
        ],
    }
    template = _environment().get_template("page.html.j2")
    return template.render(
        run=run,
        shown=shown,
        model=shown[0],
        facts=_facts(run, shown),
        notes=_notes(run, len(videos)),
        quantities=document["quantities"],
        sections=_sections(run, shown),
        document=_script_json(document),
        sheets=sheets,
        styles="\n".join(_asset(name) for name in _STYLES),
        scripts="\n".join(_asset(name) for name in _SCRIPTS),
    )


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
    return [
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


def _notes(run: Run, num_shown: int) -> list[str]:
    """Return what a reader must know before believing the page."""
    notes = []
    if run.model.get("note"):
        notes.append(str(run.model["note"]))
    if num_shown < len(run.videos):
        notes.append(
            f"Clips are shown from {num_shown} of the {len(run.videos)} videos, those that most "
            "concepts are best seen in; all numbers are from all videos."
        )
    return notes


def _settings(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Flatten model and settings into tables of (name, value)."""
    tables = (("Model", run.model), ("Run", run.settings))
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


def _script_json(document: dict[str, Any]) -> str:
    """Write JSON that cannot end the script element it stands in."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return files("vtcd_ops.report").joinpath("static", name).read_text(encoding="utf-8")


def _write_number(value: float | None, style: str) -> str:
    """Write a quantity the way the page's scripts do."""
    if value is None:
        return "–"
    if style == "percent":
        return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"
    if style == "count":
        return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    return f"{value:.2f}".replace("-", "−")


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vtcd_ops.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _write_number
    return environment
