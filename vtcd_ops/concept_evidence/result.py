"""What speaks for the concepts of a run: the numbers of :func:`vtcd_ops.evidence`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops.common.errors import counted
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.concept_evidence.measures import COPY, MEASURES, Measure
from vtcd_ops.concept_evidence.per_video import PerVideo, median

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Evidence", "ObjectRow", "SummaryRow"]

_TABLE = "{:<38}{:>7}  {:<16}{:>7}{:>8}"


@dataclass(frozen=True)
class SummaryRow:
    """One measure of a run as a whole: medians over its concepts.

    Args:
        measure: which.
        value: of the model.
        low, high: its 95 % interval over videos; NaN where there is none.
        copies: of the concepts of the weight-randomised copies; NaN where there are none.
        chance: what chance gives.
    """

    measure: Measure
    value: float
    low: float
    high: float
    copies: float
    chance: float

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON holds it, None for NaN."""
        numbers = {
            name: getattr(self, name) for name in ("value", "low", "high", "copies", "chance")
        }
        known = {name: None if value != value else value for name, value in numbers.items()}
        return {**asdict(self.measure), "by_chance": self.measure.chance, **known}


@dataclass(frozen=True)
class ObjectRow:
    """How well the best concept fits the object: chosen on all videos but one, judged on that one.

    Args:
        layer: whose concepts are chosen from; None: those of all layers.
        value: intersection over union, mean over videos.
        low, high: its 95 % interval over videos; None for a single video.
        copies: the same of the weight-randomised copies, mean; None where there are none.
        chance: expected of supports as large as those chosen, at random places.
        chosen: the concept chosen most often, (layer, head, concept).
        num_videos: videos judged on.
    """

    layer: int | None
    value: float
    low: float | None
    high: float | None
    copies: float | None
    chance: float
    chosen: tuple[int, int, int]
    num_videos: int


