# SPDX-License-Identifier: MIT
"""What the experiments share: models, videos, and runs, rankings and curves, made once and kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import vtcd_ops
from reproduce.masks import with_amodal_target
from reproduce.models import ROLES
from vtcd_ops.adapters import load_model, randomize_weights, weights_sha256
from vtcd_ops.common.errors import InputError
from vtcd_ops.importance.curves import Curves
from vtcd_ops.importance.importance import Importance
from vtcd_ops.video.samples import Sample, as_samples

#: A metric with a gradient, for one of the paper's without.
SMOOTH = {"accuracy": "probability", "iou": "soft_iou"}
FEW = 64  #: masks beside a prior of as many gradients
RELIABLE, ENOUGH = 0.9, 8  #: where rankings are what is measured; see `until_reliable`
_MASKS_PER_FORWARD = 16  # as fast as more, and fewer are wasted where they do not fill a forward
_WORTH_A_LINE = 1.0  # seconds


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Args:
        videos: at most, of a discovery; drawn evenly from all classes.
        seeds: of discovery and masks; the weights are the same.
        masks: sampled for a ranking, at most as many as the paper's.
        scored: videos on which concepts are ranked, drawn evenly from all classes; but two of each
            class where each has a ranking of its own.
        points: steps of an attribution curve.
        steps: of integrated gradients.
        reliability: of a ranking's order at which fewer masks are enough; None: all are taken.
    """

    videos: int
    seeds: int
    masks: int
    scored: int
    points: int
    steps: int
    reliability: float | None = None


FULL = Scale(videos=36, seeds=3, masks=128, scored=12, points=16, steps=8)
QUICK = Scale(videos=8, seeds=3, masks=16, scored=3, points=6, steps=2)


