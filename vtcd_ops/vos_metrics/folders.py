"""Folders of masks against folders of the truth, by the rules of DAVIS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_one_of
from vtcd_ops.vos_metrics.label_maps import find_sequences, map_files, read_label_map, read_split
from vtcd_ops.vos_metrics.measures import contour_accuracy, region_similarity
from vtcd_ops.vos_metrics.table import Evaluation, ObjectScores

__all__ = ["RULES", "evaluate"]

VOID = 255  #: the label of pixels that DAVIS'17 does not score


@dataclass(frozen=True)
class Rule:
    """How a data set is scored.

    Args:
        several: each label is an object of its own and 255 is void; else all labels are one object.
        ends: whether the first frame, which is given, and the last one count.
        years: the lists of sequences that belong to it.
    """

    several: bool
    ends: bool
    years: tuple[str, ...]


RULES = {
    "davis16": Rule(several=False, ends=False, years=("2016", "480p")),
    "davis17": Rule(several=True, ends=False, years=("2017",)),
    "paper": Rule(several=False, ends=True, years=("2016", "480p", "2017")),
}


def evaluate(
    prediction_dir: str | PathLike[str],
    truth_dir: str | PathLike[str],
    rule: str | None = None,
    *,
    split: str | None = None,
    sequences: Sequence[str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score folders of predicted masks against the truth.

    Both are read as PNGs of labels (palette or grey), a folder a sequence, in the layout of DAVIS
    (`Annotations/480p/<sequence>`) or plain (`<sequence>/*.png`), or as one sequence. Frames are
    found by their names.

    Args:
        prediction_dir: the masks to score; every frame that is scored must be there.
        truth_dir: the annotated masks.
        rule: ``"davis16"``: one object, whatever the labels, without the first and the last frame;
            ``"davis17"``: each label an object, 255 void, without those two frames; ``"paper"``:
            one object, all frames. By default DAVIS'17 where a truth has labels beside 0, 1 and
            255, else DAVIS'16.
        split: score the sequences of this list of DAVIS (``"val"``) only.
        sequences: score these only; by default every sequence of the truth.
        progress: show a bar.

    Returns:
        J and F of every frame, and their table.

    Raises:
        InputError: something is missing or does not fit; it names the file.
    """
    if rule is not None:
        expect_one_of("evaluate", "rule", rule, RULES)
    truths = find_sequences(Path(truth_dir))
    predictions = find_sequences(Path(prediction_dir))
    rule = rule or _rule_of(truths)
    if split is not None:
        sequences = read_split(Path(truth_dir), split, RULES[rule].years)
    pairs = _pairs(truths, predictions, sequences)
    found: list[ObjectScores] = []
    for name, (truth, prediction) in tqdm(pairs.items(), "evaluate", disable=not progress):
        found += _score_sequence(name, truth, prediction, RULES[rule])
    return Evaluation(rule, tuple(found))


def _rule_of(truths: dict[str, Path]) -> str:
    for folder in truths.values():
        labels = np.unique(read_label_map(next(iter(map_files(folder).values()))))
        if not np.isin(labels, (0, 1, VOID)).all():
            return "davis17"
    return "davis16"


def _pairs(
    truths: dict[str, Path], predictions: dict[str, Path], names: Sequence[str] | None
) -> dict[str, tuple[Path, Path]]:
    """The folders of truth and prediction of every sequence that is to be scored."""
    if names is None and len(truths) == len(predictions) == 1:
        (name, truth), (prediction,) = next(iter(truths.items())), predictions.values()
        return {name: (truth, prediction)}
    wanted = list(truths) if names is None else list(names)
    if not wanted:
        raise InputError("evaluate: sequences expected at least 1, got none")
    for found, what in ((truths, "truth"), (predictions, "prediction")):
        if missing := [name for name in wanted if name not in found]:
            folder = next(iter(found.values())).parent
            raise InputError(
                f"the {what} lacks {len(missing)} of {len(wanted)} sequences, such as "
                f"{folder / missing[0]}; choose some by split or sequences"
            )
    return {name: (truths[name], predictions[name]) for name in wanted}


def _score_sequence(name: str, truth: Path, prediction: Path, rule: Rule) -> list[ObjectScores]:
    truths, predictions = map_files(truth), map_files(prediction)
    frames = list(truths) if rule.ends else list(truths)[1:-1]
    if not frames:
        raise InputError(f"{truth}: at least 3 frames expected, got {len(truths)}")
    for frame in frames:
        if frame not in predictions:
            raise InputError(f"{prediction / frame}.png does not exist: {name} lacks a mask")
    labels = _labels_of(truths.values()) if rule.several else [1]
    region, contour = [], []
    for frame in frames:
        ours, theirs = read_label_map(predictions[frame]), read_label_map(truths[frame])
        _check_map(predictions[frame], ours, theirs, labels, rule)
        masks = _masks(ours, theirs, labels, rule)
        region.append(region_similarity(*masks))
        contour.append(contour_accuracy(*masks))
    scores = (torch.stack(values).T.numpy() for values in (region, contour))
    return [ObjectScores(name, label, tuple(frames), j, f) for label, j, f in zip(labels, *scores)]


def _labels_of(files: Iterable[Path]) -> list[int]:
    """The objects of a sequence: one may come later than the first frame."""
    found: set[int] = set()
    for file in files:
        found.update(np.unique(read_label_map(file)).tolist())
    if not found - {0, VOID}:
        raise InputError(f"{next(iter(files)).parent}: masks of objects expected, got none")
    return sorted(found - {0, VOID})


def _check_map(
    path: Path, ours: np.ndarray, theirs: np.ndarray, labels: list[int], rule: Rule
) -> None:
    if ours.shape != theirs.shape:
        raise InputError(
            f"{path}: a mask of {theirs.shape[1]} x {theirs.shape[0]} pixels expected, as the "
            f"truth's, got {ours.shape[1]} x {ours.shape[0]}"
        )
    if rule.several:
        others = np.setdiff1d(np.unique(ours), [0, VOID, *labels])
        if len(others):
            raise InputError(
                f"{path}: labels expected of {labels}, as the truth's, got {others[0]}"
            )


def _masks(
    ours: np.ndarray, theirs: np.ndarray, labels: list[int], rule: Rule
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The masks of all objects in a frame, and what is void, [K, H, W] each."""
    mine, other = (torch.from_numpy(labels.astype(np.int32))[None] for labels in (ours, theirs))
    if not rule.several:
        return mine != 0, other != 0, None
    objects = torch.tensor(labels, dtype=torch.int32)[:, None, None]
    void = other == VOID
    return mine == objects, other == objects, void.expand(len(labels), -1, -1)
