"""What `segment` and `choose_heads` refuse: one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmentation.moving_object import colour_adapter, moving_square

import vtcd_ops

VIDEO, MASKS = moving_square(6)

CASES: list[tuple[dict[str, Any], str]] = [
    ({"video": VIDEO[:0]}, "segment: video expected at least 1 frame, got none"),
    ({"video": VIDEO[:2]}, "expected a video of at least 4 frames, got 2"),
    ({"video": VIDEO[..., 0]}, r"video expected uint8 \[T, H, W, 3\]"),
    ({"video": "nowhere.mp4"}, "nowhere.mp4 does not exist"),
    ({"first_mask": MASKS[0, 1:]}, r"first_mask expected \[64, 64\], as the frames of the video, "
     r"got \[63, 64\]"),
    ({"first_mask": MASKS}, r"first_mask expected \[H, W\], got bool \[6, 64, 64\]"),
    ({"first_mask": np.zeros_like(MASKS[0])}, "first_mask expected an object, got an empty mask"),
    ({"first_mask": None}, "first_mask expected a file or an array, got None"),
    ({"first_mask": "nowhere.png"}, "nowhere.png does not exist"),
    ({"heads": []}, "heads expected at least one, got none"),
    ({"heads": [(1, 0)]}, r"heads expected \(part, layer, head\) each, got \(1, 0\)"),
    ({"heads": [("key", 1, 0)]}, "part expected one of queries, keys, values, outputs, got 'key'"),
    ({"heads": [("keys", 2, 0)]}, "layer expected 0 to 1, got 2"),
    ({"heads": [("keys", 1, 0), ("keys", 1, -1)]}, "head expected 0 to 1, got -1"),
    ({"mode": "best"}, "segment: mode expected one of better, paper, got 'best'"),
    ({"num_concepts": 0}, "segment: num_concepts expected a whole number above 0, got 0"),
    ({"tokens_per_tubelet": 1.5}, "tokens_per_tubelet expected a whole number above 0, got 1.5"),
    ({"n_segments": 0}, "n_segments expected a whole number above 0"),
    ({"compactness": 0}, "segment: compactness expected a positive number, got 0"),
    ({"memory": -1}, "segment: memory expected a number from 0 on, got -1"),
    ({"seed": -1}, "segment: seed expected a whole number from 0 on, got -1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CASES)
def test_bad_requests(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"video": VIDEO, "first_mask": MASKS[0]} | change
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.segment(colour_adapter(), **arguments)


def test_a_folder_without_frames(tmp_path: Path) -> None:
    with pytest.raises(vtcd_ops.InputError, match="holds no frames"):
        vtcd_ops.segment(colour_adapter(), tmp_path, MASKS[0])


@pytest.mark.parametrize(
    ("masks", "settings", "message"),
    [
        (None, {}, "video mine expected target_masks, got none"),
        (MASKS[:3], {}, "masks of at least 6 frames expected, got 3"),
        (MASKS[:, 1:], {}, r"video mine expected masks of \[64, 64\], as its frames, got \[63, 64"),
        (MASKS, {"num_heads": 0}, "num_heads expected a whole number above 0, got 0"),
        (MASKS, {"n_segments": 0}, "choose_heads: n_segments expected a whole number above 0"),
        (MASKS, {"compactness": "auto"}, "choose_heads: compactness expected a positive number"),
        (MASKS, {"batch_size": 0}, "choose_heads: batch_size expected a whole number above 0"),
        (MASKS, {"seed": -1}, "choose_heads: seed expected a whole number from 0 on, got -1"),
        (MASKS, {"layers": [2]}, "layer expected 0 to 1, got 2"),
        (MASKS, {"parts": ()}, "parts expected at least one"),
    ],
)
def test_bad_training(masks: np.ndarray | None, settings: dict[str, Any], message: str) -> None:
    sample = vtcd_ops.Sample(VIDEO, target_masks=masks, name="mine")
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.choose_heads(colour_adapter(), sample, **settings)
