"""Tubelets and concepts as Captum's `feature_mask`; our importance as an attribution of voxels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.importance import Importance

__all__ = ["attribution", "feature_mask"]


def feature_mask(
    run: Run,
    video: int,
    layer: int,
    head: int,
    size: tuple[int, int, int],
    *,
    part: str | None = None,
    what: str = "tubelets",
) -> Tensor:
    """Return which voxels of a clip belong together, as Captum takes it.

    Captum's perturbation methods (`FeatureAblation`, `ShapleyValueSampling`, `KernelShap`, `Lime`)
    change the pixels of one feature together: here of one tubelet, or concept, of one head. What
    lies in none is a feature of its own, the last.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> from vtcd_ops.bridges import feature_mask
    >>> videos = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32, 3)).astype(np.uint8)
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = vtcd_ops.discover(example_adapter(), videos, out=folder.name, progress=False)
    >>> feature_mask(run, video=0, layer=2, head=1, size=(4, 32, 32)).shape
    torch.Size([1, 4, 1, 32, 32])
    >>> folder.cleanup()

    Args:
        run: the run.
        video: which of its videos.
        layer, head, part: of the model; the run's first part by default.
        size: (T, H', W') of the model's input.
        what: "tubelets" or "concepts".

    Returns:
        int64 [1, T, 1, H', W'], from 0 without gaps, to be broadcast over a clip [1, T, 3, H', W'].

    Raises:
        InputError: no such video, layer or head, or something else than the two.
    """
    if what not in ("tubelets", "concepts"):
        raise InputError(f"feature_mask: what expected 'tubelets' or 'concepts', got {what!r}")
    run.expect_kept("feature_mask")
    support = run.support(video, layer, head, part)  # checks what is asked for
    if what == "tubelets":
        support = run.labels(video, layer, part)[run.heads.index(head)]
    volume = _resized(support, size)
    _, mask = np.unique(np.where(volume < 0, np.iinfo(np.int64).max, volume), return_inverse=True)
    return torch.from_numpy(mask.reshape(1, size[0], 1, *size[1:]).astype(np.int64))


def attribution(
    importance: Importance,
    run: Run,
    video: int,
    size: tuple[int, int, int],
    *,
    layers: list[int] | None = None,
) -> Tensor:
    """Return an importance of concepts as an attribution of a clip's voxels, as Captum gives them.

    A voxel has the sum of the values of the concepts that it lies in, over heads and layers, so
    `captum.attr.visualization` shows it and `captum.metrics` judges it.

    Args:
        importance: of a run's concepts, from `vtcd_ops.rank` or `rank_with`.
        run: that run.
        video: which of its videos.
        size: (T, H', W') of the model's input.
        layers: whose concepts are counted; all by default.

    Returns:
        float64 [1, T, 1, H', W'], to be expanded over a clip [1, T, 3, H', W'].

    Raises:
        InputError: an importance of heads, or of layers that it has not.
    """
    run.expect_kept("attribution")
    target = importance.target
    if target.units != "concepts":
        raise InputError(f"attribution: importance expected of concepts, got of {target.units}")
    units = importance.units
    known = sorted({int(layer) for layer in units[:, 0]})
    chosen = known if layers is None else layers
    if not chosen or not set(chosen) <= set(known):
        raise InputError(f"attribution: layers expected among {known}, got {layers}")
    total = torch.zeros(size, dtype=torch.float64)
    for layer in chosen:
        for head in sorted({int(unit[1]) for unit in units if unit[0] == layer}):
            mine = np.flatnonzero((units[:, 0] == layer) & (units[:, 1] == head))
            values = np.zeros(int(units[mine, 2].max()) + 2)  # the last: of no concept
            values[units[mine, 2]] = np.nan_to_num(importance.value[mine])
            support = _resized(run.support(video, layer, head, target.part), size)
            total += torch.from_numpy(values[support])
    return total.view(1, size[0], 1, *size[1:])


def _resized(volume: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Return labels [T, H, W] at another size, each voxel the nearest one's."""
    nearest = interpolate(torch.from_numpy(volume.astype(np.float64))[None, None], size=size)
    found: np.ndarray = nearest[0, 0].numpy().astype(np.int64)
    return found
