# SPDX-License-Identifier: MIT
"""Table 3: objects of videos by concepts, beside random weights, label propagation and with SAM."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import vtcd_ops
from reproduce.label_propagation import by_label_propagation
from reproduce.models import ROLES
from reproduce.published import TABLE_3
from reproduce.real_data import LEFT_OUT, WEIGHTS, real_data
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.adapters import load_model, randomize_weights, weights_sha256
from vtcd_ops.segmentation import sam_refiner
from vtcd_ops.storage.files import write_atomic
from vtcd_ops.video.masks import read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample
from vtcd_ops.vos_metrics import contour_accuracy, region_similarity

STEP = 4  # of the frames of DAVIS that are looked at
VIDEOS = 6  # of the miniatures
MOBILE_SAM = "weights/mobile_sam/mobile_sam.pt"
BETTER, PAPER, COPY = "better mode", "paper mode", "better mode, random weights"
ALONE, PROPAGATION = "better mode, first frame alone", "label propagation"
SAM = "better mode and MobileSAM"

Segmenter = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A model and videos with masks of all frames.

    Args:
        title: how tables call it.
        adapter: the model.
        samples: the videos.
        step: of the frames looked at.
        by_sequence: whether each video has a column.
    """

    title: str
    adapter: vtcd_ops.Adapter
    samples: list[Sample]
    step: int = 1
    by_sequence: bool = False


@experiment("table3", roles=())
def table3(study: Study) -> Result:
    """Return how well objects are segmented, by each way, model by model."""
    columns = {"paper": "J, all frames", "J": "J", "F": "F", "both": "J&F"}
    rows: list[Row] = []
    claims: list[Claim] = []
    for subject in subjects(study):
        found = {
            way: [scores_of(study, subject, way, segmenter, one) for one in subject.samples]
            for way, segmenter in _ways(subject).items()
        }
        rows += [
            Row(f"{subject.title}, {way}", _cells(subject, way, each))
            for way, each in found.items()
        ]
        claims += _claims(subject, found)
        if subject.by_sequence:
            columns |= {str(sample.name): str(sample.name) for sample in subject.samples}
    real = "DINOv2-S is a real model, of images, at 448 x 448 pixels; every fourth frame of DAVIS."
    return Result(
        name="table3",
        title="Objects of videos by concepts",
        paper="Table 3",
        unit="J and F, from 0 to 1",
        columns=columns,
        rows=rows,
        claims=claims,
        notes=[
            "Brackets are 95 % intervals over videos. J, all frames: the paper's rule, the mean "
            "over all frames, the first one included; J, F and J&F by the rule of DAVIS'16, which "
            "leaves out the first and the last frame; a column a sequence: J, all frames. Heads: "
            "all of the last two layers (paper mode: of the last), chosen on no video.",
            LEFT_OUT if real_data() is None else real,
            "Better mode was made while looking at these ten sequences, its memory of earlier "
            "frames above all: on others it may gain less.",
            *study.missing(),
        ],
        digits=3,
        setting={role: study.setting(role) for role in study.roles()},
    )


def subjects(study: Study) -> Iterator[Subject]:
    """Yield DINOv2-S with DAVIS, where they are there, then every miniature with its videos."""
    data = real_data()
    if data is None:
        print(f"table3: {LEFT_OUT}", flush=True)
    else:
        model = load_model(str(data / WEIGHTS))
        davis = [
            Sample(str(one / "frames"), target_masks=str(one / "masks"), name=one.name)
            for one in sorted((data / "davis16").iterdir())
        ]
        davis = davis if study.talks else davis[::-1]  # processes that share the work begin apart
        yield Subject("DINOv2-S", model, davis, STEP, by_sequence=True)
    study = study.at(videos=min(study.scale.videos, VIDEOS))
    for role in study.roles():
        samples = [one for one in study.samples(role) if one.target_masks is not None]
        title = ROLES[role].title + (" (miniature)" if study.is_miniature(role) else "")
        if samples:
            yield Subject(title, study.adapter(role), samples)


