"""Rosetta concepts: what several models have in common (section 4.1 of the paper)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtcd_ops.common.accelerator import AUTO, choose_device, free_memory
from vtcd_ops.common.errors import InputError, warn
from vtcd_ops.common.memory import format_bytes, parse_bytes
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.ops import rosetta_ratios
from vtcd_ops.ops.arguments import kernel_errors
from vtcd_ops.ops.library import device_with_kernels
from vtcd_ops.rosetta_concepts.baseline import mean_of_all
from vtcd_ops.rosetta_concepts.candidates import choose_candidates
from vtcd_ops.rosetta_concepts.chance import copies_of
from vtcd_ops.rosetta_concepts.common_grid import CommonGrid
from vtcd_ops.rosetta_concepts.compared import Chance, ComparedRun, ComparedVideo
from vtcd_ops.rosetta_concepts.partners import find_partners, sizes_of
from vtcd_ops.rosetta_concepts.result import Rosetta, run_identity
from vtcd_ops.rosetta_concepts.supports import Candidates, PackedSupports, pack, video_grids

_SHARE = 0.7  # of a device's free memory, that supports may take


def rosetta(
    runs: Sequence[Run | str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
    importances: Any = "stored",
    epsilon: float | Sequence[float] = 0.15,
    delta: float | None = 0.15,
    top: int | None = None,
    min_models: int = 2,
    max_models: int | None = None,
    parts: str | Sequence[str] = "keys",
    max_tuples: int = 1_000_000,
    device: str = "auto",
    max_memory: int | str = "1GB",
    seed: int = 0,
    chance: bool = True,
    progress: bool = True,
) -> Rosetta:
    """Find the concepts that several models share.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = [
    ...         vtcd_ops.discover(example_adapter(n), videos, out=f"{folder}/{n}", progress=False)
    ...         for n in (0, 1)
    ...     ]
    ...     found = vtcd_ops.rosetta(runs, importances=None, progress=False)
    >>> best = found.members(0)
    >>> [member.run for member in best], bool(found.scores.min() >= 0.15)
    ([0, 1], True)

    A tuple has one concept from each of several models. Its score (equation 7) is the mean over
    videos of the intersection of their supports over the union, on a grid that all models share;
    every tuple with a score of at least ``delta`` is found (equation 8).

    Args:
        runs: 2 to 8 runs, or their directories, over the same videos. The models may have looked
            at different frames and different parts of them: what all saw is compared.
        out: directory for the result; nothing is written without.
        importances: ``"stored"``, those of `vtcd_ops.rank`; None: compare all concepts; or for each
            run an array [U] in the order of ``run.units(part)``, an `Importance`, or None.
        epsilon: share of a run's concepts that are compared, the most important ones; one number,
            or one a run.
        delta: lowest score; None only with ``top``.
        top: only so many tuples of each number of models, the best.
        min_models, max_models: how many models a tuple has; all by default.
        parts: of which heads' parts the concepts are; one for all runs, or one a run.
        max_tuples: how many tuples may be held at a time.
        device: where supports are compared: "cpu", "cuda", "cuda:1", ...; "auto": "cuda" where
            torch sees one and the operators have kernels for it. The result is the same.
        max_memory: bytes of supports in main memory; beyond, they are read from a temporary file.
        seed: of what is drawn at random: tuples for the mean of all, concepts of copies.
        chance: also search among copies of the models with random weights, where every run has one
            (`discover(sanity=True)`, `vtcd_ops.evidence`).
        progress: show progress bars.

    Returns:
        The tuples, best first for each number of models, their score in each video, and for
        comparison the mean score of all tuples and what copies with random weights share.

    Raises:
        InputError: the runs cannot be compared, an argument is out of range, or no tuple was found;
            then the message says the best score that there is.
    """
    opened = [run if isinstance(run, Run) else load(Path(run)) for run in runs]
    for run in opened:
        run.expect_kept("rosetta")
    candidates = choose_candidates(opened, parts=parts, importances=importances, epsilon=epsilon)
    most = len(opened) if max_models is None else max_models
    memory = parse_bytes(max_memory)
    orders = range(min_models, most + 1)
    _check_numbers(len(opened), delta, top, min_models, most)
    grids = video_grids(candidates)
    chosen = _choose_device(device)  # before anything is packed
    supports = pack(candidates, grids, max_memory=memory, progress=progress)
    sizes = sizes_of(supports)
    supports = _on_device(supports, chosen)
    limit: dict[str, Any] = {"delta": delta or 0.0, "top": top or 0, "max_tuples": max_tuples}
    tuples, scores = _search(supports, max_order=most, **limit)
    wanted = (tuples >= 0).sum(1) >= min_models
    tuples, scores = tuples[wanted].contiguous(), scores[wanted]
    if len(scores) == 0:
        raise _nothing_found(candidates, supports, limit, min_models)
    ratios = rosetta_ratios(supports.words, supports.videos, supports.models, tuples)
    settings = {
        "delta": delta, "top": top, "min_models": min_models, "max_models": most, "seed": seed,
        "importances": _kind(importances),
    }  # fmt: skip
    result = Rosetta(
        [_compared(each) for each in candidates],
        [
            ComparedVideo(record.name, record.sha256, grid)
            for record, grid in zip(opened[0].videos, grids, strict=True)
        ],
        settings,
        [each.units for each in candidates],
        (tuples.cpu().numpy(), scores.cpu().numpy(), ratios.cpu().numpy()),
        [mean_of_all(supports, order, seed=seed) for order in orders],
        find_partners(supports, sizes),
        _by_chance(candidates, grids, limit, orders, memory, chosen, seed) if chance else [],
    )
    if out is not None:
        result.save(Path(out))
    return result


def _check_numbers(
    num_runs: int, delta: float | None, top: int | None, min_models: int, max_models: int
) -> None:
    if delta is None and top is None:
        raise InputError("rosetta: expected a delta, a top number, or both")
    if delta is not None and not (0 < delta <= 1):
        raise InputError(f"rosetta: delta expected above 0 and at most 1, got {delta:g}")
    if top is not None and top < 1:
        raise InputError(f"rosetta: top expected at least 1, got {top}")
    if not 2 <= min_models <= max_models <= num_runs:
        raise InputError(
            f"rosetta: min_models and max_models expected 2 to {num_runs}, the number of runs, in "
            f"this order, got {min_models} and {max_models}"
        )


def _choose_device(device: str) -> torch.device:
    """The device that supports are compared on, if the operators have kernels for it."""
    asked = choose_device("rosetta", device)
    able = device_with_kernels(asked, "rosetta_search", "rosetta_ratios")
    if able != asked and device != AUTO:
        raise InputError(
            f"rosetta: device {device!r} cannot be used: the operators rosetta_search and "
            "rosetta_ratios have no kernels for it"
        )
    return able


def _on_device(supports: PackedSupports, device: torch.device) -> PackedSupports:
    """The supports on a device, or where they are if it has no room for them."""
    free, needed = free_memory(device), supports.words.nbytes
    if free is not None and needed > _SHARE * free:
        warn(
            f"rosetta: the supports take {format_bytes(needed)}, {device} has {format_bytes(free)} "
            "free: they are compared on the CPU"
        )
        return supports
    return supports.on(device)


def _search(
    supports: PackedSupports, *, max_order: int, delta: float, top: int, max_tuples: int
) -> tuple[Tensor, Tensor]:
    with kernel_errors("rosetta_search", "rosetta"):
        tuples, scores = torch.ops.vtcd.rosetta_search(
            supports.words, supports.videos, supports.models, delta, max_order=max_order, top=top,
            max_tuples=max_tuples,
        )  # fmt: skip
    return tuples, scores


def _by_chance(
    candidates: Sequence[Candidates],
    grids: Sequence[CommonGrid],
    limit: dict[str, Any],
    orders: range,
    max_memory: int,
    device: torch.device,
    seed: int,
) -> list[Chance]:
    """What the same search finds among copies of the models; nothing where a run has none."""
    copies = copies_of(candidates, seed)
    if copies is None:
        return []
    supports = _on_device(pack(copies, grids, max_memory=max_memory), device)
    try:
        tuples, scores = _search(supports, max_order=orders[-1], **limit)
    except ValueError as error:  # more of them than max_tuples
        warn(f"rosetta: chance is left out, copies with random weights share too much: {error}")
        return []
    found = []
    for order in orders:
        of_order = scores[(tuples >= 0).sum(1) == order].cpu().numpy()
        everything = mean_of_all(supports, order, seed=seed)
        found.append(Chance(order, of_order, everything.mean, everything.num_tuples))
    return found


def _nothing_found(
    candidates: Sequence[Candidates],
    supports: PackedSupports,
    limit: dict[str, Any],
    min_models: int,
) -> InputError:
    """Say what the best tuple is, where none is good enough."""
    tuples, scores = _search(supports, max_order=min_models, **limit | {"delta": 0.0, "top": 1})
    best = [row for row, tuple_ in enumerate(tuples) if (tuple_ >= 0).sum() == min_models]
    if not best:
        return InputError(
            f"rosetta: no {min_models} concepts of different runs overlap in any video"
        )
    [row] = best
    members = [
        "{} layer {} head {} concept {}".format(each.name, *each.units[concept].tolist())
        for each, concept in zip(candidates, tuples[row].tolist(), strict=True)
        if concept >= 0
    ]
    return InputError(
        f"rosetta: no tuple of {min_models} concepts or more scores {limit['delta']:g}; the best "
        f"score there is, {float(scores[row]):.3g}, is that of {' with '.join(members)}"
    )


def _compared(each: Candidates) -> ComparedRun:
    run = each.run
    return ComparedRun(
        name=each.name,
        path=str(run.path.resolve()),
        model=str(run.model["name"]),
        part=each.part,
        sha256=run_identity(run),
        num_concepts=len(run.units(each.part)),
        epsilon=each.epsilon,
    )


def _kind(importances: Any) -> str:
    """How the concepts were chosen, for the record."""
    if importances is None:
        return "all concepts"
    return importances if isinstance(importances, str) else "given"
