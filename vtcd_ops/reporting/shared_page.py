"""The page of Rosetta concepts: what was gathered, written into its template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtcd_ops.reporting import palette
from vtcd_ops.reporting.contents import FRAMES_PER_SECOND
from vtcd_ops.reporting.page import asset, environment, is_miniature, script_json, short_name
from vtcd_ops.reporting.shared import gather_shared
from vtcd_ops.rosetta_concepts.store import Rosetta

_FORMAT = 1  # of the data in the page
_STYLES = ("page.css", "clips.css", "findings.css", "figures.css", "shared.css")
_SCRIPTS = (
    "data.js", "contours.js", "clips.js", "controls.js", "exports.js", "enlarged.js", "shared.js",
)  # fmt: skip


def render_shared(
    found: Rosetta, *, max_cards: int, max_clips: int, max_videos: int, progress: bool
) -> str:
    """Write Rosetta concepts into one HTML text that needs no other file.

    Args:
        found: the result; its runs must still be where they were.
        max_cards: tuples shown of each number of models.
        max_clips: videos shown of each tuple.
        max_videos: videos in the page.
        progress: show progress bars.
    """
    page = gather_shared(
        found,
        max_cards=max_cards,
        max_clips=max_clips,
        max_videos=max_videos,
        progress=progress,
    )
    names = [_side_name(run.name) for run in found.runs]
    for run, name in zip(page.document["runs"], names, strict=True):
        run["title"] = name
    document = {
        "format": _FORMAT,
        "framesPerSecond": FRAMES_PER_SECOND,
        "palette": [[colour, palette.ink_on(colour)] for colour in palette.CONCEPTS],
        **page.document,
    }
    template = environment().get_template("shared.html.j2")
    return str(
        template.render(
            found=found,
            names=names,
            layers=[sorted({h["layer"] for h in run["heads"]}) for run in page.document["runs"]],
            orders=[d for d in sorted(found.orders, reverse=True) if len(found.of_order(d))],
            summary=sorted(found.summary(), key=lambda row: -row["order"]),
            notes=_notes(found),
            left_out=_left_out(found, page.document),
            corrected=any(card["beyond"] is not None for card in page.document["cards"]),
            headline=headline(found),
            chance_note=_CHANCE if found.chance else _NO_CHANCE,
            document=script_json(document),
            sheets=page.sheets,
            supports=page.supports,
            styles="\n".join(asset(name) for name in _STYLES),
            scripts="\n".join(asset(name) for name in _SCRIPTS),
        )
    )


_CHANCE = (
    "Copies: the same search among copies of the models with random weights. "
    "Below each row of clips stands what supports of these sizes at random places would overlap. "
    "Places in the frame need no learning."
)
_NO_CHANCE = (
    "Copies with random weights, which would say how much is shared without any learning, were not "
    "searched: vtcd discover … --sanity makes them. Below each row of clips stands what supports "
    "of these sizes at random places would overlap."
)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def headline(found: Rosetta) -> str:
    """Say in one sentence how much the models share, beside what all tuples share."""
    for order in sorted(found.orders, reverse=True):
        chosen = found.without_repeats(order)
        if not chosen:
            continue
        best = float(found.scores[chosen[0]])
        count, models = len(chosen), _NUMBERS[order]
        said = (
            f"{models.capitalize()} models share {count} concept{'' if count == 1 else 's'}: the "
            f"best lies in the same places to {best:.2f}, where all tuples average "
            f"{found.baselines[order].mean:.3f}."
        )
        chance = found.chance.get(order)
        if chance is None:
            return said
        copies = float(chance.scores.max()) if len(chance.scores) else 0.0
        ours = len(found.of_order(order)) / max(found.baselines[order].num_tuples, 1)
        theirs = len(chance.scores) / max(chance.num_tuples, 1)
        if copies >= best or theirs >= ours:
            return (
                f"{said} Their copies with random weights share as much: the best {copies:.2f}, "
                f"{theirs:.1%} of their tuples are found, of the models' {ours:.1%}."
            )
        return f"{said} Of their copies with random weights the best reaches {copies:.2f}."
    return "No concept of these models lies in the same places as one of another."


def _side_name(name: str) -> str:
    """A run's name in the page: its model, and the folder where two models are the same."""
    model, separator, folder = name.partition(" (")
    return short_name(model) + separator + folder


def _notes(found: Rosetta) -> list[str]:
    notes = []
    if any(is_miniature(run.model) for run in found.runs):
        notes.append(
            "Miniature models, trained on rendered scenes, are among these. They show how the "
            "method works, and nothing about full-size models."
        )
    copies = [run for run in found.runs if Path(run.path).name == "sanity"]
    if copies:
        notes.append(
            "A weight-randomised copy is among these. What it shares with a model comes from the "
            "videos, the architecture or the method, and not from what the model has learnt."
        )
    return notes


def _left_out(found: Rosetta, document: dict[str, Any]) -> str:
    if len(document["cards"]) == len(found):
        return ""
    return (
        f"{len(document['cards'])} of {len(found):,} tuples are in this page: of each number of "
        "models those without repeats first, then the best. All numbers are of all tuples."
    )
