"""The measures of evidence: what each is, what it is compared with, in words for reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measure of every concept.

    Args:
        key: its name in :class:`.result.Evidence`.
        label: as a heading.
        explanation: one sentence for a reader who has not read the paper.
        chance: what the number for chance is.
        wanted: "high" or "low", which of the two speaks for a discovery.
    """

    key: str
    label: str
    explanation: str
    chance: str
    wanted: str


COPY = Measure(
    "copy",
    "Overlap with the copy's best concept",
    "How much it covers the same places as the most similar concept of the same model with random "
    "weights, 0 to 1: what the copy shows as well is no discovery.",
    "the copy's concepts moved to random places",
    "low",
)

MEASURES: tuple[Measure, ...] = (
    COPY,
    Measure(
        "starts",
        "Comes back from other starts",
        "How much it overlaps with its best match where the clustering of the same tubelets starts "
        "elsewhere, 0 to 1.",
        "supports of the same sizes at random places",
        "high",
    ),
    Measure(
        "halves",
        "Comes back from half of the videos",
        "How much it overlaps with its best match where concepts are found in one half of the "
        "videos and compared in the other half, 0 to 1.",
        "supports of the same sizes at random places",
        "high",
    ),
    Measure(
        "space",
        "Contiguous in space",
        "Moran's I of neighbours in a frame: 1 one solid piece, 0 scattered.",
        "the same tokens shuffled",
        "high",
    ),
    Measure(
        "time",
        "Contiguous in time",
        "Moran's I of the same place in successive frames: 1 never changes, 0 flickers.",
        "the same tokens shuffled",
        "high",
    ),
    Measure(
        "place",
        "Explained by place",
        "Share of it that the place in the frame alone predicts in videos held out (R²): near 1, "
        "it is a place rather than a thing.",
        "nothing",
        "low",
    ),
    Measure(
        "colour",
        "Explained by colour",
        "Share of it that colour alone predicts in videos held out (R²): near 1, it is a colour "
        "rather than a thing.",
        "nothing",
        "low",
    ),
    Measure(
        "object",
        "Overlap with the true object",
        "How much it covers the object that the video's masks show, 0 to 1.",
        "supports of the same sizes at random places",
        "high",
    ),
)
