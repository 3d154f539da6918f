"""Label maps of video objects on disk: PNGs in the layouts of DAVIS, or in plain folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.video.decoding import open_image
from vtcd_ops.video.media_files import in_natural_order

__all__ = ["find_sequences", "map_files", "read_label_map", "read_split"]

_WHERE_DAVIS_IS = "DAVIS is at https://davischallenge.org"


def find_sequences(folder: Path) -> dict[str, Path]:
    """Return the folders of label maps, by the name of their sequence, in the order of the names.

    Args:
        folder: of DAVIS (`Annotations/480p/<sequence>`), of sequences (`<sequence>/*.png` or
            `<sequence>/masks/*.png`), or of one sequence.

    Raises:
        InputError: there are none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of masks; {_WHERE_DAVIS_IS}")
    base = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    sizes = [base / name for name in ("480p", "Full-Resolution")]
    base = next((size for size in sizes if size.is_dir()), base)
    for place in (base, base / "masks"):  # one sequence
        if _maps_in(place):
            return {base.resolve().name: place}
    found = {}
    for place in in_natural_order(path for path in base.iterdir() if path.is_dir()):
        inner = place / "masks"
        if _maps_in(place):
            found[place.name] = place
        elif inner.is_dir() and _maps_in(inner):
            found[place.name] = inner
    if not found:
        jpegs = any(base.glob("*.jp*g")) or any(base.glob("*/*.jp*g"))
        hint = "JPEG changes labels, so only PNG is read" if jpegs else _WHERE_DAVIS_IS
        raise InputError(f"{folder}: folders of PNG masks expected, found none; {hint}")
    return found


def map_files(folder: Path) -> dict[str, Path]:
    """Return the label maps of a sequence by the names of their frames, in order."""
    return {path.stem: path for path in _maps_in(folder)}


def _maps_in(folder: Path) -> list[Path]:
    files = (path for path in folder.glob("*.png") if not path.name.startswith("."))
    return in_natural_order(files)


def read_split(folder: Path, split: str, years: Iterable[str]) -> list[str]:
    """Return the sequences of a split (`train`, `val`) from the lists that come with DAVIS.

    Args:
        folder: of DAVIS.
        split: the list's name.
        years: folders of lists, the first that has it counts: `2017`, `2016`, `480p`.

    Raises:
        InputError: there is no such list.
    """
    lists = [folder / "ImageSets" / year / f"{split}.txt" for year in years]
    for path in lists:
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise InputError(f"{path} cannot be read: {error}") from error
            lines = [line.split()[0] for line in text.splitlines() if line.split()]
            # a name a line (2017), or an image and its annotation a line (2016)
            names = [Path(line).parent.name if "/" in line else line for line in lines]
            return list(dict.fromkeys(names))
    raise InputError(f"{folder} has no list of the split {split!r}: expected {lists[0]}")


def read_label_map(path: Path) -> np.ndarray:
    """Return the labels of a PNG, [H, W]: palette indices or grey values, 0 is background.

    Raises:
        InputError: the file is not an image, or one that holds colours instead of labels.
    """
    with open_image(path) as image:
        pixels, mode = np.asarray(image), image.mode
    if mode in ("LA", "RGBA", "PA"):
        if (pixels[..., -1] != 255).any():
            raise InputError(f"{path}: labels expected in palette or grey values, got transparency")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise InputError(f"{path}: labels expected in palette or grey values, got colours")
        pixels = pixels[..., 0]
    if mode == "1":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind not in "ui":
        raise InputError(f"{path}: whole numbers expected as labels, got {pixels.dtype}")
    return pixels
