"""What was found, in one sentence made from the numbers, and the concepts that tell most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from vtcd_ops.concept_evidence.result import Evidence
from vtcd_ops.importance.curves import RANDOM, Curves, read_curves
from vtcd_ops.importance.importance import Importance
from vtcd_ops.reporting.charts import Figure, Series, layer_figure
from vtcd_ops.reporting.evidence import best_object, object_figure, object_sentence
from vtcd_ops.reporting.importance import IMPORTANCE, unit_label
from vtcd_ops.reporting.quantities import BEYOND, OVERLAP, PLACE, Values
from vtcd_ops.reporting.shown import Head, ShownRun

_TELLING = 9  # concepts on the first screen: one in large, the others small
_SIGNIFICANT = 0.05  # two-sided sign test over heads
_SMALL, _LARGE = 0.01, 0.6  # of the volume: a concept of a telling size
_REMOVED = 0.05  # share of the concepts that the sentence on importance speaks of
_UNLIKE = 0.3  # beyond chance: a concept that no concept of the copy resembles
_SAME = 0.5  # overlap of two concepts that would tell the same


@dataclass(frozen=True)
class Tile:
    """A number of the first screen."""

    value: str
    text: str
    hint: str  #: what it means, at greater length


@dataclass(frozen=True)
class Findings:
    """The first screen."""

    headline: str
    evidence: str  #: what `vtcd evidence` says of the run as a whole; empty where it was not run
    importance: str  #: a second sentence, on what the answer needs; empty where nothing is known
    telling: list[tuple[str, int]]  #: key of the head and concept, the most telling first
    tiles: list[Tile]
    figure: Figure | None


def find(shown: Sequence[ShownRun]) -> Findings:
    """Say what was found in a run, beside its control where it has one."""
    model = shown[0]
    control = shown[1] if len(shown) > 1 else None
    importance = model.run.importance()
    evidence = model.run.evidence()
    by_objects = None if evidence is None else object_sentence(evidence)
    figure = _recurrence_figure(shown)
    if evidence is not None and by_objects is not None:
        figure = object_figure(evidence) or figure
    return Findings(
        by_objects or headline(model, control),
        "" if evidence is None else evidence.sentence(),
        _importance_sentence(importance, read_curves(model.run)),
        _telling(model, evidence if by_objects else None),
        _tiles(model, control, importance),
        figure,
    )


def headline(model: ShownRun, control: ShownRun | None) -> str:
    """Say in one sentence what was found; where the control is as good, say that.

    A concept recurs where it lies in at least half of the videos: what lies in one video tells of
    that video. The model is ahead where more of its concepts recur and, head by head, its
    concepts lie in more videos than those of the same head of the copy (sign test, 5 %).
    """
    num_videos = len(model.run.videos)
    count = sum(len(head.concepts) for head in model.heads)
    if num_videos < 2:
        return (
            f"{_counted(count, 'concept')} of one video. Whether they are more than places in it, "
            "only other videos can show."
        )
    needed = -(-num_videos // 2)
    ours = _recurring(model.heads, needed)
    if control is None:
        return (
            f"{ours} of {count} concepts recur in at least {needed} of {num_videos} videos. "
            "Without a randomised copy nobody can say which of them were learnt."
        )
    theirs = _recurring(control.heads, needed)
    other = sum(len(head.concepts) for head in control.heads)
    rates = ours / max(count, 1), theirs / max(other, 1)
    if rates[0] <= rates[1] or _sign_test(model, control) >= _SIGNIFICANT:
        return (
            f"The randomised copy is as good: {theirs} of its {other} concepts recur in at least "
            f"{needed} of {num_videos} videos, {ours} of the model's {count}. By this measure "
            "nothing here is a discovery."
        )
    layer, (found, of), (copied, copies) = _best_layer(model, control, needed)
    return (
        f"Layer {layer} puts things of different videos together: {found} of its {of} concepts "
        f"recur in at least {needed} of {num_videos}. In its randomised copy: {copied} of {copies}."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _recurring(heads: Sequence[Head], needed: int) -> int:
    values = (values["videos"] or 0 for head in heads for values in head.concepts)
    return sum(videos >= needed for videos in values)


def _sign_test(model: ShownRun, control: ShownRun) -> float:
    """Probability that the copy's heads would be ahead as rarely if nothing were different."""
    copies = {head.key: head.values["videos"] for head in control.heads}
    signs = [
        np.sign((head.values["videos"] or 0.0) - (copies[head.key] or 0.0))
        for head in model.heads
        if head.key in copies
    ]
    ahead, behind = signs.count(1.0), signs.count(-1.0)
    if ahead <= behind:
        return 1.0
    return float(scipy.stats.binomtest(ahead, ahead + behind).pvalue)