@dataclass(frozen=True, repr=False, eq=False)
class Evidence(Tabular):
    """What speaks for and against the concepts of a run; arrays are in the order of its units.

    Iterated over, it is a row for each concept, the most telling first.

    U concepts, V videos, R weight-randomised copies.

    Attributes:
        settings: everything that the numbers depend on.
        units: layer, head and concept, int64 [U, 3], as of ``run.units(part)``.
        videos: number of videos that each concept occurs in, int64 [U].
        degenerate: whether its head is degenerate, bool [U]: more than half as many concepts as
            tubelets, or more than half of its concepts of one video.
        per_video: the measures that were made, by the key of :data:`MEASURES`.
        chance: what chance gives of each, float64 [U].
        p_value: of "space" and "time": share of shuffles that are as coherent, float64 [U].
        of_copies: the values of all concepts of all copies, float64 [those]; of "copy": how much
            copies overlap with each other.
        copy_overlap: with the best concept of each copy, float64 [U, R].
        copy_unit: that concept, (layer, head, concept), int64 [U, R, 3].
        copy_chance: what two supports of these sizes at random places would score, float64 [U, R].
        copy_moved: the score of the best concept after the copy's are moved to random places,
            float64 [U, R].
        objects: how well the best concept fits the object, by layers; empty without true masks.
    """

    settings: dict[str, Any]
    units: np.ndarray
    videos: np.ndarray
    degenerate: np.ndarray
    per_video: dict[str, PerVideo] = field(repr=False)
    chance: dict[str, np.ndarray] = field(repr=False)
    p_value: dict[str, np.ndarray] = field(repr=False)
    of_copies: dict[str, np.ndarray] = field(repr=False)
    copy_overlap: np.ndarray = field(repr=False)
    copy_unit: np.ndarray = field(repr=False)
    copy_chance: np.ndarray = field(repr=False)
    copy_moved: np.ndarray = field(repr=False)
    objects: list[ObjectRow] = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"Evidence({self.part} of {self.settings['model']}: "
            f"{counted(len(self.units), 'concept')}, {self.num_copies} copies, "
            f"{', '.join(measure.key for measure in self.measures())})"
        )

    def __len__(self) -> int:
        return len(self.units)

    def _rows(self) -> list[Row]:
        values = {measure.key: self.values(measure.key) for measure in self.measures()}
        unlike = self.unlike_copies
        return [
            {
                **dict(zip(("layer", "head", "concept"), self.units[unit].tolist())),
                "videos": int(self.videos[unit]),
                "degenerate": bool(self.degenerate[unit]),
                "unlike_copies": float(unlike[unit]),
                **{key: float(of_units[unit]) for key, of_units in values.items()},
                **{f"{key}_by_chance": float(self.chance[key][unit]) for key in values},
            }
            for unit in self.order.tolist()
        ]

    def _draw(self, ax: Axes) -> None:
        rows = self.summary()[::-1]
        names, places = [row.measure.label for row in rows], np.arange(len(rows))
        low, high = (np.array([getattr(row, end) for row in rows]) for end in ("low", "high"))
        value = np.array([row.value for row in rows])
        bars = np.nan_to_num([value - low, high - value]).clip(0)
        ax.errorbar(value, places, xerr=bars, fmt="o", label="model, 95 % interval over videos")
        ax.plot([row.copies for row in rows], places, "s", label="copies with random weights")
        ax.plot([row.chance for row in rows], places, "x", label="chance")
        ax.set_yticks(places, names)
        ax.set(xlabel="median over concepts, 0 to 1", ylabel="measure")
        ax.legend()

    @property
    def part(self) -> str:
        """Part of the heads: queries, keys, values or outputs."""
        return str(self.settings["part"])

    @property
    def num_copies(self) -> int:
        """Weight-randomised copies that it was compared with."""
        return self.copy_overlap.shape[1]

    def measures(self) -> list[Measure]:
        """Return the measures that were made."""
        return [measure for measure in MEASURES if measure.key in self.per_video]

    def values(self, key: str) -> np.ndarray:
        """Return a measure of every concept, float64 [U]; NaN where it has none."""
        return self.per_video[key].values()

    @property
    def unlike_copies(self) -> np.ndarray:
        """How unlike the copies' concepts each one is, corrected for chance, float64 [U].

        1: it overlaps with the best of them no more than with the best moved to random places; 0:
        a copy has the very same. (1 − overlap)/(1 − overlap by chance), mean over copies; NaN where
        there are none.
        """
        if not self.num_copies:
            return np.full(len(self), np.nan)
        chance = self.copy_moved.mean(axis=1)
        left = np.maximum(1 - chance, 1e-12)
        found: np.ndarray = np.clip((1 - self.copy_overlap.mean(axis=1)) / left, 0, 1)
        return found

    @property
    def order(self) -> np.ndarray:
        """Concepts from the most to the least telling, int64 [U].

        By the share of the videos they occur in times how unlike the copies they are (or the share
        alone, without copies); those of degenerate heads come last.
        """
        share = self.videos / self.settings["num_videos"]
        telling = share * (self.unlike_copies if self.num_copies else 1.0)
        return np.lexsort((-telling, self.degenerate))

    def of(self, unit: int) -> dict[str, Any]:
        """Return all that is known of one concept, as JSON holds it.

        Args:
            unit: its row in ``units``.
        """
        layer, head, concept = (int(number) for number in self.units[unit])
        measures = {}
        for measure in self.measures():
            row = {
                "value": _or_none(self.values(measure.key)[unit]),
                "chance": _or_none(self.chance[measure.key][unit]),
            }
            if measure.key in self.p_value:
                row["p_value"] = _or_none(self.p_value[measure.key][unit])
            measures[measure.key] = row
        return {
            "layer": layer,
            "head": head,
            "concept": concept,
            "videos": int(self.videos[unit]),
            "degenerate": bool(self.degenerate[unit]),
            "unlike_copies": _or_none(self.unlike_copies[unit]),
            "copies": [
                {"overlap": float(overlap), "unit": [int(number) for number in best]}
                for overlap, best in zip(self.copy_overlap[unit], self.copy_unit[unit], strict=True)
            ],
            "measures": measures,
        }

    def summary(self) -> list[SummaryRow]:
        """Return a row for each measure: medians over the concepts of heads not degenerate.

        Where all heads are degenerate, over all concepts.
        """
        kept = ~self.degenerate if not self.degenerate.all() else np.ones(len(self), dtype=bool)
        rows = []
        for measure in self.measures():
            one = self.per_video[measure.key]
            one = PerVideo(one.numerator[kept], one.denominator[kept])
            low, high = one.median_interval()
            copies = median(self.of_copies.get(measure.key, np.array([])))
            chance = median(self.chance[measure.key][kept])
            rows.append(SummaryRow(measure, median(one.values()), low, high, copies, chance))
        return rows

    def degenerate_heads(self) -> list[tuple[int, int]]:
        """Return the (layer, head) of every degenerate head."""
        return sorted({(int(layer), int(head)) for layer, head, _ in self.units[self.degenerate]})

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON holds it: for reports."""
        heads = self.degenerate_heads()
        return {
            "part": self.part,
            "num_concepts": len(self),
            "num_videos": int(self.settings["num_videos"]),
            "num_copies": self.num_copies,
            "degenerate_heads": [list(head) for head in heads],
            "rows": [row.as_json() for row in self.summary()],
            "objects": [asdict(row) for row in self.objects],
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Return in one sentence whether the concepts differ from those of the copies."""
        if not self.num_copies:
            return "The concepts were not compared with those of a copy with random weights."
        rows = {row.measure.key: row for row in self.summary()}
        row = rows[COPY.key]
        ours = f"a concept overlaps {row.value:.2f} with the best of the copies' concepts"
        chance = f"({row.chance:.2f} where these are moved to random places)"
        if row.copies != row.copies:
            return f"In the median {ours} {chance}."
        as_alike = row.value >= row.copies or row.low <= row.copies <= row.high
        verdict = (
            "as much as copies overlap with each other"
            if as_alike
            else "less than copies overlap with each other"
        )
        return f"In the median {ours} {chance}, {verdict} ({row.copies:.2f})."

    def lines(self, count: int = 5) -> Iterator[str]:
        """Yield lines that say what was measured and which concepts are most telling."""
        videos = counted(int(self.settings["num_videos"]), "video")
        yield (
            f"{counted(len(self), 'concept')} ({self.part}) of {videos}, "
            f"{self.num_copies} copies with random weights"
        )
        if heads := self.degenerate_heads():
            where = ", ".join(f"layer {layer} head {head}" for layer, head in heads[:4])
            more = f" and {len(heads) - 4} more" if len(heads) > 4 else ""
            yield f"degenerate heads (hardly any concept recurs): {where}{more}"
        yield self.sentence()
        yield _TABLE.format("median over concepts", "model", "95 % interval", "copies", "chance")
        for row in self.summary():
            interval = f"[{_two(row.low)}, {_two(row.high)}]"
            numbers = _two(row.copies), _two(row.chance)
            yield _TABLE.format(row.measure.label, _two(row.value), interval, *numbers)
        yield from self._object_lines()
        yield "most telling (videos, unlike the copies):"
        for unit in self.order[:count]:
            layer, head, concept = self.units[unit]
            unlike = self.unlike_copies[unit]
            yield (
                f"  layer {layer} head {head} concept {concept}: in {self.videos[unit]} of {videos}"
                + ("" if np.isnan(unlike) else f", unlike the copies {unlike:.2f}")
            )

    def _object_lines(self) -> Iterator[str]:
        for row in self.objects:
            where = "all layers" if row.layer is None else f"layer {row.layer}"
            copies = "" if row.copies is None else f", copies {row.copies:.2f}"
            yield (
                f"best concept on the object, {where}: {row.value:.2f}{copies}, "
                f"chance {row.chance:.2f} (chosen on the other videos)"
            )


def _two(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


def _or_none(value: float) -> float | None:
    return None if value != value else float(value)
