"""Measure what speaks for the concepts of a run, and store it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_whole
from vtcd_ops.concept_evidence.coherence import coherence
from vtcd_ops.concept_evidence.copies import make_copies
from vtcd_ops.concept_evidence.explained import explained
from vtcd_ops.concept_evidence.measures import COPY
from vtcd_ops.concept_evidence.objects import (
    ObjectOverlap,
    held_out,
    object_overlap,
    stored_masks,
)
from vtcd_ops.concept_evidence.overlap import BestOverlap, best_overlaps, best_scores
from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.result import Evidence, ObjectRow
from vtcd_ops.concept_evidence.stability import stability
from vtcd_ops.concept_evidence.store import fingerprint, read_evidence, write_evidence
from vtcd_ops.concept_evidence.tokens import TokenConcepts
from vtcd_ops.discovery.degenerate_heads import degenerate_heads, num_videos_of
from vtcd_ops.discovery.identity import library_versions
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.storage.documents import digest_json
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import as_samples

__all__ = ["evidence"]

VIDEOS_FOR_HALVES = 4  # halves of fewer videos say nothing


def evidence(
    run: Run | str | Path,
    model: Adapter | str | Path | None = None,
    samples: Any = None,
    *,
    part: str | None = None,
    copies: int | None = 3,
    controls: Sequence[Run | str | Path] | None = None,
    starts: int = 3,
    shuffles: int = 99,
    seed: int = 0,
    device: str = "auto",
    max_memory: int | str = "1GB",
    progress: bool = True,
) -> Evidence:
    """Measure what speaks for the concepts of a run, each number beside that of chance.

    How much each concept overlaps with the best concept of copies of the model with random weights;
    whether it comes back from other starts of the clustering and from half of the videos; how
    contiguous it is; what of it place alone or colour alone explains; and, where the videos have
    true masks, how well it fits the object. See docs/evidence.md. The result is stored in the run
    and found again; one of other settings is replaced.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (4, 4, 32, 32, 3)).astype(np.uint8)
    >>> folder, model = tempfile.TemporaryDirectory(), example_adapter()
    >>> run = vtcd_ops.discover(model, videos, out=folder.name, layers=[2], progress=False)
    >>> found = vtcd_ops.evidence(run, model, videos, copies=2, progress=False)
    >>> found.copy_overlap.shape == (len(run.units()), 2), found == run.evidence()
    (True, True)
    >>> folder.cleanup()

    Args:
        run: the run, or its directory.
        model: the run's model; loaded by its name by default. Needed only where copies are missing.
        samples: the videos of the run, in its order; read from where they were by default.
        part: of the run's parts; the first by default.
        copies: how many copies with random weights to compare with, each from a seed of its own.
            That of ``discover(sanity=True)`` is the first; what is missing is discovered now, in
            RUN/evidence, which takes as long as the run did for each. None: those that are there.
        controls: runs to compare with instead, over the same videos on the same token grid.
        starts: other starts of the clustering, and divisions of the videos into halves; 0: none.
        shuffles: of the tokens, for the p-values of contiguity.
        seed: of everything drawn at random.
        device: as of :func:`vtcd_ops.discover`.
        max_memory: as of :func:`vtcd_ops.discover`.
        progress: show progress bars.

    Returns:
        The evidence, which ``run.evidence()`` returns from then on.

    Raises:
        InputError: the run has no such part, its model or videos are not those given, or controls
            do not fit it.
    """
    run = load(run) if isinstance(run, str | Path) else run
    run.expect_kept("evidence")
    part = run.parts[0] if part is None else part
    if part not in run.parts:
        raise InputError(f"evidence: part expected one of {', '.join(run.parts)}, got {part!r}")
    for name, value in (("copies", copies or 0), ("starts", starts), ("shuffles", shuffles)):
        expect_whole("evidence", name, value, 0)
    samples = _checked(run, samples)
    if controls is not None:
        others = [one if isinstance(one, Run) else load(one) for one in controls]
    elif copies is None:
        others = run.copies()
    else:
        others = make_copies(
            run, copies, model, samples, device=device, max_memory=max_memory, progress=progress
        )
    masks = _masks(run, samples)
    settings = {
        "run": fingerprint(run),
        "model": run.model["name"],
        "part": part,
        "num_videos": len(run.videos),
        "controls": [_described(other) for other in others],
        "starts": starts if run.kind == "discovery" else 0,
        "shuffles": shuffles,
        "seed": seed,
        "masks": digest_json({str(v): _name_of(m) for v, m in masks.items()}),
        "versions": library_versions(),
    }
    settings = json.loads(json.dumps(settings))
    known = _known(run, part, settings)
    if known is not None:
        return known
    found = _Measuring(run, part, others, settings, masks).measure(progress)
    write_evidence(run, found)
    return found


def _known(run: Run, part: str, settings: dict[str, Any]) -> Evidence | None:
    """What is stored, if it is of these settings; whatever else is there is replaced."""
    try:
        known = read_evidence(run, part)
    except InputError:
        return None
    return known if known is not None and known.settings == settings else None


def _described(run: Run) -> dict[str, str]:
    return {"model": str(run.model["name"]), "path": str(run.path), "run": fingerprint(run)}


def _checked(run: Run, samples: Any) -> list[Any] | None:
    """The samples as a list, verified to be the videos of the run in its order."""
    if samples is None:
        return None
    given = list(as_samples(samples))
    if len(given) != len(run.videos):
        raise InputError(
            f"evidence: samples expected the {len(run.videos)} videos of {run.path}, got "
            f"{len(given)}"
        )
    for sample, record in zip(given, run.videos, strict=True):
        if open_video(sample.video).sha256() != record.sha256:
            raise InputError(
                f"evidence: samples expected the videos of {run.path} in its order, got another "
                f"one than {record.name}"
            )
    return given


def _masks(run: Run, samples: list[Any] | None) -> dict[int, Any]:
    """The true masks by the number of the video."""
    if samples is not None:
        given = {n: s.target_masks for n, s in enumerate(samples) if s.target_masks is not None}
        if given:
            return given
    return stored_masks(run)


def _name_of(masks: Any) -> str:
    """What tells masks from others: where they are, or what they hold."""
    if isinstance(masks, np.ndarray):
        return digest_json([list(masks.shape), masks.tolist()])
    return str(masks)


class _Measured(NamedTuple):
    """One measure of every concept of a run, and what chance gives."""

    per_video: PerVideo
    chance: np.ndarray
    p_value: np.ndarray | None = None


class _Measuring:
    """All measures of one run and its controls."""

    def __init__(
        self,
        run: Run,
        part: str,
        controls: list[Run],
        settings: dict[str, Any],
        masks: dict[int, Any],
    ) -> None:
        self._run = run
        self._part = part
        self._controls = controls
        self._settings = settings
        self._masks = masks
        self._seed = settings["seed"]

    def measure(self, progress: bool) -> Evidence:
        """Return the evidence."""
        run, part = self._run, self._part
        steps = tqdm(
            total=len(self._controls) + 2, desc="evidence", unit="step", disable=not progress
        )
        concepts = TokenConcepts.of(run, part)
        best, between = self._overlaps(concepts)
        steps.update()
        shuffles = self._settings["shuffles"]
        measured = self._copy_measure(best) | self._of(run, concepts, shuffles)
        objects = object_overlap(run, part, self._masks)
        steps.update()
        of_copies: dict[str, list[np.ndarray]] = {} if not between else {COPY.key: between}
        copies_on_objects = []
        for control in self._controls:
            for key, one in self._of(control, TokenConcepts.of(control, part), 0).items():
                of_copies.setdefault(key, []).append(one.per_video.values())
            on_object = object_overlap(control, part, self._masks)
            if on_object is not None:
                copies_on_objects.append((control, on_object))
                of_copies.setdefault("object", []).append(on_object.per_video.values())
            steps.update()
        steps.close()
        if objects is not None:
            measured["object"] = _Measured(objects.per_video, objects.expected)
        rows = [] if objects is None else list(self._object_rows(objects, copies_on_objects))
        return self._evidence(measured, best, rows, of_copies)

    def _overlaps(self, concepts: TokenConcepts) -> tuple[list[BestOverlap], list[np.ndarray]]:
        """Best overlaps with each control, and of each control with the next one."""
        others = [self._matching(control, concepts) for control in self._controls]
        best = [
            best_overlaps(concepts, other, self._seed + number)
            for number, other in enumerate(others)
        ]
        if len(others) < 2:
            return best, []
        following = [*others[1:], others[0]] if len(others) > 2 else [others[1], others[0]]
        pairs = zip(others, following, strict=True)
        return best, [best_scores(one, other) for one, other in pairs]

    def _matching(self, control: Run, concepts: TokenConcepts) -> TokenConcepts:
        same = [v.content for v in control.videos] == [v.content for v in self._run.videos]
        if not same or self._part not in control.parts:
            raise InputError(
                f"evidence: controls expected {self._part} of the videos of {self._run.path}, got "
                f"{control.path}"
            )
        other = TokenConcepts.of(control, self._part)
        grids = [units.shape[1:] for units in concepts.maps]
        if [units.shape[1:] for units in other.maps] != grids:
            raise InputError(
                f"evidence: controls expected the token grid of {self._run.path}, got that of "
                f"{control.path}"
            )
        return other

    def _copy_measure(self, best: list[BestOverlap]) -> dict[str, _Measured]:
        """The mean overlap with the best concept of each copy."""
        if not best:
            return {}
        numerator = np.mean([one.per_video.numerator for one in best], axis=0)
        denominator = np.mean([one.per_video.denominator for one in best], axis=0)
        chance = np.mean([one.moved for one in best], axis=0)
        return {COPY.key: _Measured(PerVideo(numerator, denominator), chance)}

    def _of(self, run: Run, concepts: TokenConcepts, shuffles: int) -> dict[str, _Measured]:
        """The measures that need one run alone."""
        found: dict[str, _Measured] = {}
        starts = self._settings["starts"]
        if starts and run.kind == "discovery":
            for key, stable in stability(run, self._part, starts=starts, seed=self._seed).items():
                if key == "starts" or len(run.videos) >= VIDEOS_FOR_HALVES:
                    found[key] = _Measured(stable.per_video, stable.expected)
        for key, one in coherence(concepts, shuffles, self._seed).items():
            p_value = one.p_value if shuffles else None
            found[key] = _Measured(one.per_video, one.expected, p_value)
        if len(run.videos) > 1:
            for key, share in explained(run, concepts).items():
                found[key] = _Measured(share, np.zeros(len(concepts)))
        return found

    def _object_rows(
        self, objects: ObjectOverlap, of_copies: list[tuple[Run, ObjectOverlap]]
    ) -> Iterator[ObjectRow]:
        units = self._run.units(self._part)
        for layer in [*self._run.layers, None]:
            among = _in_layer(units, layer)
            judged, chosen = held_out(objects.per_video, among)
            some = chosen >= 0
            if not some.any():
                continue
            copies = [
                float(
                    held_out(one.per_video, _in_layer(run.units(self._part), layer))[0].values()[0]
                )
                for run, one in of_copies
            ]
            low, high = judged.median_interval()
            often = int(np.bincount(chosen[some]).argmax())
            at_layer, head, concept = units[often].tolist()
            yield ObjectRow(
                layer=layer,
                value=float(judged.values()[0]),
                low=None if low != low else low,
                high=None if high != high else high,
                copies=float(np.mean(copies)) if copies else None,
                chance=float(objects.expected[chosen[some]].mean()),
                chosen=(at_layer, head, concept),
                num_videos=int(some.sum()),
            )

    def _evidence(
        self,
        measured: dict[str, _Measured],
        best: list[BestOverlap],
        objects: list[ObjectRow],
        of_copies: dict[str, list[np.ndarray]],
    ) -> Evidence:
        run, part = self._run, self._part
        units = run.units(part)
        heads = [(layer, head) for layer in run.layers for head in run.heads]
        tables = [run.concepts(layer, head, part) for layer, head in heads]

        def beside(name: str) -> np.ndarray:
            """An array of every concept and copy."""
            arrays = [getattr(one, name) for one in best]
            empty = np.zeros((len(units), 0, 3)[: 3 if name == "unit" else 2])
            if not arrays:
                return empty.astype(np.int64) if name == "unit" else empty
            return np.stack(arrays, axis=1)

        return Evidence(
            self._settings,
            units,
            videos=np.concatenate([num_videos_of(each) for each in tables]),
            degenerate=np.repeat(degenerate_heads(run, part), [each.k for each in tables]),
            per_video={key: one.per_video for key, one in measured.items()},
            chance={key: one.chance for key, one in measured.items()},
            p_value={k: one.p_value for k, one in measured.items() if one.p_value is not None},
            of_copies={key: np.concatenate(each) for key, each in of_copies.items()},
            copy_overlap=beside("score"),
            copy_unit=beside("unit"),
            copy_chance=beside("expected"),
            copy_moved=beside("moved"),
            objects=objects,
        )


def _in_layer(units: np.ndarray, layer: int | None) -> np.ndarray:
    found: np.ndarray = np.ones(len(units), dtype=bool) if layer is None else units[:, 0] == layer
    return found
