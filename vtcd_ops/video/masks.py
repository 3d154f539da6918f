"""Masks of objects: arrays, `.npz`/`.npy` files, folders of images."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from vtcd_ops.common.errors import InputError, counted, first_line
from vtcd_ops.common.untrusted import expect_regular_file
from vtcd_ops.video.decoding import open_image
from vtcd_ops.video.mask_values import VOID_COLOUR, object_of, object_of_colours, object_of_numbers
from vtcd_ops.video.media_files import image_files, is_image
from vtcd_ops.video.sample import Video

__all__ = ["read_mask", "read_masks"]

MAX_MASK_BYTES = 1 << 30  #: of all masks that are read at once, a byte a pixel

_MAX_HEADER_BYTES = 10_000  # which is NumPy's limit

_LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000")


def read_masks(masks: Video, indices: Sequence[int] | None, key: str = "target_masks") -> Tensor:
    """Return the masks of some frames of a video, bool [len(indices), H, W].

    >>> masks = np.zeros((4, 2, 2), dtype=bool)
    >>> masks[3] = True
    >>> read_masks(masks, [0, 3]).sum(dim=(1, 2))
    tensor([0, 4])

    Args:
        masks: an array [T, H, W], a `.npy` or `.npz` file with one, or a folder with one image a
            frame, in natural order of their names. What is the object:
            :mod:`vtcd_ops.video.mask_values`.
        indices: the frames wanted; of a file only these are held in memory. None: all frames.
        key: which array of an `.npz` file, unless it holds only one.

    Raises:
        InputError: there is no such file, it holds no masks, too few or too large ones, or what in
            them is the object cannot be told.
    """
    if isinstance(masks, np.ndarray):
        wanted = _check_volume("the masks", masks.shape, masks.dtype, indices)
        return torch.from_numpy(object_of(masks[np.asarray(wanted)], "the masks"))
    path = Path(masks)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        return torch.from_numpy(_folder(path, indices))
    return torch.from_numpy(object_of(_file(path, key, indices), str(path)))


def read_mask(mask: Video, key: str = "query_mask") -> Tensor:
    """Return one mask, bool [H, W]: of an image, an array [H, W], or the first of several.

    >>> read_mask(np.eye(2, dtype=np.uint8))
    tensor([[ True, False],
            [False,  True]])

    Args:
        mask: an image file, an array [H, W], or whatever `read_masks` takes.
        key: which array of an `.npz` file, unless it holds only one.

    Raises:
        InputError: there is no such file, or it holds no mask.
    """
    if isinstance(mask, np.ndarray):
        return read_masks(mask[None] if mask.ndim == 2 else mask, [0], key)[0]
    path = Path(mask)
    if path.is_file() and is_image(path):
        return torch.from_numpy(_decide([_image(path)], str(path))[0])
    return read_masks(path, [0], key)[0]


def _check_volume(
    source: str, shape: tuple[int, ...], dtype: np.dtype, indices: Sequence[int] | None
) -> list[int]:
    """Return the frames wanted of masks [T, H, W], after making sure that they can be read."""
    if len(shape) != 3 or dtype.kind not in "biuf" or 0 in shape[1:]:
        raise InputError(f"{source}: masks expected [T, H, W], got {dtype} {list(shape)}")
    wanted = _check_frames(source, shape[0], indices)
    _check_size(source, len(wanted), shape[1:], dtype.itemsize)
    return wanted


def _check_frames(source: str, num_frames: int, indices: Sequence[int] | None) -> list[int]:
    """Return the frames wanted, which must be there."""
    wanted = list(range(num_frames) if indices is None else indices)
    least = max(wanted, default=0) + 1
    if least > num_frames:
        raise InputError(
            f"{source}: masks of at least {counted(least, 'frame')} expected, got {num_frames}"
        )
    return wanted


def _check_size(source: str, count: int, size: Sequence[int], itemsize: int = 1) -> None:
    """Refuse what would fill the memory, before it does."""
    if count * size[0] * size[1] * itemsize > MAX_MASK_BYTES:
        raise InputError(
            f"{source}: {count} masks of {size[1]}x{size[0]} pixels take "
            f"{count * size[0] * size[1] * itemsize / 1e9:.1f} GB, at most "
            f"{MAX_MASK_BYTES / 1e9:.1f} are read at once: store smaller ones"
        )


def _file(path: Path, key: str, indices: Sequence[int] | None) -> np.ndarray:
    """Some masks of an array in a file."""
    try:
        expect_regular_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = _member(path, archive, key)
                with archive.open(name) as file:
                    return _planes(str(path), file, key, indices)
        with path.open("rb") as file:
            return _planes(str(path), file, key, indices)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as .npy or .npz: {error}") from error
    except (NotImplementedError, RuntimeError) as error:  # a compression or encryption of zip
        raise InputError(f"{path} cannot be read as .npz: {error}") from error


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if key not in names and len(names) != 1:
        raise InputError(f"{path}: expected an array {key}, got {', '.join(names) or 'none'}")
    return archive.namelist()[names.index(key) if key in names else 0]


def _planes(source: str, file: IO[bytes], key: str, indices: Sequence[int] | None) -> np.ndarray:
    """Read the planes wanted of an array [T, H, W], or [H, W], and no more, whatever its size."""
    shape, fortran, dtype = _read_header(source, file)
    if len(shape) == 2 and key == "query_mask":
        shape, indices = (1, *shape), [0]
    wanted = _check_volume(source, shape, dtype, indices)
    if fortran:  # the planes lie interleaved
        _check_size(source, shape[0], shape[1:], dtype.itemsize)
        whole = np.frombuffer(_read(file, shape, dtype), dtype)
        return whole.reshape(shape, order="F")[wanted]
    planes: dict[int, np.ndarray] = {}
    for index in range(max(wanted) + 1):
        content = _read(file, shape[1:], dtype)
        if index in wanted:
            planes[index] = np.frombuffer(content, dtype).reshape(shape[1:])
    return np.stack([planes[index] for index in wanted])


def _read_header(source: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """What an array is; NumPy alone would read a header of 4 GB before it finds it too long."""
    version = npy_format.read_magic(file)
    kinds = {(1, 0): (2, npy_format.read_array_header_1_0),
             (2, 0): (4, npy_format.read_array_header_2_0)}  # fmt: skip
    if version not in kinds:
        raise InputError(f"{source}: .npy expected of version 1 or 2, got {version}")
    digits, read_header = kinds[version]
    length = file.read(digits)
    if (size := int.from_bytes(length, "little")) > _MAX_HEADER_BYTES:
        raise InputError(f"{source}: .npy expected a header of a few bytes, got {size}")
    try:
        found: tuple[tuple[int, ...], bool, np.dtype]
        found = read_header(BytesIO(length + file.read(size)))
    except Exception as error:  # Python's own parsers have many for what is no header
        raise InputError(f"{source} cannot be read as .npy: {first_line(error)}") from error
    return found


def _read(file: IO[bytes], shape: Sequence[int], dtype: np.dtype) -> bytes:
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    content = file.read(size)
    if len(content) != size:
        raise InputError(f"{getattr(file, 'name', 'the file')} ends inside of its array")
    return content


def _folder(path: Path, indices: Sequence[int] | None) -> np.ndarray:
    """The masks [len(indices), H, W] in a folder of images."""
    files = image_files(path)
    wanted = _check_frames(str(path), len(files), indices)
    return _decide([_image(files[index], len(wanted)) for index in wanted], str(path))


@dataclass(frozen=True)
class _Plane:
    """The values of one image [H, W], and what they are."""

    values: np.ndarray
    kind: str  #: "object": decided; "numbers" of objects, "grey" levels, or "lossy" grey levels


def _decide(planes: list[_Plane], source: str) -> np.ndarray:
    """Return the object, bool [T, H, W]; images of one kind are decided on together.

    A frame that only the void is left of looks like one whose object is 255.
    """
    if len({plane.values.shape for plane in planes}) != 1:
        raise InputError(f"{source}: masks expected of one size, got several")
    found = np.stack(
        [plane.values if plane.kind == "object" else plane.values > 0 for plane in planes]
    )
    for kind in {plane.kind for plane in planes} - {"object"}:
        rows = [row for row, plane in enumerate(planes) if plane.kind == kind]
        values = np.stack([planes[row].values for row in rows])
        if kind == "numbers":
            found[rows] = object_of_numbers(values)
        else:
            found[rows] = object_of(values, source, lossy=kind == "lossy")
    return found.astype(bool)


def _image(file: Path, count: int = 1) -> _Plane:
    """The values of a mask in an image, upright."""
    with open_image(file) as image:
        from PIL import ImageOps

        _check_size(str(file), count, (image.height, image.width))
        lossy = image.format in _LOSSY
        palette = image.getpalette() if image.mode == "P" else None
        return _plane(ImageOps.exif_transpose(image), palette, str(file), lossy)


def _plane(image: Any, palette: list[int] | None, source: str, lossy: bool) -> _Plane:
    """An image by its kind: palette, grey, colours; what is transparent is no object."""
    if palette is not None:  # numbers of objects; the colours are for the eye
        numbers = np.array(image)
        if tuple(palette[765:768]) == VOID_COLOUR:
            numbers[numbers == 255] = 0
        return _Plane(numbers, "numbers")
    if not image.has_transparency_data:
        if image.mode in ("1", "L", "F", "I") or image.mode.startswith("I;16"):
            return _Plane(np.asarray(image), "lossy" if lossy else "grey")
        colours = np.asarray(image.convert("RGB"))
        if (colours == colours[..., :1]).all():
            return _Plane(colours[..., 0], "lossy" if lossy else "grey")
        return _Plane(object_of_colours(colours, source, lossy=lossy), "object")
    pixels = np.asarray(image.convert("RGBA"))
    opaque = pixels[..., 3] > 127
    seen = pixels[..., :3][opaque]
    if opaque.all() or (len(seen) and (seen != seen[0]).any()):
        return _Plane(object_of_colours(pixels[..., :3], source, lossy=lossy) & opaque, "object")
    return _Plane(opaque, "object")  # a silhouette: alpha alone tells
