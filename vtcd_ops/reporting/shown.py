"""A run as the page shows it: heads with their concepts, numbers, clips and supports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting.quantities import Values, rounded


@dataclass
class Head:
    """One head of a shown run."""

    part: str
    layer: int
    head: int
    concepts: list[Values]  #: per concept its numbers
    values: Values  #: the numbers of the head
    rankings: list[list[int]]  #: per concept its videos, best first
    clips: list[list[int]] = field(default_factory=list)  #: per concept the videos shown
    packed: list[int] = field(default_factory=list)  #: videos of `supports`, in this order
    supports: str = ""  #: see `pack_supports`

    @property
    def key(self) -> str:
        """Name of the head within its shown run, also in the page's address."""
        return f"{self.part}-L{self.layer}-H{self.head}"

    def document(self) -> dict[str, Any]:
        """Return the head as the page's scripts read it."""
        concepts = [
            {"values": rounded(values), "clips": clips}
            for values, clips in zip(self.concepts, self.clips, strict=True)
        ]
        return {
            "key": self.key,
            "part": self.part,
            "layer": self.layer,
            "head": self.head,
            "values": rounded(self.values),
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
