"""How much each unit of a run matters, read from the scores of a ranking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.estimates.estimators import (
    ESTIMATORS,
    Estimate,
    effects_by_video,
    estimate,
    reliability,
)
from vtcd_ops.estimates.mask_scores import average_over_videos, from_unit_scale, to_unit_scale
from vtcd_ops.estimates.mask_seeds import mask_seed
from vtcd_ops.importance.comparisons import (
    Comparison,
    Interactions,
    compare_units,
    find_unit,
    interactions_of,
)
from vtcd_ops.importance.units import describe_unit
from vtcd_ops.ops import cris_sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Importance", "estimate_importance"]

#: How effects of single units are turned into importance, where there are no random masks.
MEAN = "mean"
#: Setting "masks" of rankings in which every video has masks of its own.
OWN_MASKS = "own of each video"
_DRAWN = 20  # units of a plot


@dataclass(frozen=True)
class Target:
    """What a ranking ranks: curves compare rankings of the same.

    Args:
        units: "concepts", "heads", "neurons" or "heads+neurons".
        part: where they are removed.
        classes: over which it is averaged, each video being one of its own class; None: all as one.
        neurons_per_group: neurons of a unit; None where there are none.
    """

    units: str
    part: str
    classes: tuple[str, ...] | None
    neurons_per_group: int | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Importance(Tabular):
    """The importance of the units of a run; larger is more important.

    Iterated over, it is a row for each unit, the most important first.

    Attributes:
        name: of the ranking in its run.
        settings: everything that the scores depend on.
        tensors: what was measured: units [U, 3] (layer, head, concept; -1: the whole head), present
            [V, U], baseline [V], and scores [V, M] under masks (of occlusion, mask i removes unit
            i alone) or effects [V, U]; prior [V, U], what gradients say, where they were asked.
        estimator: how value follows from it ("auto" has settled on one of the others).
        value: float64 [U], NaN for a unit that lies in no video.
        stderr_masks: float64 [U], standard error from the masks that were drawn.
        stderr_videos: float64 [U], standard error of the mean over videos.
        reliability: of the order by the masks alone: how well another draw of as many masks would
            correlate with it (Spearman, from two halves of the masks); NaN where none were drawn.
        r2: of the additive model on held-out masks; NaN where there is none.
    """

    name: str
    settings: dict[str, Any]
    tensors: dict[str, np.ndarray] = field(repr=False)
    estimator: str
    value: np.ndarray
    stderr_masks: np.ndarray
    stderr_videos: np.ndarray
    reliability: float
    r2: float

    def __repr__(self) -> str:
        kind, metric = self.settings.get("units"), self.settings.get("metric")
        return (
            f"Importance({self.name!r}, {len(self.value)} {kind} by {metric}, "
            f"{self.num_masks} masks, reliability {self.reliability:.2f})"
        )

    def _rows(self) -> list[Row]:
        videos = self.tensors["present"].sum(axis=0)
        return [
            {
                "rank": place,
                **dict(zip(("layer", "head", "concept"), self.units[unit].tolist())),
                "value": float(self.value[unit]),
                "stderr": float(self.stderr[unit]),
                "videos": int(videos[unit]),
            }
            for place, unit in enumerate(self.order.tolist())
        ]

    def _draw(self, ax: Axes) -> None:
        first = self.order[:_DRAWN][::-1]
        group = self.settings.get("neurons_per_group", 0)
        names = [describe_unit(self.units[unit], group) for unit in first]
        ax.barh(names, self.value[first], xerr=2 * self.stderr[first])
        ax.set(xlabel=f"importance to {self.settings['metric']} (± 2 standard errors)")
        ax.set(ylabel=f"{self.settings['units']}, the most important first")

    @property
    def units(self) -> np.ndarray:
        """Layer, head and concept of each unit, int64 [U, 3].

        Concept -1: the whole head; head -1: a group of `settings["neurons_per_group"]` neurons.
        """
        return self.tensors["units"]

    @property
    def target(self) -> Target:
        """What is ranked."""
        classes = self.settings["classes"]
        kept = None if classes is None else tuple(classes)
        group = self.settings.get("neurons_per_group")
        return Target(self.settings["units"], self.settings["part"], kept, group)

    @property
    def num_masks(self) -> int:
        """Random masks that each video was scored under; 0 where none were drawn."""
        return self.tensors["scores"].shape[1] if self.settings["method"] == "cris" else 0

    @property
    def has_own_masks(self) -> bool:
        """Whether every video was scored under masks of its own, as all are that are drawn now."""
        return self.settings.get("masks") == OWN_MASKS

    @property
    def stderr(self) -> np.ndarray:
        """Standard error from the masks where masks were drawn, from the videos otherwise, [U]."""
        return self.stderr_masks if self.num_masks else self.stderr_videos

    @property
    def order(self) -> np.ndarray:
        """Units from the most to the least important, int64 [U]; those in no video come last."""
        known = np.where(np.isnan(self.value), -np.inf, self.value)
        return np.argsort(-known, kind="stable")

    @property
    def rank(self) -> np.ndarray:
        """The place of each unit in the order, 0 = the most important, int64 [U]."""
        rank = np.empty(len(self.value), dtype=np.int64)
        rank[self.order] = np.arange(len(rank))
        return rank

    @property
    def share(self) -> np.ndarray:
        """(n - rank) / n of each of n units, float64 [U]: 1 is the most important, 1/n the last.

        What equation 8 of the paper averages, and what reports show.
        """
        share: np.ndarray = (len(self.value) - self.rank) / len(self.value)
        return share

    def per_layer(self) -> dict[int, float]:
        """Return the mean share of a layer's units (equation 8 of the paper)."""
        share = self.share
        layers = self.units[:, 0]
        return {int(layer): float(share[layers == layer].mean()) for layer in np.unique(layers)}

    def per_head(self) -> dict[tuple[int, int], float]:
        """Return the mean share of the units of (layer, head)."""
        share = self.share
        heads = self.units[:, :2]
        return {
            (int(layer), int(head)): float(share[(heads == (layer, head)).all(axis=1)].mean())
            for layer, head in np.unique(heads, axis=0)
            if head >= 0
        }

    def by_video(self) -> np.ndarray:
        """Return the importance of each unit in each video, float64 [V, U]; NaN where absent."""
        if self.settings["method"] == "occlusion":
            effects = self.tensors["baseline"][:, None] - self.tensors["scores"]
            return np.where(self.tensors["present"], effects, np.nan)
        if self.settings["method"] != "cris":
            return np.where(self.tensors["present"], self.tensors["effects"], np.nan)
        rows = np.arange(len(self.settings["videos"]))
        estimator = self.estimator if self.estimator in ESTIMATORS else ESTIMATORS[0]
        measured = _measured(self.settings, self.tensors, rows)
        return effects_by_video(**measured, estimator=estimator)

    def compare(
        self, first: int | tuple[int, int, int], second: int | tuple[int, int, int], seed: int = 0
    ) -> Comparison:
        """Tell whether one unit matters more than another, over the videos that hold both.

        >>> from vtcd_ops.importance.comparisons import compare_units
        >>> compare_units(np.array([0.2, 0.3, 0.1, 0.2])).p_value  # four videos cannot say more
        0.125

        Args:
            first, second: units, by their numbers or as (layer, head, concept).
            seed: of the videos drawn again, and of the signs where not all are tried.

        Returns:
            A :class:`vtcd_ops.importance.comparisons.Comparison`: the difference, its interval and
            its p-value.

        Raises:
            InputError: no such unit, or both occur in fewer than two videos.
        """
        found = self.by_video()
        one, other = (find_unit(self.units, unit) for unit in (first, second))
        differences = found[:, one] - found[:, other]
        return compare_units(differences[np.isfinite(differences)], seed)

    def interactions(self, top: int = 20) -> Interactions:
        """Return the pairs of units that do most together, from the scores of the ranking.

        Half of the masks choose the pairs, the other half measures them; see
        :mod:`vtcd_ops.estimates.interactions`.

        Args:
            top: most pairs to return.

        Raises:
            InputError: the ranking is not one by random masks, or has too few.
        """
        if self.settings["method"] != "cris":
            raise InputError(
                f"interactions: a ranking by cris expected, {self.name} is one by "
                f"{self.settings['method']}"
            )
        rows = np.arange(len(self.settings["videos"]))
        measured = _measured(self.settings, self.tensors, rows)
        group = self.settings.get("neurons_per_group", 0)
        return interactions_of(self.units, measured, top, group)

    def summary(self, num_units: int = 5) -> list[str]:
        """Return lines that say what was measured and which units matter most."""
        settings = self.settings
        kind, videos = settings["units"], counted(len(settings["videos"]), "video")
        first = f"{self.name}: {len(self.value)} {kind} by {settings['metric']} on {videos}"
        first += f", {settings['replace']} put in place" if "replace" in settings else ""
        if self.num_masks:
            first += (
                f", {self.num_masks} masks, estimator {self.estimator}, "
                f"reliability {self.reliability:.3f}, R2 {self.r2:.3f}"
            )
            first += "" if self.has_own_masks else " (the same masks for all videos, as once drawn)"
        lines = [first]
        if self.r2 < 0:
            lines.append(
                "  R2 is below 0: removals foretell no mask that was held out, so this order may "
                "be chance: take more masks, or a metric with more steps"
            )
        for unit in self.order[:num_units]:
            place = describe_unit(self.units[unit], settings.get("neurons_per_group", 0))
            lines.append(f"  {place}: {self.value[unit]:.4g} +- {self.stderr[unit]:.2g}")
        return lines


