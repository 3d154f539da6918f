"""Rank the units of a run by how much they matter to the model's answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.common.settings import expect_one_of, expect_whole
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.estimates.estimators import DESIGNS, ESTIMATORS
from vtcd_ops.importance.importance import (
    OWN_MASKS,
    Importance,
    draw_masks,
    estimate_reliability,
)
from vtcd_ops.importance.measurement import AskedForward, Measurement, check_model, gradient_dtype
from vtcd_ops.importance.methods import Gradients, Masks, Method
from vtcd_ops.importance.priors import PRIORS, num_gradients, prior_of, settled_prior
from vtcd_ops.importance.ranked_videos import find_videos
from vtcd_ops.importance.scoring import Scoring
from vtcd_ops.importance.store import finish_importance, importance_path
from vtcd_ops.importance.units import choose_units
from vtcd_ops.metrics import Metric, get_metric
from vtcd_ops.video.samples import Sample

__all__ = ["METHODS", "rank"]

#: How importance can be measured; the first is the paper's, the others are what it is compared to.
METHODS = ("cris", "occlusion", "gradient", "integrated_gradients", "random")
GRADIENTS = ("gradient", "integrated_gradients")
DEFAULT_RATIO = 0.5


def rank(
    run: Run | str | Path,
    model: Adapter | str | Path | None = None,
    samples: Any = None,
    metric: str | Metric | Callable[[Any, Sample], Tensor] | None = None,
    *,
    method: str = "cris",
    units: str = "concepts",
    neurons_per_group: int | None = None,
    part: str | None = None,
    num_masks: int = 4000,
    ratio: float | None = None,
    design: str = "simple",
    estimator: str = "auto",
    stop_at: float | None = 0.95,
    prior: str | None = "random_strengths",
    replace: str = "zero",
    num_steps: int = 32,
    classes: Sequence[str] | str | None = None,
    assign: bool = False,
    seed: int = 0,
    name: str | None = None,
    overwrite: bool = False,
    masks_per_forward: int | str = "auto",
    dtype: str = "auto",
    compiled: bool = False,
    device: str = "auto",
    max_memory: int | str = "1GB",
    progress: bool = True,
) -> Importance:
    """Measure how much each concept, head or group of neurons matters to the model's answer.

    By default as the paper does (CRIS, equation 6): random sets of concepts of all layers and heads
    are removed at once, and a concept is important if the answer is worse where it was removed. The
    scores are stored in the run, so the same call goes on where a killed one stopped, adds masks to
    a ranking with fewer, or returns one that is finished; one that is interrupted (Ctrl-C) leaves
    the ranking by the masks that all videos were scored under by then. Any number of processes may
    share the work (start the same command several times, by torchrun or otherwise). The scores
    depend on the model, the videos and the settings, and not on interruptions or the number of
    processes.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> model, folder = example_adapter(), tempfile.TemporaryDirectory()
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> run = vtcd_ops.discover(model, videos, out=folder.name, progress=False)
    >>> samples = [vtcd_ops.Sample(video, label=1) for video in videos]
    >>> importance = vtcd_ops.rank(run, model, samples, "logit", num_masks=64, progress=False)
    >>> len(importance.value) == len(run.units()), importance.units[importance.order[0]].shape
    (True, (3,))
    >>> folder.cleanup()

    Args:
        run: the run, or its directory.
        model: the run's model; loaded by its name by default.
        samples: videos to measure on, see :func:`vtcd_ops.video.samples.as_samples`; those of the
            run by default. The score of a video longer than a clip is the mean over its windows.
        metric: a name of :mod:`vtcd_ops.metrics`, or a function of (outputs, sample) that returns a
            number for every clip, larger is better; the model's own by default.
        method: "cris"; "occlusion": each unit alone is removed; "gradient": gradient x concept;
            "integrated_gradients"; "random": a random order.
        units: "concepts", "heads", "neurons" (groups of hidden neurons of the perceptrons, removed
            at every token) or "heads+neurons".
        neurons_per_group: of units of neurons; None: so many that a layer has as many groups as
            heads, which cost about as much.
        part: "queries", "keys", "values" or "outputs", where units are removed; by default the
            run's first part.
        num_masks: M, of cris: at most as many for each video, which has masks of its own.
        ratio: share of the units that a mask removes; by default the model's, .5 for most.
        design: of cris's masks, see :func:`vtcd_ops.cris_sample`.
        estimator: of cris, see :mod:`vtcd_ops.estimates.estimators`.
        stop_at: stop as soon as the masks alone give an order that is this reliable (0 to 1), or at
            ``num_masks``; None: only there.
        prior: of cris, what its estimates are shrunk towards: "random_strengths" (gradients where
            every unit is kept by a random share of its own; as many as ``num_masks``, at most 64),
            "mean_mask" (one gradient, where every unit is kept by 1 - ratio),
            "integrated_gradients" (at 8 strengths), "gradient" (where everything is kept) or None.
            Left out, and said, where the metric has no gradient.
        replace: what is put in place of a removed unit: "zero" (the paper's), "mean" (of its head's
            features over the videos), or "video" (another video's features at the same token, of
            another label where there is one).
        num_steps: of integrated gradients.
        classes: labels whose videos to take, or "all" labels: each class is ranked by its videos,
            and the classes are averaged. None: all videos as one class.
        assign: look for the run's concepts in videos that are not in the run.
        seed: of everything drawn at random.
        name: of the ranking in the run; made of the method, the metric and the units by default.
        overwrite: replace a ranking of that name that has other settings; one that has the same
            goes on.
        masks_per_forward: how many masks the model sees at a time; "auto": as many as fit into
            ``max_memory``; on a GPU as many as are fastest there, which is tried out.
        dtype: "float32", "bfloat16" (autocast), or "auto": bfloat16 where the hardware is fast at
            it. A model whose weights are in another type than float32 runs in that type.
        compiled: run the model through torch.compile.
        device: as of :func:`vtcd_ops.discover`.
        max_memory: most bytes for one forward, where ``masks_per_forward`` is "auto"; videos with
            frames so large that reading them takes more are refused.
        progress: show progress bars, and how reliable the order is by now.

    Returns:
        The importance, which ``run.importance(name)`` returns from then on.

    Raises:
        InputError: the run and the model do not belong together, a video is not in the run, the
            metric does not suit, a setting is out of range, or the name holds a ranking of other
            settings and is not to be overwritten; what was finished is kept.
    """
    run = load(run) if isinstance(run, str | Path) else run
    adapter = check_model("rank", run, model, device)
    ratio = getattr(adapter, "cris_ratio", DEFAULT_RATIO) if ratio is None else ratio
    _check(method, num_masks, ratio, design, estimator, stop_at, prior, num_steps, seed)
    chosen_units = choose_units(run, units, part, adapter, neurons_per_group)
    chosen_metric = _with_gradients(method, get_metric(metric, adapter))
    videos, kept_classes = find_videos(
        run, adapter, samples, classes=classes, assign=assign, max_memory=parse_bytes(max_memory)
    )
    measured = Measurement(run, adapter, chosen_units, chosen_metric, videos, replace)
    path = importance_path(run, name or _default_name(method, measured))
    dtype = gradient_dtype(dtype, adapter) if method in GRADIENTS else dtype
    asked = AskedForward(masks_per_forward, dtype, compiled, max_memory, method in GRADIENTS)
    more = {"method": method, "num_units": len(chosen_units), "seed": seed, "classes": kept_classes}
    more |= _of_method(method, ratio, design, num_masks, num_steps, prior, chosen_metric)
    masked, writer = measured.open(path, asked, more, "a ranking", overwrite)
    reliability = partial(estimate_reliability, writer.document, estimator=estimator)
    scoring = Scoring(
        masked,
        videos,
        _method(writer.document, num_masks),
        writer,
        progress=progress and os.environ.get("RANK", "0") == "0",
        check=reliability if method == "cris" else None,
        stop_at=stop_at if method == "cris" else None,
        preliminary=method == "cris",
        prior=prior_of(writer.document, masked),
        refuse_inert=method in ("cris", "occlusion"),
    )
    return scoring.run(lambda tensors: finish_importance(writer, tensors, estimator))


def _with_gradients(method: str, metric: Metric) -> Metric:
    """Return a metric, or raise where its gradients say nothing and a method needs them."""
    if method in GRADIENTS and not metric.smooth:
        raise InputError(
            f"rank: metric {metric.name} is flat almost everywhere, so its gradients say nothing: "
            "choose another metric or method"
        )
    if method == "gradient" and getattr(metric, "peaks", False):
        raise InputError(
            f"rank: metric {metric.name} is largest where nothing is removed, so its gradient "
            "there is zero: choose integrated_gradients or another metric"
        )
    return metric


def _check(
    method: str,
    num_masks: int,
    ratio: float,
    design: str,
    estimator: str,
    stop_at: float | None,
    prior: str | None,
    num_steps: int,
    seed: int,
) -> None:
    """Raise at the first setting that is out of range."""
    for setting, word, choices in (
        ("method", method, METHODS),
        ("design", design, DESIGNS),
        ("estimator", estimator, ESTIMATORS),
        ("prior", PRIORS[0] if prior is None else prior, PRIORS),
    ):
        expect_one_of("rank", setting, word, choices)
    for setting, value, least in (
        ("num_masks", num_masks, 2),
        ("num_steps", num_steps, 1),
        ("seed", seed, 0),
    ):
        expect_whole("rank", setting, value, least, most=2**31 - 1)
    if not isinstance(ratio, int | float) or not 0 < ratio < 1:
        raise InputError(f"rank: ratio expected a number above 0 and below 1, got {ratio!r}")
    if stop_at is not None and not (isinstance(stop_at, int | float) and 0 < stop_at <= 1):
        raise InputError(f"rank: stop_at expected a number above 0, at most 1, got {stop_at!r}")


def _default_name(method: str, measured: Measurement) -> str:
    """Name a ranking by what it is, the usual left out."""
    units, first = measured.units, measured.run.parts[0]
    pieces = [method.replace("_", "-"), measured.metric.name.replace("_", "-")]
    pieces += [units.kind.replace("+", "-")] if units.kind != "concepts" else []
    pieces += [units.part] if units.part != first else []
    pieces += [measured.replace] if measured.replace != "zero" else []
    return "-".join(pieces)


def _of_method(
    method: str,
    ratio: float,
    design: str,
    num_masks: int,
    num_steps: int,
    prior: str | None,
    metric: Metric,
) -> dict[str, Any]:
    """The settings that a method depends on."""
    if method == "cris":
        drawn = {"ratio": float(ratio), "design": design, "masks": OWN_MASKS}
        settled = settled_prior(prior, metric)
        return {**drawn, "prior": settled, **num_gradients(settled, num_masks)}
    return {"num_steps": num_steps} if method == "integrated_gradients" else {}


def _method(document: dict[str, Any], num_masks: int) -> Method:
    """What is measured, and in which parts."""
    num_units, batch = document["num_units"], document["masks_per_forward"]
    if document["method"] == "cris":

        def drawn(index: int, start: int, stop: int) -> Tensor:
            # on the CPU, whatever the model's device: 4,000 masks of 800 units take it some
            # milliseconds, their forwards seconds, and they go there while it works on others
            return draw_masks(document, index, start, stop)

        return Masks(drawn, num_masks, batch)
    if document["method"] == "occlusion":

        def one_removed(index: int, start: int, stop: int) -> Tensor:
            keep = torch.ones(stop - start, num_units, dtype=torch.bool)
            keep[torch.arange(stop - start), torch.arange(start, stop)] = False
            return keep

        return Masks(one_removed, num_units, batch, only_present=True)
    if document["method"] == "random":
        return RandomOrder(num_units, document["seed"])
    steps = document.get("num_steps", 0)
    middles = [(step + 0.5) / steps for step in range(steps)]
    return Gradients(num_units, middles or [1.0], batch)


class RandomOrder:
    """The same random effects in every video: an order that knows nothing."""

    measures = "effects"

    def __init__(self, num_units: int, seed: int) -> None:
        self.total = self.step = num_units
        self._effects = np.random.default_rng(seed).permutation(num_units) / num_units

    def part(self, index: int, video: object, start: int) -> np.ndarray:
        """Return the effects of all units, float64 [U]."""
        return self._effects
