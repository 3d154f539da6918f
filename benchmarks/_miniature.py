"""A miniature as benchmarks of importance take it: concepts of the evaluation clips."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import vtcd_ops
from reproduce.masks import with_amodal_target
from reproduce.models import ROLES
from reproduce.study import spread
from vtcd_ops.adapters import load_model
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.video.samples import Sample, as_samples

METRICS = {
    "videomae": "probability", "videomae_ssl": "reconstruction", "internvideo": "dot_product",
    "tcow": "soft_iou",
}  # fmt: skip
DISCOVERED = 12  # clips


class Miniature:
    """A model, the run of its concepts, and its clips as its metric wants them.

    Args:
        role: of `reproduce.models.ROLES`.
        work: folder that keeps the run.
    """

    def __init__(self, role: str, work: Path) -> None:
        kind = ROLES[role]
        self.role, self.metric = role, METRICS[role]
        self.adapter: Adapter = load_model(kind.miniature)
        manifest = Path(str(files("vtcd_hf_videomae") / "clips/evaluation/manifest.csv"))
        every = [one for one in as_samples(str(manifest)) if one.query_mask is not None]
        samples = spread(every, DISCOVERED)
        self.run = vtcd_ops.discover(
            self.adapter, samples, out=work / role, compactness=kind.compactness, progress=False
        )
        self.samples: list[Sample] = (
            [with_amodal_target(one) for one in samples] if role == "tcow" else samples
        )
