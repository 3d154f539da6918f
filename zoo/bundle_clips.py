# SPDX-License-Identifier: MIT
"""Write the clips that ship with the miniatures: ``python -m zoo.bundle_clips FOLDER``.

``FOLDER/manifest.csv`` lists one clip of each motion class, for the demo, and
``FOLDER/evaluation/manifest.csv`` the evaluation set, several of each. No model was trained on any
of them. A clip is a visually lossless mp4 with an ``.npz`` of its masks: ``instances`` (ids of
``zoo.stage.INSTANCE_IDS``), ``target_masks``, ``amodal_target`` (as if nothing stood before it),
``occluder_masks`` (what hides most of the target), ``container_masks`` (what it is in or under)
and, where the target is in view at first, ``query_mask``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from zoo.dataset import HELD_OUT_SEED
from zoo.motions import CLASS_NAMES
from zoo.scenes import FRAMES_PER_SECOND, Clip, SceneRenderer
from zoo.stage import INSTANCE_IDS

FIRST_SEED = 2 * HELD_OUT_SEED  # neither trained nor evaluated on in zoo/
FIRST_EVALUATION_SEED = FIRST_SEED + 1000
SMALLEST_QUERY = 20  # pixels of the target in the first frame, for it to be asked for


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


def clip_masks(clip: Clip) -> dict[str, np.ndarray]:
    """The arrays of a clip's ``.npz``, [T, H, W] and ``query_mask`` [H, W]."""
    target = clip.instances == INSTANCE_IDS["target"]

    def masks(ids: np.ndarray) -> np.ndarray:
        ids = ids[:, None, None]
        return (clip.instances == ids) & (ids > 0)

    arrays = {
        "instances": clip.instances,
        "target_masks": target,
        "amodal_target": clip.amodal_target,
        "occluder_masks": masks(clip.occluder),
        "container_masks": masks(clip.container),
    }
    if target[0].sum() >= SMALLEST_QUERY:
        arrays["query_mask"] = target[0]
    return arrays


def write_clip(folder: Path, name: str, clip: Clip) -> dict[str, str]:
    """Write a clip's video and masks; returns its row of the manifest."""
    write_video(folder / f"{name}.mp4", clip.frames)
    arrays = clip_masks(clip)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    return {
        "video": f"{name}.mp4",
        "label": clip.label,
        "text": clip.caption,
        "query_mask": f"{name}.npz" if "query_mask" in arrays else "",
        "target_masks": f"{name}.npz",
    }


def write_set(folder: Path, clips: Iterable[tuple[str, Clip]]) -> None:
    """Write named clips and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [write_clip(folder, name, clip) for name, clip in clips]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=12, help="clips of the evaluation set")
    args = parser.parse_args()
    renderer = SceneRenderer()
    write_set(
        args.folder,
        (
            (label, renderer.clip(label, FIRST_SEED + index))
            for index, label in enumerate(CLASS_NAMES)
        ),
    )
    write_set(
        args.folder / "evaluation",
        (
            (f"{label}_{number:02d}", renderer.clip(label, FIRST_EVALUATION_SEED + number))
            for number in range(args.per_class)
            for label in CLASS_NAMES
        ),
    )


if __name__ == "__main__":
    main()
