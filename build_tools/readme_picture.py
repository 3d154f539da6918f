"""Make docs/images/first_screen.webp: one concept of DINOv2-S on the gallery clips of SAM 2.

    python build_tools/readme_picture.py WEIGHTS CLIPS [RUN]

WEIGHTS is a folder with DINOv2-S in the layout of transformers, CLIPS one with the clips of
facebookresearch/sam2 (demo/data/gallery and notebooks/videos/bedroom.mp4, Apache-2.0) under the
names below. The run, with its weight-randomised copy, is made where it is not there. What the
caption says of it goes to first_screen.json beside the picture, in the report's own words.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import vtcd_ops
from vtcd_ops.reporting.contents import Limits, gather
from vtcd_ops.reporting.findings import find

CLIPS = (
    "dog_playing", "cups_ball_shell_game", "moving_blocks", "pouring_coffee", "soccer_juggling_3",
    "kids_jumping",
)  # fmt: skip
CONCEPT = "keys-L11-H4-C1"  # the first one of the report: in all videos, least like the copy
PICTURE = Path(__file__).parents[1] / "docs/images/first_screen.webp"


def main(weights: str, clips: str, run: str | None = None) -> None:
    """Discover, and write the picture."""
    videos = [str(Path(clips, f"{name}.mp4")) for name in CLIPS]
    found = vtcd_ops.discover(
        f"hf_dinov2:{weights}?image_size=336x588",
        videos,
        out=run or tempfile.mkdtemp(),
        layers=[2, 5, 8, 11],
        sanity=True,
    )
    title = "DINOv2-S: layer 11, head 4, concept 1 (found without labels)"
    vtcd_ops.card(found, CONCEPT, PICTURE, clips=4, name=title)
    shown, _, _ = gather(found, Limits(), progress=False)
    said = find(shown)
    tiles = {tile.text: tile.value for tile in said.tiles}
    text = json.dumps({"headline": said.headline, "tiles": tiles}, indent=1, ensure_ascii=False)
    PICTURE.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
