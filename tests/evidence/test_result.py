"""What evidence says in words, and its order: from planted numbers."""

from __future__ import annotations

import numpy as np
import pytest

from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.result import Evidence


def planted(copy: list[float], of_copies: list[float], spread: float = 0.0) -> Evidence:
    """Evidence of concepts whose overlaps with the one copy are given."""
    count, videos = len(copy), 20
    noise = spread * np.where(np.arange(videos) % 2, 1, -1)
    overlaps = np.array(copy)[:, None] + noise
    return Evidence(
        {"part": "keys", "model": "planted", "num_videos": videos},
        units=np.stack([np.zeros(count), np.arange(count) // 2, np.arange(count) % 2], 1).astype(
            int
        ),
        videos=np.full(count, 10),
        degenerate=np.zeros(count, dtype=bool),
        per_video={"copy": PerVideo.mean_of(overlaps)},
        chance={"copy": np.full(count, 0.1)},
        p_value={},
        of_copies={"copy": np.array(of_copies)},
        copy_overlap=np.array(copy)[:, None],
        copy_unit=np.zeros((count, 1, 3), dtype=int),
        copy_chance=np.full((count, 1), 0.1),
        copy_moved=np.full((count, 1), 0.1),
        objects=[],
    )


@pytest.mark.parametrize(
    ("ours", "copies", "spread", "verdict"),
    [
        (0.2, 0.6, 0.05, "less than copies overlap"),
        (0.6, 0.6, 0.0, "as much as copies overlap"),
        (0.7, 0.6, 0.0, "as much as copies overlap"),
        (0.55, 0.6, 0.4, "as much as copies overlap"),  # within the interval over videos
    ],
)
def test_the_sentence_concedes_where_the_copies_are_as_alike(ours, copies, spread, verdict):
    assert verdict in planted([ours] * 4, [copies] * 4, spread).sentence()


def test_without_copies_the_sentence_says_so():
    found = planted([0.5] * 4, [])
    without = Evidence(**{**vars(found), "copy_overlap": np.zeros((4, 0)), "per_video": {}})
    assert "not compared" in without.sentence()
    assert np.isnan(without.unlike_copies).all()
    assert sorted(without.order.tolist()) == [0, 1, 2, 3]


def test_unlike_the_copies_is_corrected_for_chance():
    found = planted([0.1, 0.55, 1.0, 0.05], [0.5])
    assert found.unlike_copies == pytest.approx([1, 0.5, 0, 1])
    assert found.order.tolist() == [0, 3, 1, 2]
    degenerate = np.array([True, True, False, False])
    last = Evidence(**{**vars(found), "degenerate": degenerate})
    assert last.order.tolist() == [3, 2, 0, 1]
    assert last.degenerate_heads() == [(0, 0)]
    [row] = last.summary()
    assert row.value == pytest.approx(np.median([1.0, 0.05]))  # of the other head alone
    assert any("layer 0 head 0" in line for line in last.lines())
