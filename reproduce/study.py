# SPDX-License-Identifier: MIT
"""What the experiments share: models, videos, and runs that are made once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import vtcd_ops
from reproduce.masks import with_amodal_target
from reproduce.models import ROLES
from vtcd_ops.adapters import load_model, randomize_weights, weights_sha256
from vtcd_ops.curves import Curves
from vtcd_ops.errors import InputError
from vtcd_ops.importance import Importance
from vtcd_ops.samples import Sample, as_samples


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Args:
        videos: at most, drawn from all.
        seeds: of discovery and masks; the weights are the same.
        masks: sampled for a ranking, at most as many as the paper's.
    """

    videos: int
    seeds: int
    masks: int


FULL = Scale(videos=30, seeds=3, masks=2_000)
QUICK = Scale(videos=12, seeds=3, masks=100)


@dataclass
class Study:
    """Everything that an experiment needs.

    Args:
        folder: runs, rankings and curves are kept there, and used again.
        scale: how much is computed.
        models: role to what `load_model` takes, for other models than the miniatures.
        data: role to a manifest, for other videos than the bundled ones; "" for all roles.
        progress: show progress bars.
    """

    folder: Path
    scale: Scale
    models: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    progress: bool = True
    _adapters: dict[tuple[str, bool], vtcd_ops.Adapter] = field(default_factory=dict)

    @property
    def seeds(self) -> range:
        """The seeds of discovery and of masks."""
        return range(self.scale.seeds)

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
            self._adapters[role, untrained] = (
                randomize_weights(adapter, 0) if untrained else adapter
            )
        return self._adapters[role, untrained]

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
        """Return videos for a role, drawn from its manifest; or from some classes of it only."""
        every = self._listed(role)
        if classes is not None:
            every = [sample for sample in every if sample.label in classes]
        if role == "tcow" or classes is not None:  # models are compared on the same videos
            every = [sample for sample in every if sample.query_mask is not None]
        if len(every) <= self.scale.videos:
            return every
        drawn = np.random.default_rng(0).choice(len(every), self.scale.videos, replace=False)
        return [every[index] for index in sorted(drawn)]

    def _listed(self, role: str) -> list[Sample]:
        """Every video of a role's manifest that suits the role."""
        source = self.data.get(role) or self.data.get("") or str(bundled_manifest())
        return list(as_samples(source))

    def run(
        self,
        role: str,
        seed: int,
        *,
        untrained: bool = False,
        classes: Sequence[str] | None = None,
        **settings: Any,
    ) -> vtcd_ops.Run:
        """Discover with the paper's settings, or find the run where that was done before."""
        settings = {"compactness": ROLES[role].compactness, "seed": seed, **settings}
        identity = {"role": role, "model": self.model_name(role), "untrained": untrained}
        identity |= {"classes": classes, "scale": asdict(self.scale), "data": self.data}
        folder = self.folder / "runs" / f"{role}-{_digest(identity | settings)}"
        return vtcd_ops.discover(
            self.adapter(role, untrained),
            self.samples(role, classes),
            out=folder,
            progress=self.progress,
            **settings,
        )

    def importance(
        self, run: vtcd_ops.Run, role: str, seed: int, method: str = "cris"
    ) -> Importance:
        """Rank the concepts of a run as the paper does for a role."""
        kind = ROLES[role]
        smooth = {"accuracy": "probability", "iou": "soft_iou"}
        needs_gradient = method in ("gradient", "integrated_gradients")
        metric = smooth.get(kind.metric, kind.metric) if needs_gradient else kind.metric
        return vtcd_ops.rank(
            run,
            self.adapter(role),
            self.scored_samples(role, run),
            metric,
            method=method,
            num_masks=min(self.scale.masks, kind.num_masks),
            ratio=kind.ratio,
            classes="all" if kind.by_class else None,
            seed=seed,
            progress=self.progress,
        )

    def curves(self, run: vtcd_ops.Run, role: str, rankings: Sequence[str], seed: int) -> Curves:
        """Follow the orders of some rankings of a run."""
        return vtcd_ops.curves(
            run,
            self.adapter(role),
            self.scored_samples(role, run),
            ROLES[role].metric,
            rankings=rankings,
            seed=seed,
            progress=self.progress,
        )

    def scored_samples(self, role: str, run: vtcd_ops.Run) -> list[Sample]:
        """Return the videos of a run with what their score needs."""
        by_name = {sample.name: sample for sample in self._listed(role)}
        known = [by_name[video.name] for video in run.videos]
        return [with_amodal_target(sample) for sample in known] if role == "tcow" else known

    def fingerprint(self, roles: Sequence[str]) -> dict[str, Any]:
        """Return what results on some roles depend on, to tell whether they are up to date."""
        return {
            "weights": {role: weights_sha256(self.adapter(role).model) for role in roles},
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


def bundled_manifest() -> Path:
    """Return the list of the evaluation clips that come with the miniatures."""
    return Path(str(files("vtcd_hf_videomae") / "clips/evaluation/manifest.csv"))


def _digest(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
