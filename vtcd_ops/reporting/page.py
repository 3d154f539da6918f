"""The page: what was gathered, written into the templates as one HTML file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import counted
from vtcd_ops.common.untrusted import without_controls
from vtcd_ops.concept_evidence.result import SummaryRow
from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting import palette
from vtcd_ops.reporting.charts import Figure, layer_figure
from vtcd_ops.reporting.comparison import MARGIN, Comparison, compare
from vtcd_ops.reporting.contents import FRAMES_PER_SECOND, Limits, gather
from vtcd_ops.reporting.evidence import add_evidence
from vtcd_ops.reporting.findings import by_layer, find
from vtcd_ops.reporting.importance import (
    IMPORTANCE,
    UNIQUENESS,
    importance_content,
    significant,
)
from vtcd_ops.reporting.measured_videos import measured_videos
from vtcd_ops.reporting.pruning import pruning_content
from vtcd_ops.reporting.quantities import (
    BEYOND,
    CONCEPT_QUANTITIES,
    HEAD_QUANTITIES,
    OVERLAP,
    PLACE,
    Quantity,
    Values,
)
from vtcd_ops.reporting.shown import Head, ShownRun

_FORMAT = 3  # of the data in the page; docs/report.md describes it
_STYLES = ("page.css", "headmap.css", "clips.css", "findings.css", "figures.css", "card.css")
_SCRIPTS = (
    "data.js",
    "contours.js",
    "clips.js",
    "controls.js",
    "exports.js",
    "names.js",
    "figures.js",
    "headmap.js",
    "enlarged.js",
    "card.js",
    "headview.js",
    "findings.js",
    "wall.js",
    "videos.js",
    "page.js",
)
# As JSON writes what `without_controls` takes out; before it, pairs of backslashes alone.
_CONTROLS_IN_JSON = re.compile(
    r"(?<!\\)((?:\\\\)*)\\(?=[bfr]|u(?:00[01]|007f|00[89]|061c|200[ef]|202[a-e]|206[6-9]))"
)
_MINIATURE = re.compile(r":mini(-|$)")
_GLOSSARY = (
    ("Tubelet", "A segment of space and time in which a head's vectors are alike; the smallest "
     "thing that concepts are made of."),
    ("Clip", "A concept's clips are those whose tubelets belong to it most clearly; \"middle\" is "
     "from the middle of that order, \"random\" drawn by lot."),
    ("Keys, queries, values, outputs", "The four vectors of a token in an attention head; those of "
     "the run are said above."),
    ("Tags", "What the simplest measures suggest, with the number beside that of chance: "
     "\"place\", the same part of the frame in every video; \"colour\", that colour predicts it; "
     "\"object\", that it covers the true object; \"background\", most of the frame; \"event\", "
     "one moment of the video. No names."),
    ("Standard error", "How far a number would scatter if its masks, or its videos, were drawn "
     "again; two of them to both sides hold it in 19 of 20 cases."),
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A part of the page: a template and what it shows.

    A new one is one template and one entry in `_sections`.
    """

    id: str
    title: str
    template: str
    content: Any


@dataclass(frozen=True)
class PartControl:
    """Model beside control for one part of the heads."""

    name: str
    numbers: Comparison | None
    evidence: list[SummaryRow]
    figures: list[Figure]