@dataclass
class Study:
    """Everything that an experiment needs.

    Args:
        folder: runs, rankings and curves are kept there, and used again.
        scale: how much is computed.
        models: role to what `load_model` takes, for other models than the miniatures.
        data: role to a manifest, for other videos than the bundled ones; "" for all roles.
        first_seed: the seed to begin with, for processes that share the work to begin apart.
        talks: print what was done.
    """

    folder: Path
    scale: Scale
    models: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    first_seed: int = 0
    talks: bool = True
    _adapters: dict[tuple[str, bool], vtcd_ops.Adapter] = field(default_factory=dict)
    _weights: dict[tuple[str, bool], str] = field(default_factory=dict)

    def at(self, **changes: int) -> Study:
        """Return the same study with something more or less computed."""
        return replace(self, scale=replace(self.scale, **changes))

    def until_reliable(self, times: int = ENOUGH) -> Study:
        """Return the same study with masks until an order is reliable, or `times` as many."""
        masks = times * self.scale.masks
        return replace(self, scale=replace(self.scale, masks=masks, reliability=RELIABLE))

    @property
    def seeds(self) -> list[int]:
        """The seeds of discovery and of masks."""
        number = self.scale.seeds
        return [(self.first_seed + seed) % number for seed in range(number)]

    def model_name(self, role: str) -> str:
        """Return what `load_model` takes."""
        return self.models.get(role, ROLES[role].miniature)

    def is_miniature(self, role: str) -> bool:
        """Whether a role is played by its bundled miniature."""
        return role not in self.models

    def adapter(self, role: str, untrained: bool = False) -> vtcd_ops.Adapter:
        """Return the model of a role, or a copy with random weights."""
        if (role, untrained) not in self._adapters:
            adapter = load_model(self.model_name(role))
            # With one seed for all, copies of models alike in shape would have the same weights.
            seed = list(ROLES).index(role)
            self._adapters[role, untrained] = (
                randomize_weights(adapter, seed) if untrained else adapter
            )
        return self._adapters[role, untrained]

    def weights(self, role: str, untrained: bool = False) -> str:
        """Return the hash of a model's weights."""
        if (role, untrained) not in self._weights:
            model = self.adapter(role, untrained).model
            self._weights[role, untrained] = weights_sha256(model)
        return self._weights[role, untrained]

    def roles(self) -> list[str]:
        """Return the roles that a model is there for: a miniature may not be installed."""
        found = []
        for role in ROLES:
            try:
                self.adapter(role)
            except InputError:
                if role in self.models:
                    raise
            else:
                found.append(role)
        return found

    def missing(self) -> list[str]:
        """Return a sentence on the roles without a model, for the notes of a result."""
        absent = [kind.title for role, kind in ROLES.items() if role not in self.roles()]
        return [f"No model is there for: {', '.join(absent)}."] if absent else []

    def samples(self, role: str, classes: Sequence[str] | None = None) -> list[Sample]:
        """Return videos for a role, drawn evenly from its classes; or from some classes only."""
        every = self._listed(role)
        if classes is not None:
            every = [sample for sample in every if sample.label in classes]
        if role == "tcow" or classes is not None:  # models are compared on the same videos
            every = [sample for sample in every if sample.query_mask is not None]
        if not every:
            of = f" of the classes {', '.join(classes)}" if classes else ""
            raise InputError(f"{role}: no video{of} with what the model needs is listed")
        return spread(every, self.scale.videos)

    def _listed(self, role: str) -> list[Sample]:
        """Every video of a role's manifest."""
        source = self.data.get(role) or self.data.get("") or str(bundled_manifest())
        return list(as_samples(source))

    def run(
        self,
        role: str,
        seed: int,
        *,
        untrained: bool = False,
        classes: Sequence[str] | None = None,
        proposals: str = "slic",
        part: str = "keys",
    ) -> vtcd_ops.Run:
        """Discover with the paper's settings, or find the run where that was done before."""
        settings: dict[str, Any] = {"compactness": ROLES[role].compactness, "seed": seed}
        settings |= {"proposals": proposals, "parts": (part,)}
        samples = self.samples(role, classes)
        identity = {
            "model": self.model_name(role),
            "untrained": untrained,
            "weights": self.weights(role, untrained),
            "videos": [str(sample.video) for sample in samples],
        }
        folder = self.folder / "runs" / f"{role}-{_digest(identity | settings)}"
        begin = time.monotonic()
        run = vtcd_ops.discover(
            self.adapter(role, untrained), samples, out=folder, progress=False, **settings
        )
        weights = ", random weights" if untrained else ""
        self._say(f"{_what(run, role)}{weights}: {len(samples)} videos", begin)
        return run

    def importance(
        self,
        run: vtcd_ops.Run,
        role: str,
        seed: int,
        method: str = "cris",
        *,
        smooth: bool = False,
        replace: str = "zero",
    ) -> Importance:
        """Rank the concepts of a run as the paper does for a role.

        With `smooth` a metric that has a gradient stands for the paper's, as it always does for
        the methods that need one: `cris` then has a prior, and few masks. `replace` is what is put
        in place of a concept.
        """
        kind = ROLES[role]
        smooth = smooth or method in ("gradient", "integrated_gradients")
        metric = SMOOTH.get(kind.metric, kind.metric) if smooth else kind.metric
        kept = f"{method}-{metric}" if method == "cris" and metric != kind.metric else method
        few = smooth and method == "cris"
        begin = time.monotonic()
        ranked = vtcd_ops.rank(
            run,
            self.adapter(role),
            self.scored_samples(role, run),
            metric,
            method=method,
            num_masks=FEW if few else self.num_masks(role),
            stop_at=None if few else self.scale.reliability,
            ratio=kind.ratio,
            num_steps=self.scale.steps,
            classes="all" if kind.by_class else None,
            seed=seed,
            replace=replace,
            name=f"{kept}-{self._scale_name(replace)}",
            masks_per_forward=_MASKS_PER_FORWARD,
            progress=False,
        )
        kept += "" if replace == "zero" else f", {replace} put in place,"
        self._say(f"{_what(run, role)}: {kept} of {len(ranked.value)} concepts", begin)
        return ranked

    def curves(
        self,
        run: vtcd_ops.Run,
        role: str,
        rankings: Sequence[Importance],
        seed: int,
        *,
        name: str,
        num_random: int = 0,
        replace: str = "zero",
    ) -> Curves:
        """Follow the orders of some rankings of a run, on videos that none was made from."""
        begin = time.monotonic()
        found = vtcd_ops.curves(
            run,
            self.adapter(role),
            self.held_out_samples(role, run),
            ROLES[role].metric,
            assign=True,
            rankings=[ranking.name for ranking in rankings],
            num_points=self.scale.points,
            num_random=num_random,
            seed=seed,
            replace=replace,
            name=f"{name}-{self._scale_name(replace)}",
            masks_per_forward=_MASKS_PER_FORWARD,
            progress=False,
        )
        self._say(f"{_what(run, role)}: {len(found.scores)} curves", begin)
        return found

    def num_masks(self, role: str) -> int:
        """Return how many masks a ranking has: never more than in the paper."""
        return min(self.scale.masks, ROLES[role].num_masks)

    def scored_samples(self, role: str, run: vtcd_ops.Run) -> list[Sample]:
        """Return the videos of a run that its concepts are ranked on, with what a score needs."""
        by_name = {sample.name: sample for sample in self._listed(role)}
        known = [by_name[video.name] for video in run.videos]
        return _for_scores(role, spread(known, self._num_scored(role, known)))

    def held_out_samples(self, role: str, run: vtcd_ops.Run) -> list[Sample]:
        """Return as many other videos, for the curves: no ranking was made from them.

        Nor do the concepts come from them, where more videos are listed than a discovery takes.
        """
        ranked = {sample.name for sample in self.scored_samples(role, run)}
        concepts = {video.name for video in run.videos}
        known = [sample for sample in self._listed(role) if sample.name in concepts]
        labels = {sample.label for sample in known}
        others = [
            sample
            for sample in self._listed(role)
            if sample.name not in ranked
            and sample.label in labels
            and (role != "tcow" or sample.query_mask is not None)
        ]
        fresh = [sample for sample in others if sample.name not in concepts]
        chosen = fresh if len(fresh) >= len(ranked) else others
        if not chosen:
            raise InputError(
                f"{role}: videos expected more than the {len(ranked)} that concepts are ranked "
                "on, since curves are measured on others; list more, or ask for less (--scored)"
            )
        return _for_scores(role, spread(chosen, self._num_scored(role, known)))

    def _num_scored(self, role: str, known: Sequence[Sample]) -> int:
        """How many videos a ranking or a curve has: two of each class that is ranked by itself."""
        classes = {sample.label for sample in known} if ROLES[role].by_class else ()
        return max(self.scale.scored, 2 * len(classes))

    def _scale_name(self, replace: str) -> str:
        """What tells rankings and curves of a run at one scale from those at another."""
        scale = self.scale
        masks = f"{scale.masks}"
        masks += f"-{scale.reliability:g}" if scale.reliability is not None else ""
        name = f"{masks}-{scale.scored}-{scale.points}-{scale.steps}"
        return name if replace == "zero" else f"{name}-{replace}"

    def _say(self, what: str, begin: float) -> None:
        seconds = time.monotonic() - begin
        if self.talks and seconds >= _WORTH_A_LINE:
            print(f"  {what}, {seconds:.0f} s", flush=True)

    def fingerprint(self, roles: Sequence[str]) -> dict[str, Any]:
        """Return what results on some roles depend on, to tell whether they are up to date."""
        return {
            "weights": {role: self.weights(role) for role in roles},
            "videos": {role: [sample.name for sample in self.samples(role)] for role in roles},
            **asdict(self.scale),
        }

    def setting(self, role: str) -> dict[str, Any]:
        """Return what a result on a role depends on, for its file."""
        return {
            "model": self.model_name(role),
            "miniature": self.is_miniature(role),
            "videos": len(self.samples(role)),
            **asdict(self.scale),
            **asdict(ROLES[role]),
        }


