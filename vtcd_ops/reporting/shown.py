"""A run as the page shows it: heads with their concepts, numbers, clips and supports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting.quantities import Values, rounded

KINDS = ("best", "middle", "random")  #: of clips, in the order of the card


@dataclass
class Match:
    """Another concept, and how much it overlaps with this one."""

    run: str  #: id of the shown run
    key: str  #: of its head
    concept: int
    ratio: float

    def document(self) -> list[Any]:
        """Return it as the page's scripts read it."""
        return [self.run, self.key, self.concept, round(self.ratio, 3)]


@dataclass
class Details:
    """What the card of a concept shows beside its numbers and best clips."""

    match: Match | None = None  #: the concept of the randomised copy that overlaps most
    near: list[Match] = field(default_factory=list)  #: the nearest concept of every other layer
    histogram: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)  #: each with its reason
    shares: dict[int, float] = field(default_factory=dict)  #: of each video shown
    costs: dict[int, float] = field(default_factory=dict)  #: of removing it, by video shown
    more: dict[str, list[int]] = field(default_factory=dict)  #: middle and random clips

    def document(self) -> dict[str, Any]:
        """Return them as the page's scripts read them."""
        return {
            "match": None if self.match is None else self.match.document(),
            "near": [match.document() for match in self.near],
            "histogram": self.histogram,
            "others": self.others,
            "time": [round(share, 4) for share in self.time],
            "tags": self.tags,
            "shares": {str(video): round(share, 3) for video, share in self.shares.items()},
            "costs": {str(video): round(cost, 4) for video, cost in self.costs.items()},
            "more": self.more,
        }


@dataclass
class Head:
    """One head of a shown run."""

    part: str
    layer: int
    head: int
    concepts: list[Values]  #: per concept its numbers
    values: Values  #: the numbers of the head
    rankings: list[list[int]]  #: per concept its videos, best first
    warning: str | None = None  #: why nothing of the head should be believed
    clips: list[list[int]] = field(default_factory=list)  #: per concept the videos shown
    details: list[Details] = field(default_factory=list)  #: per concept; none in a control
    packed: list[int] = field(default_factory=list)  #: videos of `supports`, in this order
    supports: str = ""  #: see `pack_supports`

    @property
    def key(self) -> str:
        """Name of the head within its shown run, also in the page's address."""
        return f"{self.part}-L{self.layer}-H{self.head}"

    def document(self) -> dict[str, Any]:
        """Return the head as the page's scripts read it."""
        concepts: list[dict[str, Any]] = [
            {"values": rounded(values), "clips": clips}
            for values, clips in zip(self.concepts, self.clips, strict=True)
        ]
        for concept, details in zip(concepts, self.details, strict=False):
            concept.update(details.document())
        return {
            "key": self.key,
            "part": self.part,
            "layer": self.layer,
            "head": self.head,
            "values": rounded(self.values),
            "warning": self.warning,
            "concepts": concepts,
            "packed": self.packed,
        }


@dataclass
class ShownRun:
    """One run of the page: the model's or its control's."""

    id: str
    title: str
    run: Run
    heads: list[Head]

    def head(self, part: str, layer: int, head: int) -> Head:
        """Return one of its heads."""
        return self._by_key[f"{part}-L{layer}-H{head}"]

    @property
    def _by_key(self) -> dict[str, Head]:
        if not hasattr(self, "_heads"):
            self._heads = {head.key: head for head in self.heads}
        return self._heads