def render_page(run: Run, limits: Limits, names: dict[str, str], progress: bool) -> str:
    """Write the whole report of a run into one HTML text.

    Args:
        run: The run.
        limits: What bounds the size of the page.
        names: Of concepts, by address.
        progress: Show progress bars.

    Returns:
        HTML that needs no other file. The same arguments give the same text.
    """
    shown, videos, sheets = gather(run, limits, progress)
    heads = shown[0].heads
    measured = add_evidence(shown[0], [video["index"] for video in videos])
    known = (IMPORTANCE, *HEAD_QUANTITIES, MARGIN, UNIQUENESS)
    of_head = _defined(known, [head.values for head in heads])
    known = (IMPORTANCE, *CONCEPT_QUANTITIES, OVERLAP, BEYOND, PLACE, *measured)
    of_concept = _defined(known, [values for head in heads for values in head.concepts])
    findings = find(shown)
    document = {
        "format": _FORMAT,
        "run": run.model.get("sha256", "")[:16] + f"-{len(run.videos)}-{len(heads)}",
        "framesPerSecond": FRAMES_PER_SECOND,
        "palette": [[colour, palette.ink_on(colour)] for colour in palette.CONCEPTS],
        "ramps": {"plain": palette.RAMP, "diverging": palette.DIVERGING},
        "headQuantities": [asdict(quantity) for quantity in of_head],
        "conceptQuantities": [asdict(quantity) for quantity in of_concept],
        "telling": findings.telling,
        "names": names,
        "answers": _answers(run, videos),
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
        findings=findings,
        ranked=run.importance() is not None,
        head_quantities=of_head,
        concept_quantities=of_concept,
        glossary=_glossary((*of_head, *of_concept)),
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
    """The parts of the page, in the order of its navigation."""
    importance = importance_content(run)
    ranked = Section("importance", "Importance", "importance.html.j2", importance)
    pruned = pruning_content(run)
    smaller = Section("pruning", "Pruning", "pruning.html.j2", pruned)
    return [
        Section("findings", "Findings", "findings.html.j2", None),
        Section("heads", "Heads", "heads.html.j2", None),
        Section("concepts", "Concepts", "concepts.html.j2", None),
        Section("videos", "Videos", "videos.html.j2", None),
        *([] if importance is None else [ranked]),
        *([] if pruned is None else [smaller]),
        Section("control", "Control", "control.html.j2", _controls(run, shown)),
        Section("method", "Method", "method.html.j2", _settings(run)),
        Section("export", "⤓ Export", "export.html.j2", None),
    ]


def _controls(run: Run, shown: list[ShownRun]) -> list[PartControl]:
    """Numbers and figures of every part, beside the control where there is one."""
    found = []
    for part in run.parts:
        measures = (
            ("silhouettes", "Silhouette of every head", "Silhouette (−1 to 1)", "silhouette"),
            ("recurrence", "Videos of a concept", "Videos a concept occurs in (mean)", "videos"),
            ("numbers", "Concepts of a head", "Number of concepts", "concepts"),
        )
        figures = [
            layer_figure(f"{identifier}-{part}", title, axis, by_layer(shown, _of(part, key)))
            for identifier, title, axis, key in measures
        ]
        numbers = compare(shown[0], shown[1], part) if len(shown) > 1 else None
        evidence = run.evidence(part)
        measured = [] if evidence is None else evidence.summary()
        found.append(
            PartControl(part, numbers, measured, [each for each in figures if each is not None])
        )
    return found


def _of(part: str, key: str) -> Callable[[Head], float | None]:
    return lambda head: head.values[key] if head.part == part else None


def _answers(run: Run, videos: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The model's answer to every video of the page, in a run that was ranked."""
    importance = run.importance()
    if importance is None or "baseline" not in importance.tensors:
        return None
    of_video = {
        video["sha256"]: float(answer)
        for video, answer in zip(
            importance.settings["videos"], importance.tensors["baseline"], strict=True
        )
    }
    answers = [of_video.get(run.videos[video["index"]].sha256) for video in videos]
    return {
        "metric": importance.settings["metric"],
        "values": [None if answer is None else round(answer, 4) for answer in answers],
    }


def _glossary(quantities: tuple[Quantity, ...]) -> list[tuple[str, str]]:
    """Every word that the page explains, once."""
    found = dict(_GLOSSARY)
    for quantity in quantities:
        found.setdefault(quantity.label, quantity.explanation)
    return sorted(found.items())


def _facts(run: Run, shown: list[ShownRun]) -> list[str]:
    """Return what the header says of the run."""
    heads = shown[0].heads
    layers = run.model.get("num_layers")
    of = f" of {layers}" if layers and layers != len(run.layers) else ""
    frames = sorted({video.num_frames for video in run.videos})
    span = str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    return [
        f"{counted(len(run.videos), 'video')} × {span} frames",
        f"{len(run.layers)}{of} layers",
        counted(len(heads), "head"),
        counted(sum(len(head.concepts) for head in heads), "concept"),
    ]


def _provenance(run: Run) -> str:
    """Say in one line what was looked at, and with what."""
    frames = sorted({video.num_frames for video in run.videos})
    span = str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    made_with = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    return f"{', '.join(run.parts).capitalize()} · {span} frames a video · {made_with}"


def is_miniature(name: str) -> bool:
    """Whether a model is one of the bundled miniatures.

    >>> is_miniature("tcow:mini"), is_miniature("hf_videomae:mini-ssl"), is_miniature("a/minim")
    (True, True, False)
    """
    return _MINIATURE.search(name.partition("?")[0]) is not None


def _notes(run: Run, num_shown: int) -> list[str]:
    """Return what a reader must know before believing the page."""
    notes = []
    if is_miniature(run.model["name"]):
        notes.append(
            "This is a miniature model, trained on rendered scenes so that everything here can be "
            "tried in minutes. It shows how the method works, and nothing about full-size models."
        )
    if run.model.get("num_frames") == 1:
        notes.append(
            "This is an image model: it saw every frame by itself. Its concepts follow things "
            "through time only as far as they look alike from frame to frame."
        )
    measured = len(measured_videos(run))
    if measured < len(run.videos):
        notes.append(
            f"Where and when concepts lie, and how much they overlap, is measured in {measured} of "
            f"the {len(run.videos)} videos, evenly spread."
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
    r"""Write JSON that cannot end the script element it stands in, nor steer what shows its texts.

    >>> print(script_json({"name": "</script>\u202e"}))
    {"name":"\u003c/script\u003e\\u202e"}
    """
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False)
    text = _CONTROLS_IN_JSON.sub(r"\1\\\\", text)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def asset(name: str) -> str:
    """Return a style or script of the page."""
    return files("vtcd_ops.reporting").joinpath("static", name).read_text(encoding="utf-8")


def _write_number(value: float | None, style: str) -> str:
    """Write a quantity the way the page's scripts do."""
    if value is None or value != value:
        return "–"
    if style == "percent":
        return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"
    if style == "count":
        return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before a zero


def _shown(value: Any) -> Any:
    """What a template writes, without characters that steer a display."""
    return type(value)(without_controls(value)) if isinstance(value, str) else value


def environment() -> Any:
    """Return the environment that all templates are rendered in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vtcd_ops.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["significant"] = significant
    environment.filters["number"] = _write_number
    return environment