def _for_scores(role: str, samples: list[Sample]) -> list[Sample]:
    """The samples with what a score of a role needs."""
    return [with_amodal_target(sample) for sample in samples] if role == "tcow" else samples


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Draw as many samples of each class as of any other, or one less; in the order given.

    >>> some = [Sample(f"{number}.mp4", label=number % 2) for number in range(10)]
    >>> sorted(sample.label for sample in spread(some, 4))
    [0, 0, 1, 1]
    """
    place: dict[Any, int] = {}
    turns = []
    for index in np.random.default_rng(0).permutation(len(samples)):
        label = samples[index].label
        place[label] = place.get(label, -1) + 1
        turns.append((place[label], int(index)))
    return [samples[index] for index in sorted(index for _, index in sorted(turns)[:count])]


def bundled_manifest() -> Path:
    """Return the list of the evaluation clips that come with the miniatures."""
    return Path(str(files("vtcd_hf_videomae") / "clips/evaluation/manifest.csv"))


def _what(run: vtcd_ops.Run, role: str) -> str:
    """A run in a few words."""
    settings = run.settings
    words = [ROLES[role].title, f"seed {settings['seed']}"]
    words += ["random crops"] if settings["proposals"] != "slic" else []
    words += [part for part in run.parts if part != "keys"]
    return ", ".join(words)


def _digest(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
