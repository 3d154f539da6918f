# SPDX-License-Identifier: MIT
"""Are the concepts a discovery: beside random weights, chance, and plainer ways of finding any?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vtcd_ops
from reproduce.models import ROLES
from reproduce.other_concepts import (
    Tokens,
    at_tokens,
    by_autoencoder,
    by_crops,
    by_kmeans,
    counts_of,
    tokens_of,
)
from reproduce.real_data import LEFT_OUT, WEIGHTS, real_data
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row
from reproduce.study import Study
from vtcd_ops.adapters import load_model, randomize_weights
from vtcd_ops.discovery.run_files import RUN_FILE
from vtcd_ops.video.samples import Sample

COPIES = 3
REAL_MODEL = "DINOv2-S"
VIDEOS = 10  # of each model, at most
AT_TOKENS = "VTCD at tokens"
METHODS = ("VTCD", "random crops", "k-means of tokens", "sparse autoencoder")
COLUMNS = {
    "copy": "Overlap with the copy's best concept",
    "between": "Copies with each other",
    "moved": "Copies' concepts moved",
    "space": "Contiguous in space",
    "space of copies": "of copies",
    "time": "in time",
    "place": "Explained by place",
    "colour": "by colour",
    "starts": "Back from other starts",
    "starts of copies": "of copies",
    "halves": "Back from half of the videos",
    "halves of copies": "of copies",
    "object": "Fits the object",
    "object of copies": "of copies",
}
# of the validation set of DAVIS 2016
_SEQUENCES = (
    "blackswan", "bmx-trees", "breakdance", "camel", "car-shadow", "cows", "dog", "drift-straight",
    "goat", "kite-surf",
)  # fmt: skip
# of SAM 2, without masks
_GALLERY = (
    "dog_playing", "cups_ball_shell_game", "moving_blocks", "pouring_coffee", "soccer_juggling_3",
    "kids_jumping",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A model and its videos.

    Args:
        title: how tables call it.
        key: of its folders.
        adapter: the model.
        samples: the videos.
        settings: of discovery.
    """

    title: str
    key: str
    adapter: vtcd_ops.Adapter
    samples: list[Sample]
    settings: dict[str, Any] = field(default_factory=dict)


@experiment("evidence", roles=())
def evidence(study: Study) -> Result:
    """Return the measures of evidence of each model, by each way of finding concepts."""
    rows, claims, notes = [], [], []
    for subject in _subjects(study):
        search = Search(study, subject)
        cells = {method: summary_cells(search.evidence(method)) for method in METHODS}
        # the others' concepts are of whole tokens: so is what is compared with them on objects
        cells[METHODS[0]] |= _object_cells(search.evidence(AT_TOKENS))
        rows += [Row(f"{subject.title}, {method}", each) for method, each in cells.items()]
        claims += summary_claims(subject.title, cells[METHODS[0]])
    notes.append(
        LEFT_OUT
        if real_data() is None
        else "DINOv2-S is a real model, of images; 8 frames a video, 2 voxels a token. The gallery "
        "is that of SAM 2, which has no true masks of objects."
    )
    return Result(
        name="evidence",
        title="Evidence for concepts",
        paper="Not in the paper",
        unit="medians over concepts of heads not degenerate; overlaps and R² from 0 to 1",
        columns=COLUMNS,
        rows=rows,
        claims=claims,
        notes=[
            f"Brackets are 95 % intervals over videos (at most {VIDEOS}; the gallery has "
            f"{len(_GALLERY)}), not over seeds. Two layers of each model, the middle and the last "
            "one. All ways have as many concepts in every head as VTCD; "
            f"{COPIES} copies, each with random weights of its own, searched in the same way.",
            "The object: best concept of any layer, chosen on all videos but one and judged on "
            "that one; mean overlap.",
            *notes,
            *study.missing(),
        ],
        digits=2,
        setting={role: study.setting(role) for role in study.roles()},
    )


