# SPDX-License-Identifier: MIT
"""What each part of the better mode of segmentation brings: it is taken away, or done otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reproduce import table3
from reproduce.real_data import LEFT_OUT, real_data
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study
from vtcd_ops.discovery.compactness import choose_compactness
from vtcd_ops.ops import cnmf, kmeans, slic3d
from vtcd_ops.segmentation.first_mask import read_objects
from vtcd_ops.segmentation.head_features import Head, head_features, last_keys, whole_video
from vtcd_ops.segmentation.log_odds import TokenConcepts, means_of_tubelets, nearest_concept
from vtcd_ops.segmentation.segment import segment_by_log_odds
from vtcd_ops.segmentation.view import View, coverage
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

FINE = 4  # tokens of a tubelet near the edge of the object
BAND = 0.05, 0.95  # of a token covered by the object: it lies on its edge
ALL = "all parts"

Found = tuple[Tensor, list[int]]


@dataclass(frozen=True)
class KMeansOfTubelets(TokenConcepts):
    """Tubelets as in the better mode, but clustered instead of factorised."""

    def find(self, features: Tensor) -> Found:
        """Return what `TokenConcepts.find` does."""
        rows = _tubelet_rows(features, _tubelets(features, self))
        number = [min(self.num_concepts, len(one)) for one in rows]
        return _nearest(features, [one.centers for one in kmeans(rows, number, seed=self.seed)])


@dataclass(frozen=True)
class DrawnTokens(TokenConcepts):
    """Tokens drawn at random are factorised, as many as there would be tubelets."""

    def find(self, features: Tensor) -> Found:
        """Return what `TokenConcepts.find` does."""
        tokens = features.flatten(2).transpose(1, 2)
        count = [len(labels.unique()) for labels in _tubelets(features, self)]
        draw = np.random.default_rng(self.seed)
        rows = [
            one[torch.from_numpy(np.sort(draw.permutation(len(one))[:many]))].contiguous()
            for one, many in zip(tokens, count, strict=True)
        ]
        number = [min(self.num_concepts, len(one)) for one in rows]
        return _nearest(features, [one.centers for one in cnmf(rows, number, seed=self.seed)])


@dataclass(frozen=True)
class KMeansOfTokens(TokenConcepts):
    """Every token is clustered: neither tubelets nor a factorisation."""

    def find(self, features: Tensor) -> Found:
        """Return what `TokenConcepts.find` does."""
        rows = [one.contiguous() for one in features.flatten(2).transpose(1, 2)]
        found = kmeans(rows, self.num_concepts, num_restarts=1, seed=self.seed)
        labels = torch.stack([one.labels.to(torch.int64) for one in found])
        return labels, [self.num_concepts] * len(rows)


@dataclass(frozen=True)
class WholeTubelets(TokenConcepts):
    """A token has the concept that its tubelet is made of most, not the nearest."""

    def find(self, features: Tensor) -> Found:
        """Return what `TokenConcepts.find` does."""
        labels = _tubelets(features, self)
        rows = _tubelet_rows(features, labels)
        number = [min(self.num_concepts, len(one)) for one in rows]
        factors = cnmf(rows, number, seed=self.seed)
        places = [torch.unique(one, return_inverse=True)[1] for one in labels.flatten(1)]
        concepts = [
            one.encoding.argmax(1)[place] for one, place in zip(factors, places, strict=True)
        ]
        return torch.stack(concepts), number


@dataclass(frozen=True)
class AutoCompactness(TokenConcepts):
    """The compactness of each layer is chosen on the video itself."""

    num_heads: int = 1

    def find(self, features: Tensor) -> Found:
        """Return what `TokenConcepts.find` does."""
        grid = (features.shape[2], features.shape[3], features.shape[4])
        parts = []
        for layer in features.split(self.num_heads):
            chosen = choose_compactness([layer], grid, self.wanted(grid))
            its = TokenConcepts(self.num_concepts, self.tokens_per_tubelet, chosen, self.seed)
            parts.append(its.find(layer))
        return torch.cat([one for one, _ in parts]), [n for _, number in parts for n in number]


@dataclass(frozen=True)
class FinerAtTheEdge(TokenConcepts):
    """Tubelets with a token on the object's edge in the first frame are divided further."""

    edge: Tensor | None = None  # bool [h*w]

    def find(self, features: Tensor) -> Found:
        """Return what `TokenConcepts.find` does."""
        assert self.edge is not None
        coarse = _tubelets(features, self)
        finer = TokenConcepts(self.num_concepts, FINE, self.compactness, self.seed)
        fine = _tubelets(features, finer)
        for its, its_fine in zip(coarse.flatten(1), fine.flatten(1), strict=True):
            at_edge = its[: len(self.edge)][self.edge].unique()
            divided = torch.isin(its, at_edge)
            its[divided] = its_fine[divided] + its.max() + 1
        rows = _tubelet_rows(features, coarse)
        number = [min(self.num_concepts, len(one)) for one in rows]
        return _nearest(features, [one.centers for one in cnmf(rows, number, seed=self.seed)])


def _tubelets(features: Tensor, making: TokenConcepts) -> Tensor:
    grid = features.shape[2:]
    return slic3d(features, grid, making.wanted(grid), making.compactness)


def _tubelet_rows(features: Tensor, labels: Tensor) -> list[Tensor]:
    pairs = zip(features.flatten(2), labels.flatten(1), strict=True)
    return [means_of_tubelets(one, its) for one, its in pairs]


