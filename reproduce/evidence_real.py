# SPDX-License-Identifier: MIT
"""Evidence for the concepts of a real model on real videos, beside three copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import vtcd_ops
from reproduce.evidence import COLUMNS, Subject, summary_cells, summary_claims
from reproduce.real_data import LEFT_OUT, WEIGHTS, real_data
from reproduce.registry import experiment
from reproduce.results import Cell, Result, Row
from reproduce.study import Study
from vtcd_ops.adapters import load_model, randomize_weights
from vtcd_ops.video.samples import Sample

COPIES = 3
LAYERS, FRAMES, VOXELS_PER_TOKEN = [5, 11], 8, 2
DAVIS = (
    "blackswan", "bmx-trees", "breakdance", "camel", "car-shadow", "cows", "dog", "drift-straight",
    "goat", "kite-surf",
)  # fmt: skip
GALLERY = (
    "dog_playing", "cups_ball_shell_game", "moving_blocks", "pouring_coffee", "soccer_juggling_3",
    "kids_jumping",
)  # fmt: skip
_MORE = {"starts": "Back from other starts", "starts of copies": "of copies",
         "degenerate": "Degenerate heads, %"}  # fmt: skip


@experiment("evidence_real", roles=())
def evidence_real(study: Study) -> Result:
    """Return the measures of evidence of DINOv2-S on DAVIS and on the gallery of SAM 2."""
    rows, claims = [], []
    for subject in _subjects():
        found = _measured(study, subject)
        cells = summary_cells(found) | _more_cells(found)
        rows.append(Row(subject.title, cells))
        claims += summary_claims(subject.title, cells)
    notes = [
        f"DINOv2-S, an image model, frame by frame: keys of layers {LAYERS[0]} and {LAYERS[1]}, "
        f"{FRAMES} frames a video, {VOXELS_PER_TOKEN} voxels a token. {COPIES} copies, each with "
        "random weights of its own, searched in the same way. Brackets: 95 % over videos.",
        "The object: best concept of any layer, chosen on all videos but one and judged on that "
        "one. The gallery has no true masks.",
    ]
    return Result(
        name="evidence_real",
        title="Evidence for concepts of a real model",
        paper="Not in the paper",
        unit="medians over concepts of heads not degenerate; overlaps and R² from 0 to 1",
        columns=COLUMNS | _MORE,
        rows=rows,
        claims=claims,
        notes=notes if rows else [LEFT_OUT],
        digits=2,
        setting={},
    )


def _subjects() -> Iterator[Subject]:
    data = real_data()
    if data is None:
        print(f"evidence_real: {LEFT_OUT}", flush=True)
        return
    adapter = load_model(str(data / WEIGHTS))
    settings = {"layers": LAYERS, "num_frames": FRAMES, "voxels_per_token": VOXELS_PER_TOKEN}
    folder = data / "davis16"
    davis = [
        Sample(str(folder / name / "frames"), target_masks=str(folder / name / "masks"), name=name)
        for name in DAVIS
    ]
    yield Subject("DAVIS 2016, ten sequences", "dinov2-davis", adapter, davis, settings)
    gallery = [data / "clips" / f"{name}.mp4" for name in GALLERY]
    if all(map(Path.is_file, gallery)):
        clips = [Sample(str(clip), name=clip.stem) for clip in gallery]
        yield Subject("Gallery of SAM 2, six clips", "dinov2-gallery", adapter, clips, settings)


def _measured(study: Study, subject: Subject) -> vtcd_ops.Evidence:
    copies = [randomize_weights(subject.adapter, seed) for seed in range(1, COPIES + 1)]
    folder = study.folder / "evidence" / f"{subject.key}-{len(subject.samples)}"
    runs = [
        vtcd_ops.discover(
            model, subject.samples, out=folder / f"vtcd-{number}", progress=False,
            **subject.settings,
        )
        for number, model in enumerate([subject.adapter, *copies])
    ]  # fmt: skip
    return vtcd_ops.evidence(
        runs[0], samples=subject.samples, controls=runs[1:], starts=2, shuffles=19, progress=False
    )


def _more_cells(found: vtcd_ops.Evidence) -> dict[str, Cell]:
    rows = {row.measure.key: row for row in found.summary()}
    heads = {tuple(unit) for unit in found.units[:, :2].tolist()}
    starts, videos = rows["starts"], int(found.settings["num_videos"])
    return {
        "starts": Cell(starts.value, starts.low, starts.high, videos),
        "starts of copies": Cell(starts.copies),
        "degenerate": Cell(100 * len(found.degenerate_heads()) / len(heads)),
    }
