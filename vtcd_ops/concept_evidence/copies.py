"""Weight-randomised copies of a run's model, and the same discovery among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtcd_ops.adapters import randomize_weights
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.discovery.identity import expect_model
from vtcd_ops.discovery.own_samples import own_samples
from vtcd_ops.discovery.pipeline import Pipeline
from vtcd_ops.discovery.run import Run
from vtcd_ops.discovery.run_files import copy_folder
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.storage.folder import ResultFolder


def make_copies(
    run: Run,
    count: int,
    model: Adapter | str | Path | None,
    samples: Any,
    *,
    device: str,
    max_memory: int | str,
    progress: bool,
) -> list[Run]:
    """Return as many runs of weight-randomised copies as asked for; what is missing is discovered.

    The copy in `RUN/sanity` has the run's seed, the others have the seeds after it.
    """
    found = run.copies()[:count]
    if len(found) == count:
        return found
    if run.kind != "discovery":
        raise InputError(
            f"evidence: the concepts of {run.path} were made elsewhere, so copies of its model "
            "cannot be searched in the same way: give controls, or copies=0"
        )
    adapter = load_on("evidence", run.model["name"] if model is None else model, device)
    expect_model("evidence", adapter, run.model, run.path)
    samples = list(own_samples("evidence", run)) if samples is None else samples
    settings = Settings.from_json(run.settings)
    begun = 0 if run.sanity is None else 1
    for number in range(len(found) - begun + 1, count - begun + 1):
        folder = ResultFolder(run.path).own(copy_folder(number))
        control = randomize_weights(adapter, settings.seed + number)
        Pipeline(
            control, settings, folder, parse_bytes(max_memory), True, progress, control_of=adapter
        ).run(samples)
        found.append(run.control_in(folder))
    return found
