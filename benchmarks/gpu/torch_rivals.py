"""What a user would write in plain PyTorch instead of each operator, on the same device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, one_hot, pad


def pool(features: Tensor, labels: Tensor, num_tubelets: int) -> Tensor:
    """Interpolate all channels, then add up by label; [B, S, C]."""
    batch, channels = features.shape[:2]
    size = labels.shape[1:]
    volume = interpolate(features, size=size, mode="trilinear", align_corners=True)
    offsets = num_tubelets * torch.arange(batch, device=labels.device).reshape(-1, 1, 1, 1)
    index = (labels + offsets).flatten()
    rows = volume.movedim(1, -1).reshape(-1, channels)
    sums = rows.new_zeros(batch * num_tubelets, channels).index_add_(0, index, rows)
    counts = torch.bincount(index, minlength=batch * num_tubelets).clamp(min=1)
    return (sums / counts[:, None]).reshape(batch, num_tubelets, channels)


def factors(x: Tensor, assign: Tensor, keep: Tensor) -> Tensor:
    """Return the factor of every token, [B, A, N, 1]."""
    units = keep.shape[1]
    padded = pad(keep.to(x.dtype), (0, 1), value=1.0)
    index = torch.where(assign < 0, units, assign).long().flatten(1).expand(len(x), -1)
    return padded.gather(1, index).reshape(*x.shape[:3], 1)


def mask(x: Tensor, assign: Tensor, keep: Tensor) -> Tensor:
    """Gather the factors, then multiply."""
    return x * factors(x, assign, keep)


def mask_backward(grad: Tensor, x: Tensor, assign: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of `mask` with respect to x and keep."""
    units = keep.shape[1]
    index = torch.where(assign < 0, units, assign).long().flatten(1).expand(len(x), -1)
    products = (grad * x).sum(-1).flatten(1)
    grad_keep = keep.new_zeros(len(x), units + 1).scatter_add_(1, index, products.to(keep.dtype))
    return grad * factors(x, assign, keep), grad_keep[:, :units]


def lloyd(data: Tensor, k: int, restarts: int = 10, num_iter: int = 20) -> Tensor:
    """Run a fixed number of rounds from random rows, all problems and restarts at once.

    Args:
        data: [P, N, C].

    Returns:
        The least inertia of each problem, [P].
    """
    problems, rows, channels = data.shape
    points = data.repeat_interleave(restarts, dim=0)
    chosen = torch.rand(len(points), rows, device=data.device).argsort(1)[:, :k]
    centers = points.gather(1, chosen[..., None].expand(-1, -1, channels))
    for _ in range(num_iter):
        members = one_hot(torch.cdist(points, centers).argmin(2), k).to(data.dtype)
        sums = members.transpose(1, 2) @ points
        centers = sums / members.sum(1).clamp(min=1)[..., None]
    nearest = torch.cdist(points, centers).amin(2).square().sum(1)
    return nearest.reshape(problems, restarts).amin(1)


def silhouette(data: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return the coefficients of every row, from all distances; data [P, N, C]."""
    members = one_hot(labels.long(), k).to(data.dtype)
    counts = members.sum(1, keepdim=True)
    sums = torch.cdist(data, data) @ members
    own = members.bool()
    within = sums[own].reshape(labels.shape) / (counts.expand_as(members)[own] - 1).reshape(
        labels.shape
    ).clamp(min=1)
    other = (sums / counts).masked_fill(own, torch.inf).amin(2)
    return (other - within) / torch.maximum(within, other)


def multiplicative_updates(data: Tensor, labels: Tensor, k: int, num_iter: int) -> Tensor:
    """Factorise by the updates of Ding et al., all problems at once; data [P, N, C].

    Returns:
        The error of each problem, [P].
    """
    members = one_hot(labels.long(), k).to(data.dtype)
    encoding = members + 0.2
    weights = encoding / members.sum(1, keepdim=True).clamp(min=1)
    gram = data @ data.transpose(1, 2)
    plus, minus = gram.clamp(min=0), (-gram).clamp(min=0)
    for _ in range(num_iter):
        minus_weights, plus_weights = minus @ weights, plus @ weights
        up = plus_weights + encoding @ (weights.transpose(1, 2) @ minus_weights)
        down = minus_weights + encoding @ (weights.transpose(1, 2) @ plus_weights)
        encoding = encoding * (up / (down + 1e-9)).sqrt()
        square = encoding.transpose(1, 2) @ encoding
        up = plus @ encoding + minus_weights @ square
        down = minus @ encoding + plus_weights @ square
        weights = weights * (up / (down + 1e-9)).sqrt()
    return (data - encoding @ (weights.transpose(1, 2) @ data)).square().sum((1, 2)).sqrt()


def sample(num_units: int, num_masks: int, ratio: float, device: torch.device) -> Tensor:
    """Draw masks by sorting random numbers, bool [M, U]."""
    order = torch.rand(num_masks, num_units, device=device).argsort(1)
    return order >= round(ratio * num_units)


def accumulate(count: Tensor, total: Tensor, total_sq: Tensor, keep: Tensor, drop: Tensor) -> None:
    """Add up by matrix products."""
    both = torch.stack([~keep, keep]).to(drop.dtype)
    count += both.sum(1).long()
    total += drop @ both
    total_sq += drop.square() @ both


def pair_ratios(masks: Tensor) -> Tensor:
    """Score all pairs by products of 8-bit integers on the tensor cores.

    Args:
        masks: int8 0 or 1, [V, C, voxels], which take eight times the memory of packed bits.

    Returns:
        The mean ratio of every pair, [C, C].
    """
    total = masks.new_zeros(masks.shape[1], masks.shape[1], dtype=torch.float64)
    for video in masks:
        together = torch._int_mm(video, video.T)
        sizes = together.diagonal()
        total += together / (sizes[:, None] + sizes - together).clamp(min=1)
    return total / len(masks)


def matched_contours(prediction: Tensor, truth: Tensor, radius: int) -> Tensor:
    """Count contour pixels within a radius of the other contour, by convolutions with a disk.

    Returns:
        As `contour_match`, [T, 4].
    """
    steps = torch.arange(-radius, radius + 1, device=truth.device)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).half()[None, None]
    ours, theirs = _contour(prediction), _contour(truth)
    near_ours, near_theirs = (
        conv2d(c.half()[:, None], disk, padding=radius)[:, 0] > 0.5 for c in (ours, theirs)
    )
    counts = (ours & near_theirs, ours, theirs & near_ours, theirs)
    return torch.stack([count.sum((1, 2)) for count in counts], dim=1)


def _contour(masks: Tensor) -> Tensor:
    """Pixels that differ from the one to the right, below, or both; masks bool [T, H, W]."""
    padded = pad(masks.half()[:, None], (0, 1, 0, 1), mode="replicate")[:, 0].bool()
    right, below, both = padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]
    return (masks ^ right) | (masks ^ below) | (masks ^ both)
