# SPDX-License-Identifier: MIT
"""How well the concepts of a model's heads fit objects whose masks are known.

The *support* of a concept in a video is the union of the tubelets that belong to it. For each
object a concept is chosen on all *other* sequences, the one whose supports have the highest mean
IoU with their objects (of the same kind, where kinds are known); the object's score is the IoU of
that concept's support in its own sequence. Chosen among the concepts of all heads and layers, or of
one layer. A second score chooses only the *head* on the other sequences and takes, for each object,
the best of its concepts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vtcd_ops import Adapter, capture
from vtcd_ops.discovery.concepts import find_concepts
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.tubelets import Tubelets, find_tubelets
from vtcd_ops.video.media_files import image_files, in_natural_order

NUM_FRAMES = 8
VOXELS_PER_TOKEN = 4
SMALLEST_OBJECT = 0.005  # of the volume; smaller ones are far below the size of a tubelet
MAX_CONCEPTS = 15
SEEDS = range(5)  # of the clustering


@dataclass(frozen=True)
class Clip:
    """Frames of one sequence and its objects."""

    frames: np.ndarray  # uint8 [T, H, W, 3]
    kinds: list[str]  # of each object
    masks: np.ndarray  # bool [O, T, H', W']


def davis(folder: Path) -> Iterator[Clip]:
    """About a second from the start of each sequence of DAVIS 2016: every third frame."""
    for sequence in in_natural_order(path for path in folder.iterdir() if path.is_dir()):
        taken = slice(0, 3 * NUM_FRAMES, 3)
        frames = [_read(path, "RGB") for path in image_files(sequence / "frames")[taken]]
        masks = [_read(path, "L") > 127 for path in image_files(sequence / "masks")[taken]]
        yield Clip(np.stack(frames), ["foreground"], np.stack(masks)[None])


def scenes(folder: Path, count: int, *, shard: int = 0, step: int = 2) -> Iterator[Clip]:
    """Every ``step``-th frame of the first held-out scenes of a shard; their objects by kind."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from zoo.dataset import shard_paths
    from zoo.stage import INSTANCE_IDS

    with np.load(shard_paths(folder, "held_out")[shard]) as fields:
        frames, instances = fields["frames"][:count, ::step], fields["instances"][:count, ::step]
    for clip, ids in zip(frames, instances, strict=True):
        present = [name for name, number in INSTANCE_IDS.items() if (ids == number).any()]
        masks = np.stack([ids == INSTANCE_IDS[name] for name in present])
        yield Clip(clip, [name.rstrip("0123456789") for name in present], masks)


