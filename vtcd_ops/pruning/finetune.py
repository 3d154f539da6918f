"""Training a pruned model: with any step, from labels, or towards the answers of the whole one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vtcd_ops.adapters.adapter import Adapter, model_device
from vtcd_ops.adapters.lock import evaluating
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.adapters.weights import placed, weights_sha256
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect, is_real
from vtcd_ops.pruning.batches import ClipBatch, ClipBatches
from vtcd_ops.pruning.training import Schedule, train
from vtcd_ops.video.samples import Sample

__all__ = ["BatchLoss", "ClipBatch", "ClipBatches", "Step", "as_batches", "finetune"]

#: The loss of a batch, one number.
Step = Callable[[Adapter, Any], Tensor]

CHECKPOINT_FILE = "finetune.pt"


def finetune(
    model: Adapter,
    data: Any,
    *,
    step: Step | None = None,
    teacher: Adapter | None = None,
    distillation: float = 0.5,
    temperature: float = 2.0,
    epochs: int = 2,
    batch_size: int = 8,
    learning_rate: float = 1e-4,
    weight_decay: float = 0.01,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 200,
    device: str = "auto",
    progress: bool = True,
) -> Adapter:
    """Train a model on, so that it recovers what pruning cost it; in place.

    Without a step of your own the loss is the cross-entropy of the labels, where the videos have
    any, and, with a teacher, how far the answers are from the teacher's: for a classifier the
    Kullback-Leibler divergence at a temperature (Hinton et al. 2015), for an encoder the squared
    difference by the variance of the teacher's features. AdamW; its rate falls to zero.

    >>> import numpy as np
    >>> import vtcd_ops
    >>> whole = vtcd_ops.load_model("hf_videomae:mini")
    >>> smaller = vtcd_ops.prune(whole, heads=[(0, 1), (3, 2)])
    >>> videos = np.random.default_rng(0).integers(0, 255, (2, 16, 64, 64, 3)).astype(np.uint8)
    >>> samples = [vtcd_ops.Sample(video, label="roll") for video in videos]
    >>> trained = vtcd_ops.finetune(smaller, samples, teacher=whole, epochs=1, progress=False)
    >>> trained is smaller, trained.model.training
    (True, False)

    Args:
        model: the model.
        data: videos, as :func:`vtcd_ops.discover` takes them, with labels for a classifier; or
            anything with a length that gives batches, a `DataLoader` say, for a step of your own.
        step: a function of (adapter, batch) that returns the loss of a batch, one number; batches
            of videos are `ClipBatch`.
        teacher: a model whose answers are aimed at, usually the one before pruning. Beside a step
            of your own it takes batches with ``clips`` and ``inputs``, as `ClipBatch` has them.
        distillation: weight of the distance from the teacher, 0 to 1; the rest is that of the
            labels or of your step. Without labels it is 1.
        temperature: by which logits are divided before they are compared.
        epochs: passes over the data.
        batch_size: clips of a batch, where data is videos.
        learning_rate, weight_decay: of AdamW.
        seed: of the order of the data and of dropout.
        out: a folder for checkpoints; the same call goes on from them. None: none.
        checkpoint_every: steps between checkpoints, beside those at the ends of epochs.
        device: as of :func:`vtcd_ops.discover`.
        progress: show a bar with the loss.

    Returns:
        The adapter that was given, its model trained and in evaluation mode.

    Raises:
        InputError: a setting out of range, a label that is no class, videos without labels and no
            teacher, a loss that is no finite number, or a checkpoint of another training.
    """
    schedule = Schedule(epochs, learning_rate, weight_decay, seed, checkpoint_every)
    schedule.check("finetune")
    share = is_real(distillation, -1) and 0 <= distillation <= 1
    expect(share, "finetune", "distillation", "a number from 0 to 1", distillation)
    expect(is_real(temperature, 0), "finetune", "temperature", "a number above 0", temperature)
    adapter = load_on("finetune", model, device)
    where = model_device(adapter.model)
    batches = as_batches(adapter, data, batch_size)
    loss = BatchLoss(adapter, step, teacher, distillation, temperature)
    identity = {
        "weights": weights_sha256(adapter.model),
        "teacher": None if teacher is None else weights_sha256(teacher.model),
        "loss": [step is None, distillation, temperature, batch_size],
    }
    with _training(adapter.model):
        train(
            "finetune", adapter.model, loss, batches, schedule,
            checkpoint=None if out is None else Path(out) / CHECKPOINT_FILE,
            identity=identity, device=where, progress=progress,
        )  # fmt: skip
    adapter.model.eval()
    return adapter


def as_batches(adapter: Adapter, data: Any, batch_size: int) -> Iterable[Any]:
    """Return batches of videos, or what gives batches as it is."""
    few = isinstance(data, (list, tuple)) and len(data) > 0 and isinstance(data[0], Sample)
    if isinstance(data, (str, os.PathLike, Sample)) or few:
        return ClipBatches(adapter, data, batch_size)
    if not hasattr(data, "__iter__"):
        raise InputError(
            f"finetune: data expected videos, or batches with a length, got {type(data).__name__}"
        )
    batches: Iterable[Any] = data
    return batches


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Training mode while open."""
    model.train()
    try:
        yield
    finally:
        model.eval()


class BatchLoss:
    """The loss of a batch: of the step or the labels, and of the distance from the teacher."""

    def __init__(
        self,
        adapter: Adapter,
        step: Step | None,
        teacher: Adapter | None,
        distillation: float,
        temperature: float,
    ) -> None:
        self._adapter, self._step, self._teacher = adapter, step, teacher
        self._share = distillation if teacher is not None else 0.0
        self._temperature = temperature
        if teacher is not None:
            placed(teacher.model, model_device(adapter.model))

    def __call__(self, batch: Any) -> Tensor:
        """Return the loss."""
        own = None if self._step is None else self._step(self._adapter, batch)
        if own is not None and self._share == 0:
            return own
        if not hasattr(batch, "clips") or not hasattr(batch, "inputs"):
            raise InputError(
                "finetune: batches expected to have clips and inputs, as ClipBatch has them, for a "
                f"teacher or without a step of your own, got {type(batch).__name__}"
            )
        device = model_device(self._adapter.model)
        clips = batch.clips.to(device)
        inputs = {name: value.to(device) for name, value in batch.inputs.items()}
        answer = self._adapter.predict(clips, **inputs)
        if own is None and batch.labels is not None and "logits" in answer:
            own = functional.cross_entropy(answer["logits"].float(), batch.labels.to(device))
        if self._teacher is None:
            if own is None:
                raise InputError(
                    "finetune: expected labels and a model that gives logits, or a teacher, or a "
                    "step of your own, got none of them"
                )
            return own
        with torch.no_grad(), evaluating(self._teacher.model):
            aim = self._teacher.predict(clips, **inputs)
        far = _distance(answer, aim, self._temperature)
        return far if own is None else (1 - self._share) * own + self._share * far


def _distance(answer: dict[str, Tensor], aim: dict[str, Tensor], temperature: float) -> Tensor:
    """How far an answer is from another."""
    if "logits" in answer:
        mine, its = (
            functional.log_softmax(one["logits"].float() / temperature, dim=-1)
            for one in (answer, aim)
        )
        kept = functional.kl_div(mine, its, reduction="batchmean", log_target=True)
        return kept * temperature**2
    name = next(iter(answer))
    mine, its = answer[name].float(), aim[name].float()
    return (mine - its).square().mean() / its.var().clamp_min(1e-12)