def _nearest(features: Tensor, centers: list[Tensor]) -> Found:
    tokens = features.flatten(2).transpose(1, 2)
    found = [nearest_concept(one, its) for one, its in zip(tokens, centers, strict=True)]
    return torch.stack(found), [len(one) for one in centers]


class VideoWithFeatures:
    """The features of a video, made when they are first asked for, and the ways to segment by them.

    Args:
        adapter: the model.
        video: uint8 [T, H, W, 3].
        first: bool [H, W].
    """

    def __init__(self, adapter: Any, video: np.ndarray, first: np.ndarray) -> None:
        source = open_video(video)
        self.objects = read_objects(first, source.frame_size)
        self.clip = whole_video("table3_parts", adapter, source, Sample(video, query_mask=first))
        self.view = View.of(adapter, source.frame_size)
        self.features = head_features(self.clip, last_keys(adapter, 2))

    def masks(
        self, making: TokenConcepts, memory: float = 1.0, heads: list[Head] | None = None
    ) -> np.ndarray:
        """Return the masks, bool [T, H, W]."""
        heads = list(self.features) if heads is None else heads
        features = [self.features[head] for head in heads]
        found = segment_by_log_odds(
            self.clip, self.view, features, heads, self.objects, making, memory
        )
        return found.masks.numpy()

    def edge(self) -> Tensor:
        """Which tokens of the first frame lie on the object's edge, bool [h*w]."""
        plane = next(iter(self.features.values())).shape[2:]
        covered = coverage(self.clip.adapter, self.objects > 0, (plane[0], plane[1]))
        return torch.from_numpy((covered > BAND[0]) & (covered < BAND[1])).flatten()


Way = Callable[[VideoWithFeatures], np.ndarray]


def ways(adapter: Any) -> dict[str, Way]:
    """Every way, by its name."""
    last = last_keys(adapter, 1)
    makings: dict[str, TokenConcepts] = {
        ALL: TokenConcepts(),
        "k-means of tubelets, no CNMF": KMeansOfTubelets(),
        "tokens drawn at random, no SLIC": DrawnTokens(),
        "k-means of tokens, neither": KMeansOfTokens(),
        "supports of whole tubelets": WholeTubelets(),
        "tubelets of 64 tokens": TokenConcepts(tokens_per_tubelet=64),
        "16 concepts a head": TokenConcepts(num_concepts=16),
        'compactness="auto"': AutoCompactness(num_heads=adapter.num_heads),
    }
    found: dict[str, Way] = {
        name: partial(_masks, making=making) for name, making in makings.items()
    }
    found["finer tubelets at the object's edge"] = lambda video: video.masks(
        FinerAtTheEdge(edge=video.edge())
    )
    found["the last layer alone"] = partial(_masks, making=TokenConcepts(), heads=last)
    found["first frame alone, no memory"] = partial(_masks, making=TokenConcepts(), memory=0.0)
    return found


def _masks(video: VideoWithFeatures, **asked: Any) -> np.ndarray:
    return video.masks(**asked)


@experiment("table3_parts", roles=())
def table3_parts(study: Study) -> Result:
    """Return how well objects are segmented without each part: of DINOv2-S, else of miniatures."""
    rows: list[Row] = []
    claims: list[Claim] = []
    columns = {"paper": "J, all frames", "gain": "less than all parts"}
    subjects = list(table3.subjects(study))
    for subject in subjects[:1] if subjects[0].by_sequence else subjects:
        found = _found(study, subject)
        whole = found[ALL]
        names = [str(sample.name) for sample in subject.samples]
        for way, scores in found.items():
            cells = {"paper": Cell.of(scores)}
            if way != ALL:
                lost = [one - other for one, other in zip(whole, scores, strict=True)]
                cells["gain"] = Cell.of(lost)
                text = f"{subject.title}: all parts are better than: {way}."
                claims.append(compare(text, whole, scores, 3))
            if subject.by_sequence:
                cells |= {name: Cell(one) for name, one in zip(names, scores, strict=True)}
            rows.append(Row(f"{subject.title}, {way}", cells))
        columns |= {name: name for name in names} if subject.by_sequence else {}
    return Result(
        name="table3_parts",
        title="What each part of the segmentation brings",
        paper="beside Table 3",
        unit="J, from 0 to 1",
        columns=columns,
        rows=rows,
        claims=claims,
        notes=[
            "J by the paper's rule, all frames; brackets are 95 % intervals over videos. A row is "
            "the better mode with one part done otherwise; nothing else is changed. Every fourth "
            "frame of DAVIS.",
            *([LEFT_OUT] if real_data() is None else []),
        ],
        digits=3,
        setting={"step": table3.STEP, "fine": FINE, "band": list(BAND)},
    )


def _found(study: Study, subject: table3.Subject) -> dict[str, list[float]]:
    """The mean J of every video by every way; features of a video are made once."""
    found: dict[str, list[float]] = {way: [] for way in ways(subject.adapter)}
    for sample in subject.samples:
        made: list[VideoWithFeatures] = []
        for name, way in ways(subject.adapter).items():

            def segmenter(
                video: np.ndarray,
                first: np.ndarray,
                way: Way = way,
                made: list[VideoWithFeatures] = made,
            ) -> np.ndarray:
                if not made:
                    made.append(VideoWithFeatures(subject.adapter, video, first))
                return way(made[0])

            scores = table3.scores_of(study, subject, f"part: {name}", segmenter, sample)
            found[name].append(float(np.mean(scores["J"])))
    return found
