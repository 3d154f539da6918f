# SPDX-License-Identifier: MIT
"""Scenes of Kubric, for whoever has them: a manifest with the masks that TCOW is judged by.

    python -m reproduce.kubric SCENES OUT --limit 30
    python -m reproduce WORK --model tcow=checkpoint.pth --data OUT/manifest.csv --only table4

SCENES is a folder of scenes, or of `train`, `val` and `test` (`--split`), as TCOW publishes them:
`NAME/NAME_p0_v0.json` and, in `NAME/frames_p0_v0/`, `rgba_00000.png`, `segmentation_00000.png` and
`divided_segmentation_000_00000.png`; or as Kubric's own workers write them: `rgba_00000.png`,
`segmentation_00000.png` and `metadata.json` in `NAME/`, which say nothing of what is hidden.

One object a scene is followed. OUT gets its masks, `NAME.npz`, and links to the frames, `NAME/`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.files import write_atomic

HIDDEN = 0.95  # from this share on an object is hidden, and what covers most of it is its occluder
OCCLUDER = HIDDEN / 2  # the share of the object that it covers at least
CONTAINED = 0.75  # from this share of its box on an object is in another's box
FRAMES = ("frames_p0_v0", "frames", ".")
METADATA = ("{name}_p0_v0.json", "{name}.json", "metadata.json")
SAMPLES = np.stack(np.meshgrid(*[np.linspace(0, 1, 6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Scene:
    """A scene as it lies on disk: K objects in T frames.

    Attributes:
        frames: images, in order.
        visible: which object each pixel shows, int [T, H, W]; 0: none, k + 1: object k.
        whole: the pixels of each object as if nothing hid it, bool [K, T, H, W]; None if unknown.
        boxes: corners of the objects' boxes in the world, [K, T, 8, 3]; None if unknown.
    """

    frames: list[Path]
    visible: np.ndarray
    whole: np.ndarray | None
    boxes: np.ndarray | None


def read_scene(folder: str | Path) -> Scene:
    """Read a scene.

    Raises:
        InputError: it has no frames or no metadata, or masks of another kind or number.
    """
    folder = Path(folder)
    places = [folder / one for one in FRAMES]
    place = next((one for one in places if (one / "rgba_00000.png").is_file()), None)
    names = [one.format(name=folder.name) for one in METADATA]
    described = next((folder / one for one in names if (folder / one).is_file()), None)
    if place is None or described is None:
        what = "rgba_00000.png" if place is None else f"one of {', '.join(names)}"
        raise InputError(f"read_scene: {folder} expected to hold {what}, got none")
    metadata = json.loads(described.read_text(encoding="utf-8"))
    instances = metadata["instances"]
    number = metadata.get("scene", {}).get("num_valo_instances", len(instances))
    frames = sorted(place.glob("rgba_*.png"))
    visible = np.stack([_numbers(place / f"segmentation_{_of(frame)}.png") for frame in frames])
    if visible.max(initial=0) > number:
        raise InputError(
            f"read_scene: {folder} expected {number} objects as {described.name} says, "
            f"got number {visible.max()} in its segmentation"
        )
    whole = None
    if (place / f"divided_segmentation_000_{_of(frames[0])}.png").is_file():
        alone = "divided_segmentation_{:03d}_{}.png"
        whole = np.stack([
            np.stack([_is_there(place / alone.format(k, _of(frame))) for frame in frames])
            for k in range(number)
        ])  # fmt: skip
    boxes = [one.get("bboxes_3d") for one in instances[:number]]
    known = all(one is not None and len(one) >= len(frames) for one in boxes)
    return Scene(
        frames,
        visible,
        whole,
        np.array([one[: len(frames)] for one in boxes], dtype=float) if known and boxes else None,
    )


def choose_object(scene: Scene) -> int | None:
    """Return the object that is worth following, by TCOW's weights; None if there is none.

    It moves and is hidden much, and its query shows it: at least 1/2500 of the first frame and a
    fifth of the object; and 1/10000 of all frames in the mean.
    """
    number = len(scene.whole) if scene.whole is not None else int(scene.visible.max(initial=0))
    scores = [_worth(*_masks_of(scene, k)) for k in range(number)]
    best = int(np.argmax(scores)) if scores else 0
    return best if scores and scores[best] >= 0 else None


def masks_of(scene: Scene, target: int) -> dict[str, np.ndarray]:
    """Return the masks of an object, of what hides it and of what it is in, bool [T, H, W] each.

    The occluder is the object seen in front of the largest part of a target that is hidden in the
    frame, the container that whose box holds the target's, the outermost of several; each as a
    whole, in these frames alone.

    Returns:
        `query_mask` [H, W] and `target_masks`, what is seen of it; where the scene says what is
        hidden, `amodal_target`, `occluder_masks` and `container_masks` too.
    """
    seen, whole = _masks_of(scene, target)
    found = {"query_mask": seen[0], "target_masks": seen}
    if scene.whole is None:
        return found
    occluder, container = np.zeros_like(seen), np.zeros_like(seen)
    for t in range(len(seen)):
        if (k := _occluder(scene, target, t)) is not None:
            occluder[t] = scene.whole[k, t]
        if (k := _container(scene, target, t)) is not None:
            container[t] = scene.whole[k, t]
    return found | {
        "amodal_target": whole, "occluder_masks": occluder, "container_masks": container,
    }  # fmt: skip


def held_share(inner: np.ndarray, outer: np.ndarray) -> float:
    """Return the share of a box, corners [8, 3] in any order, that lies in another.

    >>> corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    >>> held_share(corners, 2 * corners - 0.5), held_share(corners + 5, corners)
    (1.0, 0.0)
    """
    points = inner[0] + SAMPLES @ _edges(inner)
    try:
        places = np.linalg.solve(_edges(outer).T, (points - outer[0]).T)
    except np.linalg.LinAlgError:  # a flat box holds nothing
        return 0.0
    return float(((places > -1e-9) & (places < 1 + 1e-9)).all(axis=0).mean())


def write_manifest(
    scenes: str | Path, out: str | Path, *, split: str | None = None, limit: int = 0
) -> int:
    """Write masks, links to frames and `manifest.csv`, and return how many scenes it lists.

    Args:
        scenes: folder of scenes, or of splits.
        out: folder to write to.
        split: "train", "val" or "test"; None: the folder itself.
        limit: at most so many scenes, in the order of their names; 0: all.

    Raises:
        InputError: no scenes, or one that cannot be read.
    """
    root = Path(scenes) if split is None else Path(scenes) / split
    folders = sorted(one for one in root.iterdir() if one.is_dir()) if root.is_dir() else []
    if not folders:
        raise InputError(f"write_manifest: {root} expected to hold scenes, got none")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, ...]] = []
    for folder in folders:
        if 0 < limit <= len(rows):
            break
        scene = read_scene(folder)
        target = choose_object(scene)
        if target is None:
            continue
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **masks_of(scene, target))
        write_atomic(out / f"{folder.name}.npz", file.getvalue())
        _link(scene.frames, out / folder.name)
        rows.append((folder.name, f"{folder.name}.npz", f"{folder.name}.npz"))
    text = io.StringIO()
    csv.writer(text).writerows([("video", "query_mask", "target_masks"), *rows])
    write_atomic(out / "manifest.csv", text.getvalue().encode())
    return len(rows)


def _link(frames: list[Path], folder: Path) -> None:
    """Show the frames alone in a folder: beside them lie masks, depth and normals."""
    folder.mkdir(exist_ok=True)
    for frame in frames:
        link = folder / f"{_of(frame)}.png"
        link.unlink(missing_ok=True)
        link.symlink_to(frame.resolve())


def _of(frame: Path) -> str:
    return frame.stem.removeprefix("rgba_")


def _numbers(path: Path) -> np.ndarray:
    """Which object each pixel shows, [H, W]: Kubric writes PNGs with a palette."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise InputError(
                    f"read_scene: {path} expected numbers of objects (a PNG with a palette), got "
                    f"colours ({image.mode})"
                )
            return np.asarray(image).astype(np.int64)
    except FileNotFoundError:
        raise InputError(f"read_scene: {path} does not exist") from None


