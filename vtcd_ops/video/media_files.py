"""Which files of a folder are frames, masks or videos, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from natsort import natsorted

from vtcd_ops.common.errors import warn

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".gif", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths by name, numbers in names as numbers.

    >>> [path.name for path in in_natural_order(map(Path, ["10.png", "9.png", "1.png"]))]
    ['1.png', '9.png', '10.png']
    """
    # 01.png and 1.png are one number: the plain order of names decides, not that of the disk
    by_name = sorted(paths, key=lambda path: path.name)
    return list(natsorted(by_name, key=lambda path: path.name))


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_image(path: Path) -> bool:
    """Whether a file's name is that of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def visible_entries(folder: Path) -> list[Path]:
    """Return what a folder holds, without the hidden files that systems leave (`._a.mp4`)."""
    return in_natural_order(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder that are frames (or masks), in natural order.

    Where images are numbered, one without a number (`cover.png`) is none of them, and a warning
    says that it is left out.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("10.png", "9.png", "._9.png", "Thumbs.db"):
    ...     (folder / name).touch()
    >>> [path.name for path in image_files(folder)]
    ['9.png', '10.png']
    """
    images = [entry for entry in visible_entries(folder) if is_image(entry) and entry.is_file()]
    numbered = [image for image in images if has_number(image)]
    others = [image.name for image in images if not has_number(image)]
    if len(numbered) < 2 or not others:
        return images
    warn(f"{folder}: left out {', '.join(others)}, which has no number among numbered images")
    return numbered


def has_number(path: Path) -> bool:
    """Whether a file's name, without its suffix, holds a digit."""
    return any(character.isdecimal() for character in path.stem)
