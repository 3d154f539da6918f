"""Tags of concepts on a run made by hand: a place, an event, a coloured object, a background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pipeline.report_page import MODEL, Page, video_record

import vtcd_ops
from vtcd_ops.common.errors import InputWarning
from vtcd_ops.discovery.foreign import store_concepts
from vtcd_ops.discovery.run import Run

FRAMES, EDGE, VIDEOS = 12, 32, 3
PLACE, EVENT, OBJECT = range(3)


def _volume(video: int) -> np.ndarray:
    """Concepts of every voxel [T, H, W]; -1: none."""
    volume = np.full((FRAMES, EDGE, EDGE), -1)
    volume[:, :, :8] = PLACE
    volume[5, 8 * video : 8 * video + 8, 24:] = EVENT
    volume[:, 10 * video : 10 * video + 10, 10:20] = OBJECT
    return volume


def _write(folder: Path, masks: np.ndarray | None = None) -> Run:
    """Of each layer head 0 has the three concepts, and head 1 one that is everywhere."""
    records = []
    for index in range(VIDEOS):
        record = video_record(index, f"video {index}", FRAMES)
        if masks is not None:
            np.save(folder / f"masks-{index}.npy", masks[index])
            record = replace(record, target_masks=str(folder / f"masks-{index}.npy"))
        records.append(record)

    def preview(index: int) -> np.ndarray:
        frames = np.full((FRAMES, EDGE, EDGE, 3), 40, np.uint8)
        frames[_volume(index) == OBJECT] = (250, 20, 20)
        return frames

    supports = [np.stack([_volume(v), np.zeros_like(_volume(v))]) for v in range(VIDEOS)]
    videos = SimpleNamespace(
        model=MODEL, videos=records, preview=preview, expect_kept=lambda caller: None
    )
    sites = [("keys", 0), ("keys", 1)]
    centers = [np.zeros((k, 4), np.float32) for k in (3, 1)]
    of_sites = dict.fromkeys(sites, supports), dict.fromkeys(sites, centers)
    return store_concepts(folder / "run", videos, *of_sites, method="by hand")  # type: ignore[arg-type]


def _tags(run: Run) -> list[dict[str, str]]:
    heads: list[dict[str, Any]] = Page(vtcd_ops.report(run, progress=False)).heads()[:2]
    return [concept["tags"] for head in heads for concept in head["concepts"]]


def test_tags_are_said_with_chance_beside_them(tmp_path: Path) -> None:
    masks = np.stack([_volume(video) == OBJECT for video in range(VIDEOS)])
    place, event, thing, everywhere = _tags(_write(tmp_path, masks))
    # anywhere, a quarter of the frame would share s²/(2s − s²) = s/(2 − s) with itself
    by_chance = f"anywhere by chance {0.25 / 1.75:.2f}"
    assert place == {"place": f"same place in all videos 1.00 (tag above 0.5, {by_chance})"}
    assert list(event) == ["event"]
    assert event["event"].startswith("its largest moment, times the average 12.00 (tag above 2")
    # three moments of twelve: 4 where no two agree, 8 where two do, 12 where all three do
    expected = 4 * 110 / 144 + 8 * 33 / 144 + 12 * 1 / 144
    assert float(event["event"].rstrip(")").split()[-1]) == pytest.approx(expected, abs=1.5)
    assert set(thing) == {"object", "colour"}
    share = 100 / EDGE**2
    assert thing["object"].startswith("overlap with the true object 1.00 (tag above 0.5, by chance")
    assert float(thing["object"].rstrip(")").split()[-1]) == pytest.approx(
        share / (2 - share), abs=0.006
    )
    assert thing["colour"].startswith("colour alone explains 1.00 of it")
    assert set(everywhere) == {"background"}  # chance would have it in the same place as well


def test_without_masks_nothing_is_an_object(tmp_path: Path) -> None:
    assert list(_tags(_write(tmp_path))[OBJECT]) == ["colour"]


def test_masks_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    run = _write(tmp_path, np.zeros((VIDEOS, FRAMES - 1, EDGE, EDGE), dtype=bool))
    with pytest.warns(InputWarning, match="report: no overlap with true objects"):
        assert list(_tags(run)[OBJECT]) == ["colour"]