def estimate_importance(
    name: str, settings: dict[str, Any], tensors: dict[str, np.ndarray], estimator: str
) -> Importance:
    """Return the importance that an estimator gives; a pure function of what was measured.

    Where classes were asked for, each class is estimated from its videos and the classes are
    averaged with equal weight, their standard errors accordingly; reliability and R² are then the
    means of the classes', each of which orders the units by fewer videos than the average does.
    """
    found = [_estimate(settings, tensors, estimator, rows) for rows in _groups(settings)]
    values = np.stack([one.value.numpy() for one in found])  # [classes, U]
    count = np.where(np.isfinite(values).any(axis=0), np.isfinite(values).sum(axis=0), np.nan)

    def error(key: str) -> np.ndarray:
        """The standard error of a mean of independent estimates."""
        each = np.stack([getattr(one, key).numpy() for one in found])
        summed = np.hypot.reduce(np.nan_to_num(each), axis=0) / count
        return np.where(np.isnan(each).all(axis=0), np.nan, summed)

    return Importance(
        name,
        settings,
        tensors,
        "/".join(sorted({one.estimator for one in found})),
        np.nansum(values, axis=0) / count,
        error("stderr_masks"),
        error("stderr_videos"),
        reliability=float(np.mean([one.reliability for one in found])),
        r2=float(np.mean([one.r2 for one in found])),
    )


