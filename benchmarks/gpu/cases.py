"""What is measured of every operator: its inputs, what it must reach, and its rivals.

Inputs are drawn on the CPU, so that the operator's CPU kernel gets the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
import torch_rivals
import tubelet_data
from torch import Tensor
from torch.nn.functional import interpolate

from vtcd_ops.ops import pack_supports

Arguments = tuple[Any, ...]
ops = torch.ops.vtcd


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are: as in VideoMAE-B, or tiny for a run without a GPU."""

    heads: int = 12
    all_heads: int = 144
    channels: int = 64
    grid: tuple[int, int, int] = (8, 14, 14)
    volume: tuple[int, int, int] = (16, 112, 112)
    clips: int = 8
    units: int = 800
    tubelets: int = 360
    concepts: int = 6
    updates: int = 300
    masks: int = 4000
    box: tuple[int, int, int] = (50, 40, 100)
    models: tuple[int, int] = (4, 250)
    videos: int = 3
    frames: tuple[int, int, int, int] = (50, 480, 854, 8)  # and a radius in pixels


TINY = Sizes(
    heads=2, all_heads=3, channels=8, grid=(2, 4, 4), volume=(4, 16, 16), clips=2, units=20,
    tubelets=40, concepts=3, updates=5, masks=16, box=(4, 8, 8), models=(3, 8), videos=2,
    frames=(2, 20, 30, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A call of an operator.

    Args:
        call: of the operator, with tensors of one device.
        make: draws its arguments on the CPU, from a seed.
        floor_ms, target_ms: what memory or arithmetic allow on an H100, and what is aimed at.
        tolerance: how far an output may be from the CPU's, as a share of its largest value.
        compared: which of the outputs are compared; None: all.
        rivals: calls in plain PyTorch on the device, with the same arguments.
        on_cpu: a rival on the CPU: its name, the call, and how many times its work ours is.
    """

    call: Callable[..., Any]
    make: Callable[[int], Arguments]
    floor_ms: float | None = None
    target_ms: float | None = None
    tolerance: float = 0.0
    compared: Sequence[int] | None = None
    rivals: dict[str, Callable[..., object]] = field(default_factory=dict)
    on_cpu: tuple[str, Callable[..., object], float] | None = None


def smooth_features(sizes: Sizes, heads: int, seed: int) -> Tensor:
    """Features [heads, C, t, h, w] that change slowly from token to token."""
    generator = torch.Generator().manual_seed(seed)
    coarse = [max(2, -(-n // 4)) for n in sizes.grid]
    noise = torch.randn(heads, sizes.channels, *coarse, generator=generator)
    return interpolate(noise, size=sizes.grid, mode="trilinear", align_corners=True).contiguous()


def slic3d_case(sizes: Sizes, heads: int, floor_ms: float | None, target_ms: float) -> Case:
    """Supervoxels of some heads of one clip."""

    def scikit(features: Tensor) -> None:
        from skimage.segmentation import slic

        volume = interpolate(
            features[:1].double(), size=sizes.volume, mode="trilinear", align_corners=True
        )
        slic(
            volume[0].movedim(0, -1).numpy(), n_segments=12, compactness=0.1, start_label=0,
            channel_axis=-1, convert2lab=False,
        )  # fmt: skip

    return Case(
        lambda features: ops.slic3d(features, sizes.volume),
        lambda seed: (smooth_features(sizes, heads, seed),),
        floor_ms,
        target_ms,
        on_cpu=("scikit-image slic, one head", scikit, heads),
    )


@cache
def labelled(sizes: Sizes, seed: int) -> tuple[Tensor, Tensor, int]:
    """Features, their labels, and how many labels there are."""
    features = smooth_features(sizes, sizes.heads, seed)
    labels = ops.slic3d(features, sizes.volume)
    return features, labels, int(labels.max()) + 1


def pooling_cases(sizes: Sizes) -> dict[str, Case]:
    """Means of tubelets and their derivative."""

    def backward(seed: int) -> Arguments:
        features, labels, count = labelled(sizes, seed)
        means, counts = ops.tubelet_pool(features, labels, count)
        return torch.randn(means.shape), labels, counts

    return {
        f"tubelet_pool, {sizes.heads} heads": Case(
            ops.tubelet_pool, partial(labelled, sizes), 0.004, 0.02, tolerance=1e-6,
            rivals={"interpolate, index_add": torch_rivals.pool},
        ),
        f"tubelet_pool backward, {sizes.heads} heads": Case(
            lambda grad, labels, counts: ops._tubelet_pool_backward(
                grad, labels, counts, sizes.grid, "trilinear"
            ),
            backward, tolerance=1e-6,
        ),
    }  # fmt: skip


def masked(sizes: Sizes, dtype: torch.dtype, keep_dtype: torch.dtype, seed: int) -> Arguments:
    """Features [B, A, N, C] of some clips, the units of their tokens, and masks."""
    generator = torch.Generator().manual_seed(seed)
    tokens = sizes.grid[0] * sizes.grid[1] * sizes.grid[2]
    shape = (sizes.clips, sizes.heads, tokens, sizes.channels)
    x = torch.randn(shape, generator=generator).to(dtype)
    assign = torch.randint(-1, sizes.units, (1, sizes.heads, tokens), generator=generator).int()
    keep = torch.rand(sizes.clips, sizes.units, generator=generator)
    return x, assign, keep > 0.5 if keep_dtype == torch.bool else keep.to(keep_dtype)


def masking_cases(sizes: Sizes) -> dict[str, Case]:
    """Features times masks, and both derivatives."""

    def backward(seed: int) -> Arguments:
        x, assign, keep = masked(sizes, torch.float32, torch.float32, seed)
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)), x, assign, keep

    def times(dtype: torch.dtype, keep_dtype: torch.dtype, target_ms: float) -> Case:
        return Case(
            ops.concept_mask, partial(masked, sizes, dtype, keep_dtype),
            target_ms * 23 / 30, target_ms, rivals={"gather, multiply": torch_rivals.mask},
        )  # fmt: skip

    return {
        "concept_mask float32": times(torch.float32, torch.bool, 0.03),
        "concept_mask bfloat16": times(torch.bfloat16, torch.bool, 0.015),
        "concept_mask float32, floating keep": times(torch.float32, torch.float32, 0.03),
        "concept_mask backward": Case(
            lambda grad, x, assign, keep: ops._concept_mask_backward(grad, x, assign, keep, 0),
            backward, 0.034, 0.05, tolerance=1e-5,
            rivals={"gather, multiply, scatter_add": torch_rivals.mask_backward},
        ),
    }  # fmt: skip


@cache
def tubelets(sizes: Sizes, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Data, offsets, k, and labels by one run of k-means, of the tubelets of all heads."""
    first = seed * sizes.all_heads
    matrices = [
        torch.from_numpy(tubelet_data.planted(sizes.tubelets, first + head))
        for head in range(sizes.all_heads)
    ]
    offsets = torch.arange(0, (sizes.all_heads + 1) * sizes.tubelets, sizes.tubelets)
    k = torch.full((sizes.all_heads,), sizes.concepts)
    data = torch.cat(matrices)
    return data, offsets, k, ops.kmeans(data, offsets, k, num_restarts=1)[0]


def batched(data: Tensor, sizes: Sizes) -> Tensor:
    """Return the rows of all heads, of which there are as many in each, as [P, N, C]."""
    return data.reshape(sizes.all_heads, sizes.tubelets, -1)


def shape_text(sizes: Sizes) -> str:
    return f"{sizes.all_heads} x [{sizes.tubelets}, 64], k = {sizes.concepts}"


def clustering_cases(sizes: Sizes) -> dict[str, Case]:
    """k-means and silhouettes of all heads' tubelets."""

    def scikit_kmeans(data: Tensor, *_: object) -> None:
        from sklearn.cluster import KMeans

        KMeans(sizes.concepts, n_init=10, random_state=0).fit(batched(data, sizes)[0].numpy())

    def scikit_silhouette(data: Tensor, _: object, labels: Tensor) -> None:
        from sklearn.metrics import silhouette_samples

        silhouette_samples(batched(data, sizes)[0].numpy(), labels[: sizes.tubelets].numpy())

    def with_labels(seed: int) -> Arguments:
        data, offsets, _, labels = tubelets(sizes, seed)
        return data, offsets, labels

    return {
        f"kmeans, {shape_text(sizes)}": Case(
            ops.kmeans, lambda seed: tubelets(sizes, seed)[:3],
            target_ms=2, tolerance=1e-5, compared=[2],
            rivals={
                "20 rounds of Lloyd, 10 restarts": lambda data, *_: torch_rivals.lloyd(
                    batched(data, sizes), sizes.concepts
                )
            },
            on_cpu=("scikit-learn KMeans, one head", scikit_kmeans, sizes.all_heads),
        ),
        f"silhouette, {shape_text(sizes)}": Case(
            ops.silhouette, with_labels, 0.07, 0.2, tolerance=1e-5,
            rivals={
                "cdist": lambda data, _, labels: torch_rivals.silhouette(
                    batched(data, sizes), labels.reshape(sizes.all_heads, -1), sizes.concepts
                )
            },
            on_cpu=("scikit-learn silhouette, one head", scikit_silhouette, sizes.all_heads),
        ),
    }  # fmt: skip


def factorisation_cases(sizes: Sizes) -> dict[str, Case]:
    """Convex factorisations of all heads' tubelets, from the same start."""

    def start(seed: int) -> Arguments:
        data, offsets, k, labels = tubelets(sizes, seed)
        return data, offsets, k, labels.long()

    def rival(data: Tensor, _offsets: object, _k: object, labels: Tensor) -> Tensor:
        each = labels.reshape(sizes.all_heads, -1)
        return torch_rivals.multiplicative_updates(
            batched(data, sizes), each, sizes.concepts, sizes.updates
        )

    return {
        f"cnmf, {shape_text(sizes)}": Case(
            lambda data, offsets, k, init: ops.cnmf(data, offsets, k, init=init),
            start, target_ms=3, tolerance=1e-6, compared=[3],
            rivals={f"{sizes.updates} multiplicative updates": rival},
        ),
        f"cnmf by updates, {shape_text(sizes)}": Case(
            lambda data, offsets, k, init: ops.cnmf(
                data, offsets, k, init=init, solver="mu", max_num_iter=100, tol=0
            ),
            start, tolerance=1e-6, compared=[3],
        ),
    }  # fmt: skip


def importance_cases(sizes: Sizes, device: torch.device) -> dict[str, Case]:
    """Masks of a ranking, and the sums over them."""
    units = sizes.units

    def sums(seed: int) -> Arguments:
        keep = ops.cris_sample(units, sizes.masks, 0.5, seed)
        drop = torch.randn(sizes.masks, dtype=torch.float64)
        zeros = (torch.zeros(2, units, dtype=torch.float64) for _ in range(2))
        return torch.zeros(2, units, dtype=torch.int64), *zeros, keep, drop

    def accumulate(count: Tensor, total: Tensor, total_sq: Tensor, *masks: Tensor) -> Arguments:
        ops.cris_accumulate(count, total, total_sq, *masks)
        return count, total, total_sq

    def draw(like: Tensor) -> Tensor:
        if like.device.type == "cpu":
            return ops.cris_sample(units, sizes.masks, 0.5, 0)
        return ops.cris_sample(units, sizes.masks, 0.5, 0, device=like.device)

    return {
        f"cris_sample, {sizes.masks} x {units}": Case(
            draw, lambda seed: (torch.zeros(1),),
            rivals={
                "rand, argsort": lambda like: torch_rivals.sample(units, sizes.masks, 0.5, device)
            },
        ),
        f"cris_accumulate, {sizes.masks} x {units}": Case(
            accumulate, sums, tolerance=1e-12,
            rivals={"matrix products": torch_rivals.accumulate},
        ),
    }  # fmt: skip


def boxes(sizes: Sizes, count: int, seed: int) -> Tensor:
    """Boxes that overlap often, bool [count, voxels]."""
    generator = torch.Generator().manual_seed(seed)
    inside = []
    for length in sizes.box:
        middle = torch.rand(count, 1, generator=generator) * length
        half = length * (0.15 + 0.25 * torch.rand(count, 1, generator=generator))
        inside.append((torch.arange(length) - middle).abs() <= half)
    t, h, w = inside
    return (t[:, :, None, None] & h[:, None, :, None] & w[:, None, None, :]).flatten(1)


@cache
def supports(sizes: Sizes, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The arguments of the Rosetta search."""
    models, concepts = sizes.models
    words, offsets = [], [0]
    for video in range(sizes.videos):
        masks = boxes(sizes, models * concepts, seed * sizes.videos + video)
        packed, ends = pack_supports([masks])
        words.append(packed)
        offsets.append(offsets[-1] + int(ends[-1]))
    split = torch.arange(0, models * concepts + 1, concepts)
    return torch.cat(words), torch.tensor(offsets), split


def rosetta_cases(sizes: Sizes, device: torch.device) -> dict[str, Case]:
    """Pairs of concepts of several models: those that overlap, and ratios of given ones."""
    models, concepts = sizes.models
    pairs = models * (models - 1) // 2 * concepts**2
    all_concepts = models * concepts

    @cache
    def bytes_of_masks() -> Tensor:
        return torch.stack([boxes(sizes, all_concepts, video) for video in range(sizes.videos)]).to(
            device, torch.int8
        )

    def tuples(seed: int) -> Arguments:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(concepts, (concepts * 40, models), generator=generator).int()
        return *supports(sizes, seed), rows

    voxels = sizes.box[0] * sizes.box[1] * sizes.box[2]
    pair_videos = pairs * sizes.videos
    target_ms = 1.7 * pair_videos / 1e6 * voxels / 200_000
    return {
        f"rosetta_search, {pair_videos:,} pair-videos of {voxels:,} voxels": Case(
            lambda *arguments: ops.rosetta_search(*arguments, 0.15, max_order=2),
            partial(supports, sizes), target_ms=target_ms,
            rivals={
                "int8 matrix products of unpacked masks": lambda *_: torch_rivals.pair_ratios(
                    bytes_of_masks()
                )
            },
        ),
        f"rosetta_ratios, {concepts * 40:,} tuples of {models}": Case(ops.rosetta_ratios, tuples),
    }  # fmt: skip


def contour_cases(sizes: Sizes) -> dict[str, Case]:
    """Contours of two masks of every frame of a video."""
    frames, height, width, radius = sizes.frames

    def masks(seed: int) -> Arguments:
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        middle = torch.arange(frames)[:, None, None] + seed
        found = []
        for stretch in (1.0, 1.1):
            distance = (rows - height / 2) ** 2 + (stretch * (columns - width / 2) + middle) ** 2
            waves = 1 + 0.1 * torch.sin(rows / 5.0) * torch.cos(columns / 7.0)
            found.append(distance * waves < (height / 3) ** 2)
        return *found, radius

    return {
        f"contour_match, {frames} x {height} x {width}, radius {radius}": Case(
            ops.contour_match, masks,
            rivals={"convolution with a disk": torch_rivals.matched_contours},
        ),
    }  # fmt: skip


def all_cases(sizes: Sizes, device: torch.device) -> dict[str, Case]:
    """Return every case by its name, which begins with that of the operator."""
    return {
        f"slic3d, {sizes.heads} heads": slic3d_case(sizes, sizes.heads, 0.005, 0.3),
        f"slic3d, {sizes.all_heads} heads": slic3d_case(sizes, sizes.all_heads, 0.06, 3),
        **pooling_cases(sizes),
        **masking_cases(sizes),
        **clustering_cases(sizes),
        **factorisation_cases(sizes),
        **importance_cases(sizes, device),
        **rosetta_cases(sizes, device),
        **contour_cases(sizes),
    }