def _read(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


def layer_features(
    adapter: Adapter, clips: list[Clip], folder: Path
) -> tuple[tuple[int, int, int], list[Path]]:
    """Capture the keys of all layers; return the token grid and a file [V, A, C, t, h, w] each."""
    grid = (len(clips[0].frames) // adapter.tubelet_size, *adapter.token_grid[1:])
    paths = [folder / f"keys-{layer}.npy" for layer in range(adapter.num_layers)]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        videos: list[list[np.ndarray]] = [[] for _ in paths]
        for clip in clips:
            keys = capture(adapter, adapter.preprocess(clip.frames)[None])["keys"]
            for layer, tokens in keys.items():
                joined = tokens[0].unflatten(1, grid).movedim(-1, 1)  # [A, C, t, h, w]
                videos[layer].append(joined.numpy())
        for path, layer_videos in zip(paths, videos, strict=True):
            np.save(path, np.stack(layer_videos))
    return grid, paths


@dataclass(frozen=True)
class Objects:
    """The objects of all videos on the label grid (T, H, W)."""

    video: np.ndarray  # [O]
    kind: np.ndarray  # [O]
    masks: np.ndarray  # bool [O, T, H, W]

    @classmethod
    def of(cls, clips: list[Clip], size: tuple[int, int, int]) -> Objects:
        """Bring masks to the label grid by nearest voxel, and drop small objects."""
        kept: list[tuple[int, str, np.ndarray]] = []
        for index, clip in enumerate(clips):
            height, width = clip.masks.shape[2:]
            rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(int)
            columns = ((np.arange(size[2]) + 0.5) * width / size[2]).astype(int)
            for kind, mask in zip(clip.kinds, clip.masks[:, :, rows][..., columns], strict=True):
                if mask.mean() >= SMALLEST_OBJECT:
                    kept.append((index, kind, mask))
        video, kind, masks = zip(*kept, strict=True)
        return cls(np.array(video), np.array(kind), np.stack(masks))


def iou_with_concepts(
    videos: np.ndarray,  # [V, A, C, t, h, w]
    objects: Objects,
    compactness: float,
) -> np.ndarray:
    """IoU of every object with every concept of one layer, [seeds, A, O, MAX_CONCEPTS], NaN-padded.

    Tubelets and concepts are those of ``discover`` with its other settings at their defaults.
    """
    size = objects.masks.shape[1:]
    found = [
        find_tubelets(
            torch.from_numpy(video), size, size[0], Settings(), compactness=compactness, seeds=[]
        )
        for video in videos
    ]
    heads = range(videos.shape[1])
    members = [[one.sizes[head].nonzero()[:, 0] for one in found] for head in heads]
    means = [
        np.concatenate([one.means[head, row].numpy() for one, row in zip(found, rows, strict=True)])
        for head, rows in zip(heads, members, strict=True)
    ]
    shared = _shared_voxels(objects, found)
    table = np.full((len(SEEDS), len(heads), len(objects.video), MAX_CONCEPTS), np.nan)
    for index, seed in enumerate(SEEDS):
        for head, concepts in enumerate(find_concepts(means, Settings(seed=seed))):
            fit = _head_fit(objects, found, shared, members[head], concepts.concept, head)
            table[index, head, :, : fit.shape[1]] = fit
    return table


def _shared_voxels(objects: Objects, found: list[Tubelets]) -> list[np.ndarray]:
    """Voxels that each object shares with each tubelet of its video, [A, S] for each object."""
    shared = []
    for video, mask in zip(objects.video, objects.masks, strict=True):
        inside = found[video].labels.numpy()[:, mask]  # [A, voxels of the object]
        count = found[video].sizes.shape[1]
        shared.append(np.stack([np.bincount(row[row >= 0], minlength=count) for row in inside]))
    return shared


def _head_fit(
    objects: Objects,
    found: list[Tubelets],
    shared: list[np.ndarray],
    members: list[Tensor],  # of each video the labels of its tubelets
    concept: np.ndarray,  # of the tubelets of all videos
    head: int,
) -> np.ndarray:
    """IoU of every object with every concept of a head in the object's video, [O, K]."""
    starts = np.cumsum([0, *map(len, members)])
    num_concepts = int(concept.max()) + 1
    table = np.zeros((len(objects.video), num_concepts))
    for row, video in enumerate(objects.video):
        labels = members[video].numpy()
        of_tubelet = concept[starts[video] : starts[video + 1]]
        common, size = (
            np.bincount(of_tubelet, weights=voxels[labels], minlength=num_concepts)
            for voxels in (shared[row][head], found[video].sizes[head].numpy())
        )
        table[row] = common / (size + objects.masks[row].sum() - common)
    return table


def leave_one_out(
    table: np.ndarray,  # [A, O, K], NaN-padded
    objects: Objects,
) -> np.ndarray:
    """Score every object by what all other sequences choose: a concept, a head; [2, O]."""
    by_object = np.nan_to_num(table, nan=-1.0).transpose(1, 0, 2)  # [O, A, K]
    every = by_object.reshape(len(by_object), -1)  # [O, concepts of all heads]
    best = by_object.max(axis=2)  # [O, A]
    scores = np.zeros((2, len(every)))
    for row, (video, kind) in enumerate(zip(objects.video, objects.kind, strict=True)):
        others = objects.video != video
        alike = others & (objects.kind == kind)
        chosen = every[alike if alike.any() else others].mean(axis=0).argmax()
        scores[:, row] = every[row, chosen], best[row, best[others].mean(axis=0).argmax()]
    return scores