def _subjects(study: Study) -> Iterator[Subject]:
    yield from real_subjects()
    study = study.at(videos=min(study.scale.videos, VIDEOS))
    for role in study.roles():
        adapter = study.adapter(role)
        last = adapter.num_layers - 1
        settings = {"compactness": ROLES[role].compactness, "layers": sorted({last // 2, last})}
        title = ROLES[role].title + (" (miniature)" if study.is_miniature(role) else "")
        yield Subject(title, role, adapter, study.samples(role), settings)


def real_subjects() -> Iterator[Subject]:
    """Yield a real model on real videos, where there are any; say so where not."""
    data = real_data()
    if data is None:
        print(f"evidence: {LEFT_OUT}", flush=True)
        return
    adapter = load_model(str(data / WEIGHTS))
    last = adapter.num_layers - 1
    settings = {"layers": [last // 2, last], "num_frames": 8, "voxels_per_token": 2}
    davis = [
        Sample(
            str(data / "davis16" / name / "frames"),
            target_masks=str(data / "davis16" / name / "masks"),
            name=name,
        )
        for name in _SEQUENCES
    ]
    yield Subject(
        f"{REAL_MODEL}, DAVIS 2016, ten sequences", "dinov2-davis", adapter, davis, settings
    )
    gallery = [data / "clips" / f"{name}.mp4" for name in _GALLERY]
    if all(map(Path.is_file, gallery)):
        clips = [Sample(str(clip), name=clip.stem) for clip in gallery]
        yield Subject(
            f"{REAL_MODEL}, Gallery of SAM 2, six clips", "dinov2-gallery", adapter, clips, settings
        )


class Search:
    """The concepts of a subject's model and of its copies, by every way; each is made once."""

    def __init__(self, study: Study, subject: Subject) -> None:
        self._subject = subject
        self._folder = study.folder / "evidence" / f"{subject.key}-{len(subject.samples)}"
        copies = [randomize_weights(subject.adapter, seed) for seed in range(1, COPIES + 1)]
        self._models = [subject.adapter, *copies]  # 0 is the trained one
        self._vtcd = [self._discovered("vtcd", number) for number in range(COPIES + 1)]
        self._counts = counts_of(self._vtcd[0])  # copies get as many concepts as the model has
        self._talks = study.talks
        self._tokens: dict[int, Tokens] = {}

    def evidence(self, method: str, shuffles: int = 0) -> vtcd_ops.Evidence:
        """Return the evidence for the concepts that one way finds, beside shuffled tokens."""
        begin = time.monotonic()
        runs = [self._run(number, method) for number in range(COPIES + 1)]
        found = vtcd_ops.evidence(
            runs[0],
            samples=self._subject.samples,
            controls=runs[1:],
            starts=2 if method == METHODS[0] else 0,
            shuffles=shuffles,
            progress=False,
        )
        if self._talks:
            seconds = time.monotonic() - begin
            print(f"  {self._subject.title}, {method}: {seconds:.0f} s", flush=True)
        return found

    def _discovered(self, kind: str, number: int, **more: Any) -> vtcd_ops.Run:
        return vtcd_ops.discover(
            self._models[number],
            self._subject.samples,
            out=self._folder / f"{kind}-{number}",
            progress=False,
            **{**self._subject.settings, **more},
        )

    def _run(self, number: int, method: str) -> vtcd_ops.Run:
        vtcd, out = self._vtcd[number], self._folder / f"{method.replace(' ', '-')}-{number}"
        if method == METHODS[0]:
            return vtcd
        if method == AT_TOKENS:
            return at_tokens(vtcd, out)
        if method == "random crops":
            crops = self._discovered("crops", number, proposals="random_crops")
            return by_crops(crops, self._counts, out)
        if (out / RUN_FILE).is_file():  # of this model and these videos, or `discover` had refused
            return vtcd_ops.load(out)
        if number not in self._tokens:
            samples = self._subject.samples
            self._tokens[number] = tokens_of(vtcd, self._models[number], samples)
        find = by_kmeans if method == "k-means of tokens" else by_autoencoder
        return find(self._tokens[number], self._counts, vtcd, out)


def summary_cells(found: vtcd_ops.Evidence) -> dict[str, Cell]:
    """Return the measures of a run as cells of a table."""
    rows = {row.measure.key: row for row in found.summary()}
    videos = int(found.settings["num_videos"])
    cells: dict[str, Cell] = {}
    for key in ("copy", "space", "time", "place", "colour", "starts", "halves"):
        if key in rows and rows[key].value == rows[key].value:
            row = rows[key]
            known = row.low == row.low
            cells[key] = Cell(
                row.value, row.low if known else None, row.high if known else None, videos
            )
    for key in ("space", "starts", "halves"):
        if key in cells:
            cells[f"{key} of copies"] = Cell(rows[key].copies)
    cells["between"] = Cell(rows["copy"].copies)
    cells["moved"] = Cell(rows["copy"].chance)
    return cells | _object_cells(found)


def _object_cells(found: vtcd_ops.Evidence) -> dict[str, Cell]:
    """How well the best concept fits the object, and that of the copies."""
    if not found.objects:
        return {}
    best = found.objects[-1]
    cells = {"object": Cell(best.value, best.low, best.high, best.num_videos)}
    if best.copies is not None:
        cells["object of copies"] = Cell(best.copies)
    return cells


def summary_claims(title: str, ours: dict[str, Cell]) -> list[Claim]:
    """Return what the measures of a run claim."""
    less = f"{title}: its concepts overlap less with a copy's than copies do with each other."
    claims = [_lower(less, ours["copy"], ours["between"].value)]
    if "object of copies" in ours:
        best, copies = ours["object"], ours["object of copies"].value
        ends = (None, None) if best.low is None or best.high is None else (-best.high, -best.low)
        claim = _lower("", Cell(-best.value, *ends), -copies)
        better = f"{title}: its best concept fits the object better than a copy's."
        claims.append(Claim(better, claim.holds, f"{best.text(2)} against {copies:.2f}"))
    return claims


def _lower(text: str, cell: Cell, bound: float) -> Claim:
    """The claim that a number is lower than a bound; undecided where its interval holds it."""
    holds: bool | None = cell.value < bound
    if cell.low is not None and cell.high is not None and cell.low <= bound <= cell.high:
        holds = None
    return Claim(text, holds, f"{cell.text(2)} against {bound:.2f}")
