"""Make the pictures of docs/ideas.md from the bundled clips and two bundled miniatures.

    python build_tools/ideas_pictures.py

The Rosetta concept that is shown is the best-scoring pair that occurs in all clips, the concept its
member in `hf_videomae:mini-ssl`: chosen to show what the words mean, not what is typical.
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import vtcd_ops
from vtcd_ops import Run
from vtcd_ops.reporting.palette import CONCEPTS
from vtcd_ops.rosetta_concepts.compared import Member

IMAGES = Path(__file__).parents[1] / "docs/images"
BUNDLED = Path(str(files("vtcd_hf_videomae"))) / "clips"
CLIPS = ("roll", "push_right", "drop_into", "drop_behind", "lift", "topple")
SHOWN = 3  # of these clips
FRAMES = (2, 7, 12)
SCALE, GAP = 3, 6


def main() -> None:
    """Discover in two models, and draw."""
    clips = [str(BUNDLED / f"{name}.mp4") for name in CLIPS]
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            vtcd_ops.discover(f"hf_videomae:{name}", clips, out=f"{folder}/{name}", progress=False)
            for name in ("mini-ssl", "mini")
        ]
        save("ideas_tokens", [[with_tokens(runs[0].preview(0)[frame]) for frame in FRAMES]])
        save("ideas_keys", [keys_as_colours("hf_videomae:mini-ssl", runs[0].preview(0))])
        found = vtcd_ops.rosetta(
            runs, importances=None, delta=0.3, out=f"{folder}/shared", progress=False
        )
        everywhere = (i for i in found.of_order(2) if np.isfinite(found.per_video[i]).all())
        best = next(everywhere)
        members = found.members(best)
        print("score", round(float(found.scores[best]), 2), members)
        first = members[0]
        save("ideas_tubelets", [tubelets(runs[0], 0, first.layer, first.head)])
        save("ideas_concept", [one_concept(runs[0], video, first) for video in range(SHOWN)])
        rows = [one_concept(runs[member.run], 1, member) for member in members]
        save("ideas_rosetta", rows)


def with_tokens(frame: np.ndarray) -> Image.Image:
    """A frame divided into patches of 8x8 pixels, one of them marked."""
    image = enlarged(frame)
    pen = ImageDraw.Draw(image)
    side = 8 * SCALE
    for at in range(0, image.width + 1, side):
        pen.line([(at, 0), (at, image.height)], fill="#ffffff")
        pen.line([(0, at), (image.width, at)], fill="#ffffff")
    pen.rectangle((3 * side, 4 * side, 4 * side, 5 * side), outline="#f16d74", width=3)
    return image


def keys_as_colours(name: str, video: np.ndarray) -> list[Image.Image]:
    """The keys of a head, their three strongest directions as red, green and blue."""
    model = vtcd_ops.load_model(name)
    clip = model.preprocess(video)[None]
    taken = vtcd_ops.capture(model, clip, layers=[3], parts=("keys",), heads=[0])
    keys = taken["keys"][3][0, 0].double().numpy()
    keys = keys - keys.mean(0)
    colours = keys @ np.linalg.svd(keys, full_matrices=False)[2][:3].T
    low, high = np.quantile(colours, [0.02, 0.98], axis=0)
    grid = np.clip((colours - low) / (high - low), 0, 1).reshape(8, 8, 8, 3)
    return [enlarged((grid[frame // 2] * 255).astype(np.uint8), 8 * SCALE) for frame in FRAMES]


def tubelets(run: Run, video: int, layer: int, head: int) -> list[Image.Image]:
    """The tubelets of a head, each in a colour."""
    labels = run.labels(video, layer)[head]
    colours = np.array([Image.new("RGB", (1, 1), colour).getpixel((0, 0)) for colour in CONCEPTS])
    painted = colours[labels % len(colours)]
    frames = 0.5 * run.preview(video) + 0.5 * painted
    return [enlarged(frames[frame].astype(np.uint8)) for frame in FRAMES]


def one_concept(run: Run, video: int, shown: Member) -> list[Image.Image]:
    """A video in which all but one concept is dimmed."""
    here = run.support(video, shown.layer, shown.head) == shown.concept
    grey = 0.25 * run.preview(video).mean(-1, keepdims=True)
    frames = np.where(here[..., None], run.preview(video), grey)
    return [enlarged(frames[frame].astype(np.uint8)) for frame in FRAMES]


def enlarged(pixels: np.ndarray, scale: int = SCALE) -> Image.Image:
    """An image of larger pixels."""
    image = Image.fromarray(pixels)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def save(name: str, rows: list[list[Image.Image]]) -> None:
    """Write rows of images of one size, a gap between them."""
    width, height = rows[0][0].size
    size = (len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            sheet.paste(image, (j * (width + GAP), i * (height + GAP)))
    sheet.save(IMAGES / f"{name}.webp", quality=85, method=6)


if __name__ == "__main__":
    main()