def estimate_reliability(
    settings: dict[str, Any], tensors: dict[str, np.ndarray], estimator: str
) -> float:
    """Return the reliability alone, for which less is computed."""
    found = [
        reliability(**_measured(settings, tensors, rows), estimator=estimator)
        for rows in _groups(settings)
    ]
    return float(np.mean(found))


def of_class(importance: Importance, label: str) -> Importance:
    """Return the importance to one class of a ranking that was averaged over classes."""
    settings = {**importance.settings, "classes": [label]}
    # of several classes "auto" may have settled on one estimator here and on another there
    estimator = importance.estimator if importance.estimator in ESTIMATORS else ESTIMATORS[0]
    return estimate_importance(importance.name, settings, importance.tensors, estimator)


def _groups(settings: dict[str, Any]) -> list[np.ndarray]:
    """The videos of each class; all videos where no classes were asked for."""
    labels = np.array([str(video["label"]) for video in settings["videos"]])
    if settings["classes"] is None:
        return [np.arange(len(labels))]
    return [np.flatnonzero(labels == label) for label in settings["classes"]]


def _estimate(
    settings: dict[str, Any], tensors: dict[str, np.ndarray], estimator: str, rows: np.ndarray
) -> Estimate:
    """The estimate from some of the videos."""
    if settings["method"] == "occlusion":
        baseline, scores = tensors["baseline"][rows, None], tensors["scores"][rows]
        return _mean_effect(baseline, scores, tensors["present"][rows])
    if settings["method"] != "cris":
        effects = tensors["effects"][rows]
        return _mean_effect(effects, np.zeros_like(effects), tensors["present"][rows])
    return estimate(**_measured(settings, tensors, rows), estimator=estimator)


def _measured(
    settings: dict[str, Any], tensors: dict[str, np.ndarray], rows: np.ndarray
) -> dict[str, Any]:
    """What the estimators need of some videos."""
    drawn: dict[str, Any] = {key: settings[key] for key in ("num_units", "ratio", "design")}
    drawn["seed"] = torch.from_numpy(video_seeds(settings)[rows])
    kept = [key for key in ("present", "baseline", "prior") if key in tensors]
    known = {key: torch.from_numpy(tensors[key][rows]) for key in kept}
    return drawn | known | {"scores": torch.from_numpy(tensors["scores"][rows])}


def video_seeds(settings: dict[str, Any]) -> np.ndarray:
    """Return the seed of each video's masks, int64 [V].

    Rankings that were begun before every video had masks of its own have one seed for all.
    """
    seed, videos = settings["seed"], settings["videos"]
    if settings.get("masks") != OWN_MASKS:
        return np.full(len(videos), seed, dtype=np.int64)
    return np.array([mask_seed(seed, video["sha256"]) for video in videos], dtype=np.int64)


def draw_masks(settings: dict[str, Any], video: int, start: int, stop: int) -> Tensor:
    """Return masks start to stop - 1 of a video of a ranking, bool [masks, U], False: removed."""
    num_units, ratio, design = (settings[key] for key in ("num_units", "ratio", "design"))
    seed = int(video_seeds(settings)[video])
    return cris_sample(num_units, stop - start, ratio, seed, start=start, design=design)


def _mean_effect(before: np.ndarray, after: np.ndarray, present: np.ndarray) -> Estimate:
    """The mean of what units do, before - after [V, U], over the videos that hold them.

    NaN for a unit that no video holds.
    """
    exponent, (before, after) = to_unit_scale(before, after)
    value, stderr = average_over_videos(before - after, present)
    value, stderr = (from_unit_scale(one, exponent, MEAN) for one in (value, stderr))
    nothing = torch.full((len(value),), float("nan"), dtype=torch.float64)
    return Estimate(
        torch.from_numpy(value), nothing, torch.from_numpy(stderr), float("nan"), float("nan"), MEAN
    )
