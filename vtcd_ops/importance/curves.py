"""Attribution curves: what is left of the model's answer as units are removed one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.common.settings import expect_whole
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.importance.curve_results import DIRECTIONS, RANDOM, Curves
from vtcd_ops.importance.importance import Importance, of_class
from vtcd_ops.importance.masking import MaskedModel
from vtcd_ops.importance.measurement import AskedForward, Measurement, check_model
from vtcd_ops.importance.methods import Masks
from vtcd_ops.importance.ranked_videos import RankedVideo, find_videos
from vtcd_ops.importance.replacements import replace_setting
from vtcd_ops.importance.scores_store import (
    RESULT_FILE,
    ScoresWriter,
    Tensors,
    finished_names,
    folder_name,
    holds_scores,
    num_columns,
    read_scores,
    read_settings,
    refuse_others,
    was_left,
)
from vtcd_ops.importance.scoring import Scoring
from vtcd_ops.importance.store import run_fingerprint, stored_names
from vtcd_ops.importance.units import choose_units
from vtcd_ops.metrics import Metric, get_metric
from vtcd_ops.storage import files
from vtcd_ops.video.samples import Sample

__all__ = ["RANDOM", "Curves", "curves", "read_curves"]

FOLDER = "curves"
_LATER = "later"  # folder of rankings that came after the curves were begun

#: What scores depend on, and the scores.
Scores = tuple[dict[str, Any], Tensors]


def curves(
    run: Run | str | Path,
    model: Adapter | str | Path | None = None,
    samples: Any = None,
    metric: str | Metric | Callable[[Any, Sample], Tensor] | None = None,
    *,
    rankings: Sequence[str] | None = None,
    num_points: int = 20,
    num_random: int = 5,
    replace: str = "zero",
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
) -> Curves:
    """Remove the units of a run in the order of their importance, and score what is left.

    For every ranking: the most important first (positive), the least important first (negative);
    and random orders to compare with. Where a ranking was averaged over classes, each video's units
    are removed in the order of its own class, as in Fig. 4 of the paper. The scores are stored in
    the run, in `curves/NAME`, and are resumed and shared like those of :func:`vtcd_ops.rank`; of
    rankings that came later, or that have more masks by now, only what is new is measured.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> model, folder = example_adapter(), tempfile.TemporaryDirectory()
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> run = vtcd_ops.discover(model, videos, out=folder.name, progress=False)
    >>> samples = [vtcd_ops.Sample(video, label=1) for video in videos]
    >>> _ = vtcd_ops.rank(run, model, samples, "logit", num_masks=64, progress=False)
    >>> found = vtcd_ops.curves(run, model, samples, "logit", progress=False)
    >>> sorted(found.scores)
    [('cris-logit', 'negative'), ('cris-logit', 'positive'), ('random', 'positive')]
    >>> folder.cleanup()

    Args:
        run: the run, or its directory.
        model, samples, metric, assign: as of :func:`vtcd_ops.rank`.
        masks_per_forward, dtype, compiled, device, max_memory, progress: as there.
        rankings: names of rankings of the run, of the same kind of units in the same part; by
            default those whose units are of the kind and part that `run.importance()` ranks.
        num_points: equal steps from nothing removed to everything removed.
        num_random: random orders to average.
        replace: what is put in place of removed units, one of those of :func:`vtcd_ops.rank`;
            rankings that were made with another are followed all the same.
        seed: of the random orders.
        name: of the curves in the run; the metric's by default, and what is put in place.
        overwrite: replace curves of that name that have other settings; those that have the same
            go on.

    Returns:
        The curves, which :func:`read_curves` returns from then on.

    Raises:
        InputError: there is no ranking, or what :func:`vtcd_ops.rank` cannot use.
    """
    run = load(run) if isinstance(run, str | Path) else run
    adapter = check_model("curves", run, model, device)
    _check(num_points, num_random, seed)
    chosen = _rankings(run, rankings)
    target = chosen[0].target
    units = choose_units(run, target.units, target.part, adapter, target.neurons_per_group)
    chosen_metric = get_metric(metric, adapter)
    videos, _ = find_videos(
        run, adapter, samples, classes=target.classes, assign=assign,
        max_memory=parse_bytes(max_memory), caller="curves",
    )  # fmt: skip
    usual = "-".join([chosen_metric.name.replace("_", "-"), *replace_setting(replace).values()])
    path = run.path / FOLDER / folder_name(name or usual)
    counts = np.round(np.linspace(0, 1, num_points + 1) * len(units)).astype(np.int64)
    measured = Measurement(run, adapter, units, chosen_metric, videos, replace)
    asked = AskedForward(masks_per_forward, dtype, compiled, max_memory)
    more = {"counts": np.unique(counts).tolist(), "num_random": num_random, "seed": seed}
    shown = progress and os.environ.get("RANK", "0") == "0"
    available = [run.importance(one) for one in stored_names(run)]

    def measure(document: dict[str, Any]) -> list[Scores]:
        measuring = _Measuring(document, measured.masked(document), videos, progress=shown)
        known = [one for one in available if one]
        return _measured(path, chosen, known, measuring, overwrite)

    found = measured.begin(path, asked, more, measure)
    return _curves(path.name, found, [_what(one) for one in chosen])


class _Measuring:
    """Measures the curves of some rankings, all that they depend on beside them being settled.

    Args:
        document: what that is.
        masked: the model.
        videos: what is scored.
        progress: show a bar.
    """

    def __init__(
        self,
        document: dict[str, Any],
        masked: MaskedModel,
        videos: Sequence[RankedVideo],
        *,
        progress: bool,
    ) -> None:
        self.document = document
        self._masked = masked
        self._videos = videos
        self._progress = progress

    def __call__(
        self, path: Path, rankings: Sequence[Importance], num_random: int, overwrite: bool = False
    ) -> Scores:
        """Measure what is not measured in a folder yet."""
        counts = np.asarray(self.document["counts"])
        orders = _orders(rankings, self._videos, num_random, self.document["seed"])
        document = self.document | {
            "rankings": [list(_what(one)) for one in rankings],
            "num_random": num_random,
        }
        writer = ScoresWriter(path, document, "curves", overwrite=overwrite)
        method = Masks(
            lambda video, start, stop: _masks(orders[video], counts, start, stop),
            len(orders[0]) * len(counts),
            self.document["masks_per_forward"],
        )
        scoring = Scoring(self._masked, self._videos, method, writer, progress=self._progress)
        return scoring.run(lambda tensors: _finish(writer, tensors))


def _measured(
    path: Path,
    chosen: Sequence[Importance],
    available: Sequence[Importance],
    measure: _Measuring,
    overwrite: bool,
) -> list[Scores]:
    """Return the scores of all chosen rankings; what is there already is not measured again.

    The rankings that the curves were begun with are in their folder, beside the random orders;
    rankings that came later, or have another order by now, in folders below.
    """
    num_random = measure.document["num_random"]
    begun = read_settings(path) or {}
    now = json.loads(json.dumps({**begun, **measure.document}))
    if not holds_scores(path) or (overwrite and begun != now):
        return [measure(path, chosen, num_random, overwrite)]
    if begun != now:
        refuse_others(path, begun, now, "curves")
    known = {_what(one): one for one in [*available, *chosen]}
    first = [known.get(tuple(one)) for one in begun["rankings"]]
    finished = (path / RESULT_FILE).is_file()
    if all(first) and (not finished or was_left(path)):
        found = [measure(path, [one for one in first if one], num_random)]
    elif finished:
        found = [(begun, read_scores(path))]
    elif overwrite:
        return [measure(path, chosen, num_random, overwrite)]
    else:
        raise InputError(
            f"{path} holds unfinished curves of rankings that have another order by now: choose "
            "another name, or overwrite it"
        )
    found += _later(path)
    there = {tuple(one) for settings, _ in found for one in settings["rankings"]}
    missing = [one for one in chosen if _what(one) not in there]
    if missing:
        text = json.dumps([_what(one) for one in missing])
        folder = path / _LATER / files.sha256_bytes(text.encode())[:16]
        found.append(measure(folder, missing, num_random=0))
    return found


def _later(path: Path) -> list[Scores]:
    """The scores of rankings that came after the curves were begun, the latest last."""
    found = []
    for name in finished_names(path / _LATER):
        settings = read_settings(path / _LATER / name)
        if settings is not None:
            found.append((settings, read_scores(path / _LATER / name)))
    return found


def _check(num_points: int, num_random: int, seed: int) -> None:
    for setting, value, least in (
        ("num_points", num_points, 1),
        ("num_random", num_random, 0),
        ("seed", seed, 0),
    ):
        expect_whole("curves", setting, value, least)


def _rankings(run: Run, names: Sequence[str] | None) -> list[Importance]:
    """The rankings whose orders are followed; all of the same units and classes."""
    main = run.importance()
    if main is None:
        raise InputError(f"curves: {run.path} has no ranking: rank its units first")
    found = [run.importance(name) for name in (stored_names(run) if names is None else names)]
    known = [one for one in found if one is not None]
    if names is None:
        # one ranking of each method and metric that ranks what the main one ranks
        known = [one for one in known if one.target == main.target]
        known = [one for one in known if one.settings["method"] != RANDOM]
    elif len({one.target for one in known}) > 1:
        raise InputError("curves: rankings expected of the same units, part and classes")
    if not known:
        raise InputError("curves: at least one ranking expected, got none")
    return known


def _what(importance: Importance) -> tuple[str, str]:
    """What the curves of a ranking depend on: its name, and a hash of its orders."""
    classes = importance.target.classes or ()
    every = [importance, *(of_class(importance, label) for label in classes)]
    return importance.name, files.sha256_bytes(b"".join(one.order.tobytes() for one in every))


def _orders(
    rankings: Sequence[Importance], videos: Sequence[RankedVideo], num_random: int, seed: int
) -> list[list[np.ndarray]]:
    """For each video the orders in which units are removed: each ranking both ways, then random."""
    num_units = len(rankings[0].value)
    random = [
        np.random.default_rng([seed, number]).permutation(num_units) for number in range(num_random)
    ]
    orders: list[list[np.ndarray]] = []
    by_class: dict[str, list[np.ndarray]] = {}
    for video in videos:
        label = str(video.sample.label)
        key = label if rankings[0].target.classes is not None else ""
        if key not in by_class:
            own = [of_class(one, label) if key else one for one in rankings]
            by_class[key] = [order for one in own for order in (one.order, one.order[::-1])]
        orders.append(by_class[key] + random)
    return orders


def _masks(orders: list[np.ndarray], counts: np.ndarray, start: int, stop: int) -> Tensor:
    """Masks start to stop - 1 of a video: the counts of the first order, of the second, ..."""
    keep = torch.ones(stop - start, len(orders[0]), dtype=torch.bool)
    for row, mask in enumerate(range(start, min(stop, len(orders) * len(counts)))):
        order, point = divmod(mask, len(counts))
        keep[row, torch.from_numpy(orders[order][: counts[point]].copy())] = False
    return keep


def _finish(writer: ScoresWriter, tensors: Tensors) -> Scores:
    if writer.write_scores(tensors):
        writer.finish(num_columns(tensors))
    return writer.document, tensors


def _curves(name: str, found: Sequence[Scores], shown: Sequence[tuple[str, str]]) -> Curves:
    """The curves of some rankings (name, fingerprint) out of stored scores [V, orders * points]."""
    settings, tensors = found[0]
    counts = np.asarray(settings["counts"])
    orders: dict[tuple[str, ...], np.ndarray] = {}  # [V, 2, points]
    for of_set, measured in found:
        scores = measured["scores"].reshape(len(measured["scores"]), -1, len(counts))
        for number, one in enumerate(of_set["rankings"]):
            orders[tuple(one)] = scores[:, 2 * number : 2 * number + 2]
    curves = {
        (one[0], direction): orders[one][:, way]
        for one in shown
        for way, direction in enumerate(DIRECTIONS)
    }
    if settings["num_random"]:
        scores = tensors["scores"].reshape(len(tensors["scores"]), -1, len(counts))
        curves[RANDOM, DIRECTIONS[0]] = scores[:, 2 * len(settings["rankings"]) :].mean(axis=1)
    settings = settings | {"rankings": [list(one) for one in shown]}
    return Curves(name, settings, counts / counts[-1], curves)


def read_curves(run: Run, name: str | None = None) -> Curves | None:
    """Return curves that :func:`curves` made.

    Args:
        run: the run.
        name: of the curves; None: the latest.

    Returns:
        The curves; None where no name is given and there are none.

    Raises:
        InputError: no curves of that name, or damaged ones.
    """
    names = finished_names(run.path / FOLDER)
    if name is None and not names:
        return None
    path = run.path / FOLDER / folder_name(names[-1] if name is None else name)
    settings = read_settings(path)
    if settings is None or not (path / RESULT_FILE).is_file():
        known = ", ".join(names) or "none"
        raise InputError(f"{run.path} has no finished curves {name!r} (finished: {known})")
    if settings["run"] != run_fingerprint(run):
        raise InputError(f"{path} belongs to another state of the run {run.path}: make it again")
    found = [(settings, read_scores(path)), *_later(path)]
    measured = [tuple(one) for of_set, _ in found for one in of_set["rankings"]]
    shown = {}
    for ranking in dict.fromkeys(name for name, _ in measured):
        of_ranking = [one for one in measured if one[0] == ranking]
        shown[ranking] = of_ranking[-1]
        if len(of_ranking) > 1 and ranking in stored_names(run):  # the order that it has now
            now = run.importance(ranking)
            shown[ranking] = _what(now) if now and _what(now) in of_ranking else of_ranking[-1]
    return _curves(path.name, found, list(shown.values()))
