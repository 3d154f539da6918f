"""Discover the concepts of a video transformer, and store them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vtcd_ops.adapters import randomize_weights
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.common.settings import expect_one_of
from vtcd_ops.discovery.keeping import KEEPS
from vtcd_ops.discovery.pipeline import Pipeline
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.discovery.run_files import SANITY_FOLDER
from vtcd_ops.discovery.sample_checks import ClipChoice, check_samples
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.storage.folder import SETTINGS_FILE


def discover(
    model: Adapter | str | Path,
    samples: Any,
    *,
    out: str | Path,
    parts: Sequence[str] = ("keys",),
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    num_frames: int | str | None = None,
    sampling_rate: int | None = None,
    proposals: str = "slic",
    n_segments: int = 12,
    compactness: float | str = 0.1,
    voxels_per_token: int = 8,
    min_tubelet: float = 0.001,
    criterion: str = "elbow",
    threshold: float = 0.9,
    assign: str = "encoding",
    batch_size: int = 1,
    seed: int = 0,
    sanity: bool = False,
    keep: str = "everything",
    device: str = "auto",
    max_memory: int | str = "1GB",
    resume: bool = True,
    overwrite: bool = False,
    reuse: str | Path | None = None,
    progress: bool = True,
    skip_bad: bool = False,
) -> Run:
    """Discover the concepts of every attention head, and store them in a run directory.

    Each video is divided into tubelets by the features of each head (equation 1 of the paper); the
    tubelets of all videos are factorised into concepts head by head (equations 2 and 3). The result
    depends on the model, the videos and the settings alone: not on ``max_memory``, on interruptions
    (the same call goes on where a killed one stopped), or on how many processes share the work
    (start the same command several times, by torchrun or otherwise).

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = vtcd_ops.discover(example_adapter(), videos, out=folder, progress=False)
    ...     run.support(video=0, layer=2, head=1).shape
    (4, 32, 32)

    Args:
        model: an adapter, or what :func:`vtcd_ops.load_model` takes.
        samples: videos; see :func:`vtcd_ops.video.samples.as_samples`.
        out: the run directory; a run that was begun there with the same settings goes on.
        parts, layers, heads, num_frames, sampling_rate, proposals, n_segments: see
            :class:`vtcd_ops.discovery.settings.Settings`, as for the next lines.
        compactness, voxels_per_token, min_tubelet: how videos are divided.
        criterion, threshold, assign: how tubelets become concepts.
        batch_size, seed: of what is done, as there.
        sanity: do the same with a copy of the model whose weights are random, in ``out/sanity``:
            concepts that look as good there are no discovery.
        keep: what is left of the videos on disk. "everything"; "tokens": in place of label volumes
            the labels of tokens, and no frames, which is enough to rank and for curves; "concepts":
            nothing once the concepts are found, which is enough to assign them and, with
            assign=True, to rank. What needs more is refused later; see docs/runs.md for the sizes.
        device: where the model and the operators run: "cpu", "cuda" (under torchrun each process
            has its own), "cuda:1", ...; an adapter's model is moved there. "auto": "cuda" where
            torch sees one and the model's package can; an adapter stays where it is. A run that was
            made on one device can go on, and be ranked, on another: only the rounding differs.
        max_memory: most bytes of main memory for one video at a time: its features, its label
            volumes, its small frames and what the threads take that divide and pack it; layers or
            heads that do not fit together take turns, with a forward of the model each. It does not
            bound what there is beside: the model, one forward of it, its frames and what is decoded
            of the next video, and the libraries themselves; see docs/runs.md. Of another device
            half of what it has free is planned with.
        resume: False: refuse a directory that holds a run.
        overwrite: begin anew: a run in the directory is removed, with its rankings, curves,
            control, evidence and report. It is refused while another process works on that run.
        reuse: another run of the same model and settings, but for criterion, threshold and assign:
            videos that it has under the same numbers are not looked at again, their tubelets are
            taken over (as hard links where the file system has them; where less is to be kept of
            them, as smaller copies).
        progress: show progress bars.
        skip_bad: leave out samples that cannot be used, with a warning for each, instead of ending
            with an error. What the model sees of every video is decoded once more for that, before
            the first is worked on.

    Returns:
        The finished run.

    Raises:
        InputError: a video, a setting or the directory cannot be used; what was finished is kept.
    """
    arguments = dict(locals())  # before anything else is defined
    settings = Settings(**{field.name: arguments[field.name] for field in fields(Settings)})
    adapter = load_on("discover", model, device)
    expect_one_of("discover", "keep", keep, KEEPS)
    if sanity and isinstance(samples, Iterator):
        raise InputError("discover: with sanity the samples are read twice, got an iterator")
    out, memory = Path(out), parse_bytes(max_memory)
    progress = progress and os.environ.get("RANK", "0") == "0"
    samples = check_samples(samples, ClipChoice(adapter, settings, memory), skip_bad=skip_bad)
    if overwrite and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "discover: overwrite expected one process, got several, which would remove each "
            f"other's work: remove {out} first"
        )
    other = None if reuse is None else Path(reuse)
    Pipeline(
        adapter, settings, out, memory, resume, progress, overwrite=overwrite, reuse=other,
        keep=keep,
    ).run(samples)  # fmt: skip
    if sanity:
        control, folder = randomize_weights(adapter, seed), out / SANITY_FOLDER
        if other is not None and not (other / SANITY_FOLDER / SETTINGS_FILE).is_file():
            other = None
        Pipeline(
            control, settings, folder, memory, resume, progress, control_of=adapter,
            reuse=other and other / SANITY_FOLDER, keep=keep,
        ).run(samples)  # fmt: skip
    return load(out)
