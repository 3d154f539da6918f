"""Label volumes and preview frames as few bytes, with the standard library alone."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np

from vtcd_ops.common.errors import InputError

_LEVEL = 1  # labels shrink 20 times at once; higher levels cost four times the time
# The coded rows of labels are zeros between few others: looking for runs alone leaves a third less
# of them than looking for all that repeats, in less time.
_OF_LABELS = zlib.Z_RLE
_NONE = -1  # label of voxels that belong to nothing


def label_dtype(largest: int) -> np.dtype:
    """Return the smallest unsigned type for labels up to ``largest`` and one value for "none"."""
    for dtype in (np.uint8, np.uint16, np.uint32):
        if largest < np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise InputError(f"labels expected below {np.iinfo(np.uint32).max}, got {largest}")


def pack_labels(volume: np.ndarray) -> tuple[bytes, str]:
    """Compress a label volume.

    Rows of a volume mostly repeat the row above; their exclusive-or is zero there.

    >>> volume = np.array([[[0, 0], [0, 1]], [[-1, 1], [1, 1]]])
    >>> blob, dtype = pack_labels(volume)
    >>> bool((unpack_labels(blob, volume.shape, dtype) == volume).all())
    True

    Args:
        volume: integers [T, H, W], -1 where there is no label; of uint8, 255 where there is none.

    Returns:
        The bytes, and the name of the type that they hold.
    """
    if volume.dtype == np.uint8:
        plain = volume
    else:
        if int(volume.min(initial=0)) < _NONE:
            raise InputError(f"labels expected from -1 on, got {int(volume.min())}")
        # -1 wraps around to the largest value
        plain = volume.astype(label_dtype(int(volume.max(initial=0))))
    coded = plain.copy()
    coded[:, 1:] ^= plain[:, :-1]
    stream = zlib.compressobj(_LEVEL, strategy=_OF_LABELS)
    return stream.compress(coded.tobytes()) + stream.flush(), plain.dtype.name


def unpack_labels(blob: bytes, shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    """Return one label volume, int32 [T, H, W], -1 where there is no label."""
    kind = np.dtype(dtype)
    raw = _inflate(blob, math.prod(shape) * kind.itemsize)
    volume = np.frombuffer(raw, dtype=kind).reshape(shape)
    plain = np.bitwise_xor.accumulate(volume, axis=1)
    labels = plain.astype(np.int32)
    labels[plain == np.iinfo(kind).max] = _NONE
    return labels


def pack_frames(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Compress frames without loss; each pixel as its difference to left and upper neighbours.

    >>> frames = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    >>> bool((unpack_frames(pack_frames(frames), frames.shape) == frames).all())
    True

    Args:
        frames: uint8 [T, H, W, 3], or one [H, W, 3] after the other.

    Returns:
        uint8, the bytes.
    """
    stream = zlib.compressobj(_LEVEL)
    packed = []
    for frame in frames:  # one at a time: a long video's are large
        coded = frame.copy()
        coded[:, 1:] -= frame[:, :-1]
        coded[1:] -= coded[:-1].copy()
        packed.append(stream.compress(coded.tobytes()))
    return np.frombuffer(b"".join([*packed, stream.flush()]), dtype=np.uint8)


def unpack_frames(blob: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return frames, uint8 [T, H, W, 3]."""
    raw = _inflate(blob.tobytes(), math.prod(shape))
    coded = np.frombuffer(raw, dtype=np.uint8).reshape(shape)
    rows = np.add.accumulate(coded, axis=1, dtype=np.uint8)
    return np.add.accumulate(rows, axis=2, dtype=np.uint8)


def _inflate(blob: bytes, expected: int) -> bytes:
    """Decompress to a known size; a damaged stream cannot fill the memory."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(blob, expected + 1)
    except zlib.error as error:
        raise InputError(f"compressed data is damaged: {error}") from error
    if len(raw) != expected:
        raise InputError(f"compressed data expected {expected} bytes, got {len(raw)}")
    return raw
