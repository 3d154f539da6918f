"""What goes into the page of Rosetta concepts: tuples, their clips and supports, as plain data.

All is shown on the grid that the models share: the part of the video that all of them saw, and the
very supports that the score was computed from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from tqdm import tqdm

from vtcd_ops.reporting.clips import choose_videos
from vtcd_ops.reporting.previews import contact_sheet
from vtcd_ops.reporting.supports import (
    MAX_CONCEPTS,
    pack_supports,
    sample_frames,
    sample_support,
    sampling_stride,
)
from vtcd_ops.rosetta_concepts.candidates import match_videos
from vtcd_ops.rosetta_concepts.common_grid import CommonGrid
from vtcd_ops.rosetta_concepts.store import Rosetta
from vtcd_ops.rosetta_concepts.supports import Candidates, support_on_grid

_FRAMES = 24  # preview frames a video
_FRAME_EDGE = 224  # longest edge of a preview frame, in pixels
_SUPPORT_EDGE = 64  # longest edge of a support, in voxels


@dataclass
class Card:
    """One tuple of the page."""

    index: int  #: among the tuples of the result
    order: int
    rank: int  #: among the tuples of its order, from 1
    unique: bool  #: whether it is in the list without repeats
    videos: list[int] = field(default_factory=list)  #: those in which it overlaps most, best first


@dataclass
class SharedPage:
    """Everything that the page's scripts read."""

    document: dict[str, Any]
    sheets: list[str]  #: contact sheet of each video
    supports: dict[str, str]  #: by "run-head"


def choose_cards(found: Rosetta, max_cards: int) -> list[Card]:
    """Choose the tuples of each order: those without repeats first, then the best of the others."""
    cards = []
    for order in sorted(found.orders, reverse=True):
        ranked = found.of_order(order).tolist()
        unique = found.without_repeats(order)
        chosen = set((unique + [index for index in ranked if index not in set(unique)])[:max_cards])
        cards += [
            Card(index, order, rank, index in set(unique))
            for rank, index in enumerate(ranked, start=1)
            if index in chosen
        ]
    return cards


def gather_shared(
    found: Rosetta, *, max_cards: int, max_clips: int, max_videos: int, progress: bool
) -> SharedPage:
    """Read what the page shows from the runs.

    Args:
        found: the result.
        max_cards: tuples shown of each order.
        max_clips: videos shown of each tuple.
        max_videos: videos in the page.
        progress: show progress bars.
    """
    runs = found.open_runs()
    sides = [
        Candidates(run, side.name, side.part, units, videos)
        for run, side, units, videos in zip(
            runs, found.runs, found.units, match_videos(runs), strict=True
        )
    ]
    cards = choose_cards(found, max_cards)
    rankings = {card.index: _best_videos(found.per_video[card.index]) for card in cards}
    shown = sorted(choose_videos(rankings.values(), max_videos, max_clips))
    for card in cards:
        card.videos = [video for video in rankings[card.index] if video in shown][:max_clips]
    videos, sheets = [], []
    for video in tqdm(shown, desc="previews", unit="video", disable=not progress):
        entry, sheet = _video(found, sides, video)
        videos.append(entry)
        sheets.append(sheet)
    heads = _heads(found, cards, shown)
    supports, shares = {}, {}
    for (run, layer, head), packed in tqdm(
        heads.items(), desc="supports", unit="head", disable=not progress
    ):
        volumes = [
            _support(sides[run], found, shown[video], layer, head, videos[video])
            for video in packed
        ]
        supports[f"run{run}-{_key(layer, head)}"] = pack_supports(volumes)
        for video, volume in zip(packed, volumes, strict=True):
            counts = np.bincount(volume.ravel(), minlength=MAX_CONCEPTS + 1)
            shares[run, layer, head, video] = counts[1:] / volume.size
    beyond = None if found.partners is None else found.corrected  # earlier versions kept no sizes
    document = {
        "videos": videos,
        "runs": [_run_document(run, found, heads) for run in range(len(sides))],
        "cards": [
            _card_document(
                card, found, shown, shares, None if beyond is None else beyond[card.index]
            )
            for card in cards
        ],
    }
    return SharedPage(document, sheets, supports)


def _best_videos(ratios: npt.NDArray[np.float64]) -> list[int]:
    """Videos in which a tuple's supports overlap, those with the largest ratio first."""
    order = np.argsort(-np.nan_to_num(ratios), kind="stable")
    return [int(video) for video in order if ratios[video] > 0]


def _key(layer: int, head: int) -> str:
    return f"L{layer}-H{head}"


def _heads(
    found: Rosetta, cards: list[Card], shown: list[int]
) -> dict[tuple[int, int, int], list[int]]:
    """For each head of each run that is shown, the videos of the page it is shown in."""
    heads: dict[tuple[int, int, int], set[int]] = {}
    for card in cards:
        for member in found.members(card.index):
            videos = heads.setdefault((member.run, member.layer, member.head), set())
            videos |= {shown.index(video) for video in card.videos}
    return {head: sorted(videos) for head, videos in sorted(heads.items())}


