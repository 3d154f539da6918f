"""Supports of concepts, one bit a voxel: packing and checking them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import dtype_name

_WORD = 64  # voxels of a word


def pack_supports(masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pack supports, one bit a voxel.

    >>> supports, videos = pack_supports([torch.tensor([[True, False, True], [False] * 3])])
    >>> supports.tolist(), videos.tolist()
    ([5, 0], [0, 1])

    Args:
        masks: for each video the supports of all concepts, bool [C, voxels].

    Returns:
        The words, int64 [C * W], and where those of each video begin in a row, int64 [V + 1], as
        :func:`rosetta_search` takes them.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: another dtype.
    """
    op = "pack_supports"
    if not isinstance(masks, Sequence) or isinstance(masks, str):
        raise TypeError(f"{op}: masks expected a list of tensors, got {type(masks).__name__}")
    offsets, blocks = [0], [torch.empty(0, dtype=torch.int64, device="cpu")]
    for mask in masks:
        arguments.tensor(op, "masks", mask)
        if mask.dtype != torch.bool:
            raise TypeError(f"{op}: masks expected bool, got {dtype_name(mask)}")
        arguments.on_device(op, "masks", mask, torch.device("cpu"))
        if mask.dim() != 2:
            raise ValueError(f"{op}: masks expected [C, voxels], got {list(mask.shape)}")
        if mask.shape[0] != masks[0].shape[0]:
            raise ValueError(
                f"{op}: masks expected [{masks[0].shape[0]}, voxels], got {list(mask.shape)}"
            )
        blocks.append(_words(mask))
        offsets.append(offsets[-1] + -(-mask.shape[1] // _WORD))
    return torch.cat(blocks), torch.tensor(offsets, dtype=torch.int64, device="cpu")


def _words(mask: Tensor) -> Tensor:
    """Return the rows of a mask, bool [C, voxels], one after the other: int64 [C * words]."""
    num_octets = -(-mask.shape[1] // _WORD) * 8
    bits = torch.zeros((mask.shape[0], num_octets * 8), dtype=torch.uint8, device="cpu")
    # any byte but 0 is true: a tensor of bool may be a view of others
    bits[:, : mask.shape[1]] = mask.view(torch.uint8) != 0
    places = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device="cpu")
    octets = (bits.unflatten(1, (num_octets, 8)) * places).sum(-1, dtype=torch.uint8)
    return octets.reshape(-1).view(torch.int64)


def check_supports(op: str, supports: Tensor, videos: Tensor, models: Tensor) -> None:
    """Check what is known of supports, and of how they are divided, without their values."""
    arguments.tensor(op, "supports", supports)
    if supports.dtype != torch.int64:
        raise TypeError(f"{op}: supports expected int64, got {dtype_name(supports)}")
    if supports.dim() != 1:
        raise ValueError(f"{op}: supports expected [C * W], got {list(supports.shape)}")
    _check_offsets(op, "videos", "[V + 1]", videos)
    _check_offsets(op, "models", "[D + 1]", models)
    arguments.beside(op, "videos", videos, supports.device)
    arguments.beside(op, "models", models, supports.device)
    if models.shape[0] - 1 > 64:
        raise ValueError(f"{op}: models expected at most 64, got {models.shape[0] - 1}")


def _check_offsets(op: str, argument: str, shape: str, offsets: Tensor) -> None:
    arguments.tensor(op, argument, offsets)
    if offsets.dtype != torch.int64:
        raise TypeError(f"{op}: {argument} expected int64, got {dtype_name(offsets)}")
    if offsets.dim() != 1 or offsets.shape[0] == 0:
        raise ValueError(f"{op}: {argument} expected {shape}, got {list(offsets.shape)}")
