# SPDX-License-Identifier: MIT
"""Write the clips that ship with the miniature: ``python -m zoo.bundle_clips FOLDER``.

One held-out clip of each motion class as a visually lossless mp4 and an ``.npz`` of its masks
(``instances`` and ``amodal_target`` as in ``zoo.scenes.Clip``, and ``target_masks``, the visible
target), listed in ``manifest.csv``.
"""

from __future__ import annotations

import argparse
import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from zoo.dataset import HELD_OUT_SEED
from zoo.motions import CLASS_NAMES
from zoo.scenes import FRAMES_PER_SECOND, Clip, SceneRenderer
from zoo.stage import INSTANCE_IDS

FIRST_SEED = 2 * HELD_OUT_SEED  # neither trained nor evaluated on


def write_video(path: Path, frames: np.ndarray) -> None:
    """Encode frames uint8 [T, H, W, 3] as H.264 without chroma subsampling."""
    with av.open(str(path), "w") as container:
        rate = Fraction(FRAMES_PER_SECOND).limit_denominator(100)
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        stream.options = {"crf": "8", "preset": "veryslow"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_clip(folder: Path, name: str, clip: Clip) -> dict[str, str]:
    """Write a clip's video and masks; returns its row of the manifest."""
    write_video(folder / f"{name}.mp4", clip.frames)
    np.savez_compressed(
        folder / f"{name}.npz",
        instances=clip.instances,
        amodal_target=clip.amodal_target,
        target_masks=clip.instances == INSTANCE_IDS["target"],
    )
    return {
        "video": f"{name}.mp4",
        "label": clip.label,
        "text": clip.caption,
        "target_masks": f"{name}.npz",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    renderer = SceneRenderer()
    rows = [
        write_clip(args.folder, label, renderer.clip(label, FIRST_SEED + index))
        for index, label in enumerate(CLASS_NAMES)
    ]
    with (args.folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
