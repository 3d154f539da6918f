"""Segmentation study: labels that are propagated, the rules of the scores, and going on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square

import vtcd_ops
from reproduce import table3
from reproduce.label_propagation import propagate
from reproduce.study import QUICK, Study
from vtcd_ops.adapters import example_adapter
from vtcd_ops.video.samples import Sample


def test_labels_go_with_the_features() -> None:
    """Every token's feature moves a column to the right in each step; so must its label."""
    plane, steps = (3, 8), 5
    colours = torch.eye(24).reshape(*plane, 24)
    rows = torch.stack([colours.roll(step, dims=1).reshape(24, 24) for step in range(steps)])
    first = torch.zeros(plane)
    first[1, 2:4] = 1
    found = propagate(rows, first.flatten(), plane).reshape(steps, *plane)
    for step in range(steps):
        assert torch.equal(found[step] > 0.5, first.roll(step, dims=1) > 0.5)


def test_the_rule_of_davis_leaves_out_the_first_and_the_last_frame() -> None:
    subject = table3.Subject("one", example_adapter(), [Sample("a", name="a")], by_sequence=True)
    scores = [{"J": [1.0, 0.5, 0.7, 0.0], "F": [1.0, 0.2, 0.4, 0.0]}]
    cells = table3._cells(subject, table3.BETTER, scores)
    values = {key: cell.value for key, cell in cells.items()}
    assert values == pytest.approx({"paper": 0.55, "J": 0.6, "F": 0.3, "both": 0.45, "a": 0.55})


def test_every_way_is_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTCD_DATA", raising=False)
    video = moving_square(seed=0)
    truth = np.zeros(video.shape[:3], dtype=bool)
    truth[:, 8:24, 8:24] = True
    sample = Sample(video, target_masks=truth, name="square")
    subject = table3.Subject("tiny", example_adapter(), [sample])
    monkeypatch.setattr(table3, "subjects", lambda study: [subject])
    study = Study(tmp_path, QUICK, talks=False)
    result = table3.table3(study)
    ways = (table3.PAPER, table3.BETTER, table3.ALONE, table3.COPY, table3.PROPAGATION)
    assert [row.label for row in result.rows] == [f"tiny, {way}" for way in ways]
    masks = vtcd_ops.segment(subject.adapter, video, truth[0]).masks.numpy()
    both, either = (masks & truth).sum((1, 2)), (masks | truth).sum((1, 2))
    assert result.rows[1].cells["paper"].value == pytest.approx((both / either).mean())

    def refuse(*asked: object, **more: object) -> None:
        raise AssertionError("it was scored before")

    monkeypatch.setattr(vtcd_ops, "segment", refuse)
    assert table3.table3(study).rows == result.rows