def _ways(subject: Subject) -> dict[str, Segmenter]:
    """Every way of segmenting, by its name."""

    def concepts(video: np.ndarray, first: np.ndarray, copy: bool = False, **more: Any) -> Any:
        model = randomize_weights(subject.adapter, 1) if copy else subject.adapter
        return vtcd_ops.segment(model, video, first, **more).masks.numpy()

    ways: dict[str, Segmenter] = {
        PAPER: partial(concepts, mode="paper"),
        BETTER: concepts,
        ALONE: partial(concepts, memory=0),
        COPY: partial(concepts, copy=True),
        PROPAGATION: partial(by_label_propagation, subject.adapter),
    }
    data = real_data()
    if subject.by_sequence and data is not None and (data / MOBILE_SAM).is_file():
        ways[SAM] = lambda *asked: concepts(*asked, refine=_sam(data / MOBILE_SAM))
    return ways


@cache
def _sam(weights: Path) -> Any:
    """MobileSAM, as the example loads it."""
    example = Path(__file__).parents[1] / "examples/mobile_sam.py"
    spec = importlib.util.spec_from_file_location("mobile_sam", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sam_refiner(module.load_mobile_sam(weights))


def scores_of(
    study: Study, subject: Subject, way: str, segmenter: Segmenter, sample: Sample
) -> dict[str, list[float]]:
    """J and F of every frame, of one video by one way; kept."""
    identity = [weights_sha256(subject.adapter.model), way, sample.name, subject.step]
    digest = hashlib.sha256(json.dumps([*identity, vtcd_ops.__version__]).encode()).hexdigest()
    path = study.folder / "table3" / f"{digest[:16]}.json"
    if path.is_file():
        found: dict[str, list[float]] = json.loads(path.read_text())
        return found
    begin = time.monotonic()
    source = open_video(sample.video)
    indices = list(range(0, source.num_frames, subject.step))
    video = np.stack(list(source.frames(indices)))
    assert sample.target_masks is not None
    truth = read_masks(sample.target_masks, indices).numpy()
    masks = segmenter(video, truth[0])
    scores = {
        "J": region_similarity(masks, truth).tolist(),
        "F": contour_accuracy(masks, truth).tolist(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(scores).encode())
    if study.talks:
        mean = np.mean(scores["J"])
        seconds = time.monotonic() - begin
        print(f"  {subject.title}, {way}, {sample.name}: {mean:.3f}, {seconds:.0f} s", flush=True)
    return scores


def _cells(subject: Subject, way: str, found: list[dict[str, list[float]]]) -> dict[str, Cell]:
    means = {key: [float(np.mean(one[key][1:-1])) for one in found] for key in ("J", "F")}
    ours = [float(np.mean(one["J"])) for one in found]
    published = None if subject.by_sequence else TABLE_3.get((subject.title.split(" (")[0], way))
    cells = {
        "paper": Cell.of(ours, published),
        "J": Cell.of(means["J"]),
        "F": Cell.of(means["F"]),
        "both": Cell.of([(j + f) / 2 for j, f in zip(means["J"], means["F"], strict=True)]),
    }
    if subject.by_sequence:
        names = [str(sample.name) for sample in subject.samples]
        cells |= {name: Cell(mean) for name, mean in zip(names, ours, strict=True)}
    return cells


def _claims(subject: Subject, found: dict[str, list[dict[str, list[float]]]]) -> list[Claim]:
    means = {way: [float(np.mean(one["J"])) for one in each] for way, each in found.items()}
    pairs = [
        (BETTER, COPY, "concepts follow objects better than those of random weights"),
        (BETTER, PAPER, "better mode follows objects better than paper mode"),
        (BETTER, ALONE, "earlier frames help"),
        (
            BETTER,
            PROPAGATION,
            "concepts follow objects better than labels propagated by the same keys",
        ),
        (SAM, BETTER, "SAM refines what concepts find"),
    ]
    return [
        compare(f"{subject.title}: {text}.", means[first], means[second])
        for first, second, text in pairs
        if first in means and second in means
    ]