def _is_there(path: Path) -> np.ndarray:
    """Where an object is, bool [H, W], by a picture that is black elsewhere."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) > 0
    except FileNotFoundError:
        raise InputError(f"read_scene: {path} does not exist") from None


def _masks_of(scene: Scene, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of an object, and the whole of it, bool [T, H, W]."""
    seen = scene.visible == k + 1
    return seen, seen if scene.whole is None else scene.whole[k]


def _hidden(seen: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The share of an object that is hidden in each frame; 0 where it is out of sight."""
    total = whole.sum((1, 2))
    return np.where(total > 0, 1 - seen.sum((1, 2)) / np.maximum(total, 1), 0.0)


def _worth(seen: np.ndarray, whole: np.ndarray) -> float:
    hidden, share = _hidden(seen, whole), seen.mean((1, 2))
    change = (whole[1:] != whole[:-1]).mean() if len(whole) > 1 else 0.0
    at_first = 1 - hidden[0]
    return float(
        3 * hidden.mean()
        + 4 * change / (whole.mean((1, 2)).max() + 1e-6)
        + at_first
        + 64 * (min(1.0, 10_000 * share.mean()) - 1)
        + 256 * (min(1.0, 2_500 * share[0]) - 1)
        + 16 * (min(1.0, 5 * at_first) - 1)
    )


def _occluder(scene: Scene, target: int, t: int) -> int | None:
    seen, whole = (each[t : t + 1] for each in _masks_of(scene, target))
    if _hidden(seen, whole)[0] < HIDDEN:
        return None
    covers = np.bincount(scene.visible[t][whole[0]], minlength=target + 2)
    covers[[0, target + 1]] = 0  # no object, and itself
    best = int(covers.argmax())
    return best - 1 if covers[best] >= OCCLUDER * whole.sum() else None


def _container(scene: Scene, target: int, t: int) -> int | None:
    if scene.boxes is None:
        return None
    boxes = scene.boxes[:, t]
    holding = _holding(boxes, target)
    if not holding:
        return None
    in_others = {k: max([0.0, *_holding(boxes, k).values()]) for k in holding}
    return min(holding, key=lambda k: (in_others[k], -holding[k]))


def _holding(boxes: np.ndarray, k: int) -> dict[int, float]:
    """The objects whose boxes hold object k, and the share of it."""
    shares = {one: held_share(boxes[k], boxes[one]) for one in range(len(boxes)) if one != k}
    return {one: share for one, share in shares.items() if share >= CONTAINED}


def _edges(corners: np.ndarray) -> np.ndarray:
    """The edges at the first corner, [3, 3]: the differences that are no sum of two others."""
    ways = corners[1:] - corners[0]
    near = 1e-5 * np.abs(ways).max()
    edges = [
        one for i, one in enumerate(ways)
        if not any(
            np.abs(ways[a] + ways[b] - one).max() <= near
            for a in range(7) for b in range(a) if i not in (a, b)
        )
    ]  # fmt: skip
    if len(edges) != 3:
        raise InputError("held_share: corners expected of a box, [8, 3], got other points")
    return np.stack(edges)


def main(arguments: Any = None) -> None:
    """Write a manifest of scenes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes")
    parser.add_argument("out")
    parser.add_argument("--split", choices=("train", "val", "test"))
    parser.add_argument("--limit", type=int, default=0)
    given = parser.parse_args(arguments)
    count = write_manifest(given.scenes, given.out, split=given.split, limit=given.limit)
    print(f"{Path(given.out) / 'manifest.csv'}: {count} scenes")


if __name__ == "__main__":
    main()