def _best_layer(
    model: ShownRun, control: ShownRun, needed: int
) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """The layer that is ahead of the copy's by most, and the counts of both."""

    def counts(view: ShownRun, layer: int) -> tuple[int, int]:
        heads = [head for head in view.heads if head.layer == layer]
        return _recurring(heads, needed), sum(len(head.concepts) for head in heads)

    def lead(layer: int) -> float:
        (ours, count), (theirs, other) = counts(model, layer), counts(control, layer)
        return ours / max(count, 1) - theirs / max(other, 1)

    layer = max(sorted({head.layer for head in model.heads}), key=lead)
    return layer, counts(model, layer), counts(control, layer)


def _importance_sentence(importance: Importance | None, curves: Curves | None) -> str:
    """Say what the answer loses without the most important units."""
    if importance is None:
        return ""
    units, metric = importance.settings["units"], importance.settings["metric"]
    order = importance.order
    if not len(order):
        return ""
    best = int(order[0])
    place = unit_label(importance, best)
    value, error = float(importance.value[best]), float(np.nan_to_num(importance.stderr[best]))
    said = f"The most important, {place}, costs {_plain(value)} ± {_plain(error)} of the {metric}"
    if not value > 2 * error:
        said += ", which is within two standard errors of nothing"
    said += "."
    key = (importance.name, "positive")
    if curves is None or key not in curves.scores or (RANDOM, "positive") not in curves.scores:
        return said
    point = int(np.argmin(np.abs(curves.fractions - _REMOVED)))
    whole, left = curves.mean(*key)[0], curves.mean(*key)[point]
    random = curves.mean(RANDOM, "positive")[point]
    share = f"{curves.fractions[point]:.0%}".replace("%", " %")
    if left >= random:
        return said + f" Removing {share} of the {units} in this order costs no more than by lot."
    return said + (
        f" Without the most important {share} of the {units} the {metric} falls from "
        f"{_plain(whole)} to {_plain(left)}; without as many drawn by lot, to {_plain(random)}."
    )