def _video(found: Rosetta, sides: list[Candidates], video: int) -> tuple[dict[str, Any], str]:
    """What the page knows of a video, and its contact sheet."""
    grid = found.videos[video].grid
    frames = sample_frames(grid.size[0], _FRAMES)
    pictures = [_shared_frames(side, video, grid, frames) for side in sides]
    sharpest = max(pictures, key=lambda picture: picture[0].size)
    sheet = contact_sheet(_true_aspect(sharpest, grid), _FRAME_EDGE)
    _, height, width = grid.size
    stride = sampling_stride(height, width, _SUPPORT_EDGE)
    shape = {
        "stride": stride,
        "height": len(range(stride // 2, height, stride)),
        "width": len(range(stride // 2, width, stride)),
    }
    entry = {
        "index": video,
        "name": found.videos[video].name,
        "frames": frames,
        "total": grid.size[0],
        "columns": sheet.columns,
        "width": sheet.width,
        "height": sheet.height,
        "support": {f"run{run}": shape for run in range(len(sides))},
    }
    return entry, sheet.webp


def _shared_frames(
    side: Candidates, video: int, grid: CommonGrid, frames: list[int]
) -> npt.NDArray[np.uint8]:
    """A run's preview of the shared part of a video at the page's frames, [T, H, W, 3]."""
    record = side.run.videos[side.videos[video]]
    preview = side.run.preview(side.videos[video])
    seen = np.array(record.frame_indices) + 0.5
    times = grid.centres(0)[frames]
    nearest = np.abs(times[:, None] - seen).argmin(axis=1)
    top, left, height, width = record.crop
    rows = _pixels(grid.rows, top, height, preview.shape[1])
    columns = _pixels(grid.columns, left, width, preview.shape[2])
    return preview[nearest][:, rows, columns]


def _pixels(shared: tuple[float, float], start: float, length: float, count: int) -> slice:
    first = round((shared[0] - start) / length * count)
    last = round((shared[1] - start) / length * count)
    first = min(max(first, 0), count - 1)
    return slice(first, min(max(last, first + 1), count))


def _true_aspect(frames: npt.NDArray[np.uint8], grid: CommonGrid) -> npt.NDArray[np.uint8]:
    """Undo the stretching of a model that sees frames in another aspect ratio."""
    height, width = frames.shape[1:3]
    aspect = (grid.columns[1] - grid.columns[0]) / (grid.rows[1] - grid.rows[0])
    size = (height, max(1, round(height * aspect)))
    if aspect < width / height:  # never enlarge more than one edge
        size = (max(1, round(width / aspect)), width)
    if size == (height, width):
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    pictures: npt.NDArray[np.uint8] = (
        resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    )
    return pictures


def _support(
    side: Candidates,
    found: Rosetta,
    video: int,
    layer: int,
    head: int,
    entry: dict[str, Any],
) -> npt.NDArray[np.uint8]:
    grid = found.videos[video].grid
    volume = support_on_grid(side, video, grid, layer, head)
    stride = next(iter(entry["support"].values()))["stride"]
    return sample_support(volume, entry["frames"], entry["total"], stride)


def _run_document(
    run: int, found: Rosetta, heads: dict[tuple[int, int, int], list[int]]
) -> dict[str, Any]:
    mine = [
        {"key": _key(layer, head), "layer": layer, "head": head, "packed": packed}
        for (owner, layer, head), packed in heads.items()
        if owner == run
    ]
    return {"id": f"run{run}", "title": found.runs[run].name, "heads": mine}


def by_chance(shares: list[float]) -> float:
    """What supports of these shares of the video overlap at random places: expected both / any.

    >>> round(by_chance([0.5, 0.5]), 3)
    0.333
    """
    either = 1 - float(np.prod([1 - share for share in shares]))
    return float(np.prod(shares)) / either if either > 0 else 0.0


def _card_document(
    card: Card,
    found: Rosetta,
    shown: list[int],
    shares: dict[tuple[int, int, int, int], npt.NDArray[np.float64]],
    beyond: float | None,
) -> dict[str, Any]:
    def chance(video: int) -> float:
        return by_chance(
            [
                float(shares[member.run, member.layer, member.head, video][member.concept])
                for member in found.members(card.index)
            ]
        )

    members = [
        {
            "run": f"run{member.run}",
            "key": _key(member.layer, member.head),
            "layer": member.layer,
            "head": member.head,
            "concept": member.concept,
        }
        for member in found.members(card.index)
    ]
    ratios = found.per_video[card.index]
    return {
        "order": card.order,
        "rank": card.rank,
        "unique": card.unique,
        "score": round(float(found.scores[card.index]), 4),
        "beyond": None if beyond is None else round(float(beyond), 4),
        "members": members,
        "videos": [
            {
                "video": shown.index(video),
                "ratio": round(float(ratios[video]), 4),
                "chance": round(chance(shown.index(video)), 4),
            }
            for video in card.videos
        ],
    }
