"""Concept supports as compact text: what the page's clips are outlined with."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from vtcd_ops.common.errors import InputError

MAX_CONCEPTS = 254  #: one byte a voxel, 0 for "no concept"
_LEVEL = 7  # of zlib; 9 would save an eighth and take eight times as long


def sample_frames(num_frames: int, max_frames: int) -> list[int]:
    """Choose at most ``max_frames`` evenly spaced frames, the first one among them.

    >>> sample_frames(num_frames=80, max_frames=4)
    [0, 20, 40, 60]
    >>> sample_frames(num_frames=3, max_frames=24)
    [0, 1, 2]

    Args:
        num_frames: Frames of the video.
        max_frames: Most frames to keep.

    Returns:
        Increasing frame indices.
    """
    kept = min(num_frames, max_frames)
    return [index * num_frames // kept for index in range(kept)]


def sampling_stride(height: int, width: int, max_edge: int) -> int:
    """Smallest step between voxels that keeps the longer edge within ``max_edge`` voxels.

    >>> sampling_stride(112, 112, max_edge=64)
    2
    """
    return max(1, -(-max(height, width) // max_edge))


def sample_support(
    support: npt.NDArray[np.integer],  # [T, H, W], -1 = no concept
    frames: list[int],
    num_frames: int,
    stride: int,
) -> npt.NDArray[np.uint8]:
    """Take the support at the preview's frames and at the middle voxel of every stride.

    Nearest sampling only: every value in the page is a value of the run.

    >>> volume = np.arange(2 * 4 * 4).reshape(2, 4, 4) % 3 - 1
    >>> sample_support(volume, frames=[0, 1, 2, 3], num_frames=4, stride=2).shape
    (4, 2, 2)

    Args:
        support: Concept of every voxel [T, H, W], -1 where there is none.
        frames: Preview frames, counted in the video's ``num_frames``.
        num_frames: Frames the video has; frame f lies in time step floor(f * T / num_frames).
        stride: Step between the voxels taken, in voxels.

    Returns:
        uint8 [frames, voxels down, voxels across], 0 where there is none, otherwise concept + 1.

    Raises:
        InputError: If a concept index does not fit into a byte.
    """
    if support.size and int(support.max()) >= MAX_CONCEPTS:
        raise InputError(
            f"report: concepts of a head expected at most {MAX_CONCEPTS}, "
            f"got {int(support.max()) + 1}"
        )
    steps = [frame * support.shape[0] // num_frames for frame in frames]
    offset = stride // 2
    sampled = support[steps][:, offset::stride, offset::stride]
    return (sampled + 1).astype(np.uint8)


def pack_supports(volumes: Iterable[npt.NDArray[np.uint8]]) -> str:
    """Compress one head's volumes, one after the other, time running fastest.

    A voxel rarely changes its concept within a clip, so time as the innermost axis makes
    constant runs as long as the clip: a fifth smaller than frame by frame.

    >>> unpacked = zlib.decompress(base64.b64decode(pack_supports([np.ones((2, 1, 3), "u1")])))
    >>> unpacked
    b'\\x01\\x01\\x01\\x01\\x01\\x01'

    Args:
        volumes: uint8 [T, H, W] each, see `sample_support`.

    Returns:
        Base64 of a zlib stream of all volumes as [H, W, T] bytes.
    """
    raw = b"".join(np.ascontiguousarray(volume.transpose(1, 2, 0)).tobytes() for volume in volumes)
    return base64.b64encode(zlib.compress(raw, _LEVEL)).decode("ascii")