def _plain(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")


def _telling(model: ShownRun, evidence: Evidence | None) -> list[tuple[str, int]]:
    """Choose concepts of many videos, important, unlike the copy, and unlike each other.

    Where the headline speaks of a concept, that one comes first.
    """
    num_videos = max(len(model.run.videos), 1)

    def score(values: Values) -> float:
        found = (values["videos"] or 0.0) / num_videos
        found *= 1 - max(values.get(BEYOND.key) or 0.0, 0.0)
        found *= 1 - 0.5 * (values.get(PLACE.key) or 0.0)
        if values.get("evidence-object") is not None:
            found *= 0.2 + (values["evidence-object"] or 0.0)
        if values.get(IMPORTANCE.key) is not None:
            found *= values[IMPORTANCE.key] or 0.0
        size = values["size"] or 0.0
        return found if _SMALL <= size <= _LARGE else 0.1 * found

    ordered = sorted(
        (
            (head.warning is not None, -score(values), head.key, index)
            for head in model.heads
            for index, values in enumerate(head.concepts)
        ),
    )
    heads = {head.key: head for head in model.heads}
    row = None if evidence is None else best_object(evidence)
    chosen: list[tuple[str, int]] = []
    if evidence is not None and row is not None:
        layer, head, concept = row.chosen
        chosen.append((model.head(evidence.part, layer, head).key, concept))
    passed: list[tuple[str, int]] = []
    for _, _, key, index in ordered:
        if len(chosen) == _TELLING:
            break
        if (key, index) in chosen:
            continue
        near = {
            (match.key, match.concept)
            for match in heads[key].details[index].near
            if match.ratio >= _SAME
        }
        repeats = any(
            other in near or any(
                (match.key, match.concept) == (key, index) and match.ratio >= _SAME
                for match in heads[other[0]].details[other[1]].near
            )
            for other in chosen
        )  # fmt: skip
        (passed if repeats else chosen).append((key, index))
    return (chosen + passed)[:_TELLING]


def _tiles(model: ShownRun, control: ShownRun | None, importance: Importance | None) -> list[Tile]:
    concepts = [values for head in model.heads for values in head.concepts]
    tiles = []
    if control is not None:
        pairs = _pairs(model, control, "silhouette")
        if pairs:
            ahead = sum(ours > theirs for ours, theirs in pairs)
            tiles.append(
                Tile(
                    f"{ahead} of {len(pairs)}",
                    "heads whose concepts are better apart than the copy's",
                    "By the silhouette: how much nearer a tubelet is to its own concept than to "
                    "the next. Tight groups are easily had from colour, so this alone is no proof.",
                )
            )
        theirs = [values for head in control.heads for values in head.concepts]
        tiles.append(
            Tile(
                f"{_median(concepts, 'videos'):g} vs {_median(theirs, 'videos'):g}",
                "videos a concept occurs in, model vs copy (median)",
                "A concept of one video tells of that video, not of the model.",
            )
        )
        overlap = _median(concepts, OVERLAP.key)
        unlike = sum((values.get(BEYOND.key) or 0.0) < _UNLIKE for values in concepts)
        tiles.append(
            Tile(
                f"{unlike} of {len(concepts)}",
                f"concepts unlike any of the copy (median overlap {overlap:.2f})",
                "Overlap: intersection over union with the copy's most similar concept. Unlike: "
                f"less than {_UNLIKE:g} of the way from chance at these sizes to the same.",
            )
        )
    else:
        tiles.append(
            Tile("no control", "run vtcd discover … --sanity to see what a network that has learnt "
                 "nothing would show", "Concepts that look as good there are no discovery.")
        )  # fmt: skip
    tiles.append(_ranked_tile(importance))
    flagged = sum(head.warning is not None for head in model.heads)
    if flagged or len(tiles) < 4:
        tiles.append(
            Tile(
                f"{flagged} of {len(model.heads)}",
                "heads whose concepts should not be believed",
                "Nearly as many concepts as tubelets, or every concept of one video only.",
            )
        )
    return tiles


def _ranked_tile(importance: Importance | None) -> Tile:
    if importance is None:
        return Tile(
            "not ranked",
            "run vtcd rank to see which concepts the answer needs",
            "Ranking removes random sets of concepts inside the model and watches its answer.",
        )
    known = np.isfinite(importance.value) & np.isfinite(importance.stderr)
    needed = int((importance.value[known] > 2 * importance.stderr[known]).sum())
    return Tile(
        f"{needed} of {len(importance.value)}",
        f"{importance.settings['units']} that the answer needs, by more than two standard errors",
        "Of so many about one in forty would be by chance alone.",
    )


def _pairs(model: ShownRun, control: ShownRun, key: str) -> list[tuple[float, float]]:
    theirs = {head.key: head.values[key] for head in control.heads}
    pairs = ((head.values[key], theirs.get(head.key)) for head in model.heads)
    return [(one, other) for one, other in pairs if one is not None and other is not None]


def _median(concepts: Sequence[Values], key: str) -> float:
    found = [value for values in concepts if (value := values.get(key)) is not None]
    return float(np.median(found)) if found else 0.0


def _recurrence_figure(shown: Sequence[ShownRun]) -> Figure | None:
    """Where in the model concepts recur: videos of a concept, mean of each head, by layer."""
    return layer_figure(
        "where",
        "Where does it appear?",
        "Videos of a concept (mean of a head)",
        by_layer(shown, lambda head: head.values["videos"]),
        f"Of {len(shown[0].run.videos)} videos. A concept of one video tells of that video only.",
    )


def by_layer(shown: Sequence[ShownRun], value: Callable[[Head], float | None]) -> list[Series]:
    """Collect a value of every head by layer, the model's and its control's."""
    found = []
    for view in shown:
        values: dict[int, list[float]] = {}
        for head in view.heads:
            if (each := value(head)) is not None:
                values.setdefault(head.layer, []).append(each)
        control = view.id == "control"
        found.append(Series(view.title, "--muted" if control else "--accent", control, values))
    return found
