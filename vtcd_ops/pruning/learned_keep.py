"""How much of each head and group of neurons a model wants to keep, learned with a penalty."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import Adapter, model_device
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.edit import edit, edit_neurons
from vtcd_ops.adapters.lock import evaluating
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.adapters.weights import weights_sha256
from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.common.settings import expect, expect_one_of, expect_whole, is_real
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.ops import concept_mask
from vtcd_ops.pruning.finetune import BatchLoss, Step, as_batches
from vtcd_ops.pruning.training import Schedule, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LearnedKeep", "learn_keep"]

KINDS = ("heads", "neurons", "heads+neurons")
CHECKPOINT_FILE = "keep.pt"

# The hard concrete distribution of Louizos, Welling, Kingma (2018), with their constants.
_TEMPERATURE, _LOW, _HIGH = 2 / 3, -0.1, 1.1
_START = 2.0  # of the logits: nearly all is kept at first


@dataclass(frozen=True, repr=False, eq=False)
class LearnedKeep(Tabular):
    """An importance that `prune` takes: how much of each unit is kept.

    Iterated over, it is a row for each unit, the most important first.

    Attributes:
        units: layer, head, -1 of heads; layer, -1, group of neurons; int64 [U, 3].
        value: logit of the keep of each, float64 [U]; larger is more important.
        settings: of the model and the groups.
    """

    units: np.ndarray
    value: np.ndarray
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return f"LearnedKeep({counted(len(self.value), 'unit')})"

    def _rows(self) -> list[Row]:
        return [
            {
                **dict(zip(("layer", "head", "group"), self.units[unit].tolist())),
                "value": float(self.value[unit]),
            }
            for unit in self.order.tolist()
        ]

    def _draw(self, ax: Axes) -> None:
        ax.plot(range(1, len(self.value) + 1), self.value[self.order])
        ax.set(xlabel="units, the most important first", ylabel="logit of the keep")

    @property
    def order(self) -> np.ndarray:
        """Rows of `units`, from the most to the least important, int64 [U]."""
        return np.argsort(-self.value, kind="stable")


def learn_keep(
    model: Adapter,
    data: Any,
    *,
    units: str = "heads",
    neurons_per_group: int | None = None,
    penalty: float = 1.0,
    step: Step | None = None,
    epochs: int = 4,
    batch_size: int = 8,
    learning_rate: float = 0.1,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 200,
    device: str = "auto",
    progress: bool = True,
) -> LearnedKeep:
    """Rank heads or neurons by a keep between 0 and 1 that is learned, the weights left alone.

    Another ranking than that of :func:`vtcd_ops.rank`, which needs gradients and no run. Each unit
    is multiplied by a keep, drawn anew for every clip from a hard concrete distribution whose
    logit is learned (Louizos et al. 2018); what it costs is the loss and `penalty` times the mean
    probability that a keep is not zero (an L0 penalty).

    >>> import numpy as np
    >>> import vtcd_ops
    >>> adapter = vtcd_ops.load_model("hf_videomae:mini")
    >>> videos = np.random.default_rng(0).integers(0, 255, (2, 16, 64, 64, 3)).astype(np.uint8)
    >>> samples = [vtcd_ops.Sample(video, label="roll") for video in videos]
    >>> keep = vtcd_ops.learn_keep(adapter, samples, epochs=1, progress=False)
    >>> len(keep.value), vtcd_ops.prune(adapter, keep, 0.25).name
    (24, 'hf_videomae:mini (6 of 24 heads removed)')

    Args:
        model: the model; its weights stay what they are.
        data, step, batch_size, out, checkpoint_every, device, progress: as of
            :func:`vtcd_ops.finetune`. The loss is that of labels, or of your step.
        units: "heads", "neurons" or "heads+neurons".
        neurons_per_group: neurons of a unit; None: so many that a layer has as many groups as
            heads.
        penalty: weight of the share that is kept.
        epochs: passes over the data.
        learning_rate: of the logits.
        seed: of the order of the data and of the keeps that are drawn.

    Raises:
        InputError: a setting out of range, or what :func:`vtcd_ops.finetune` raises.
    """
    expect_one_of("learn_keep", "units", units, KINDS)
    expect(is_real(penalty, 0), "learn_keep", "penalty", "a number above 0", penalty)
    schedule = Schedule(epochs, learning_rate, 0.0, seed, checkpoint_every)
    schedule.check("learn_keep")
    adapter = load_on("learn_keep", model, device)
    if not isinstance(adapter, AttentionAdapter):
        raise InputError(
            "learn_keep: model expected an adapter derived from "
            f"vtcd_ops.adapters.AttentionAdapter, got {type(adapter).__name__}"
        )
    table, size = _units(adapter, units, neurons_per_group)
    where = model_device(adapter.model)
    gates = _Gates(adapter, table, size).to(where)
    loss = BatchLoss(adapter, step, None, 0.0, 1.0)
    batches = as_batches(adapter, data, batch_size)
    frozen = [one for one in adapter.model.parameters() if one.requires_grad]
    weights = weights_sha256(adapter.model)
    settings = {"model": adapter.name, "weights": weights, "units": units, "penalty": penalty}
    settings |= {"neurons_per_group": size} if size else {}

    def penalised(batch: Any) -> Tensor:
        gates.draw(len(batch.clips) if hasattr(batch, "clips") else 1)
        return loss(batch) + penalty * gates.share()

    try:
        for one in frozen:
            one.requires_grad_(False)
        with evaluating(adapter.model), gates.open():
            train(
                "learn_keep", gates, penalised, batches, schedule,
                checkpoint=None if out is None else Path(out) / CHECKPOINT_FILE,
                identity={**settings, "batch_size": batch_size, "own": step is not None},
                device=where, progress=progress,
            )  # fmt: skip
    finally:
        for one in frozen:
            one.requires_grad_(True)
    value = gates.logits.detach().double().cpu().numpy()
    return LearnedKeep(table, value, settings)


def _units(adapter: AttentionAdapter, kind: str, asked: int | None) -> tuple[np.ndarray, int]:
    """The table of units [U, 3], and the neurons of a group."""
    rows, size, layers = [], 0, range(adapter.num_layers)
    if "heads" in kind:
        rows += [(layer, head, -1) for layer in layers for head in adapter.kept_heads(layer)]
    if "neurons" in kind:
        most = max(adapter.num_neurons(layer) for layer in layers)
        if most == 0:
            raise InputError(
                f"learn_keep: nothing says where the neurons of {adapter.name} are "
                "(docs/pruning.md)"
            )
        size = max(1, most // adapter.num_heads) if asked is None else asked
        expect_whole("learn_keep", "neurons_per_group", size, 1)
        for layer in layers:
            groups = sorted({number // size for number in adapter.kept_neurons(layer)})
            rows += [(layer, -1, group) for group in groups]
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 3), size


class _Gates(nn.Module):
    """A keep of every unit, by which a model is multiplied while they are open."""

    def __init__(self, adapter: AttentionAdapter, table: np.ndarray, size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full((len(table),), _START))
        self._adapter = [adapter]  # in a list, or its model's parameters would be this one's too
        self._heads: dict[int, Tensor] = {}
        self._neurons: dict[int, Tensor] = {}
        self._keep = torch.ones(1, len(table))
        row_of = {tuple(unit): row for row, unit in enumerate(table.tolist())}
        for layer in sorted({int(layer) for layer, head, _ in table if head >= 0}):
            rows = [row_of.get((layer, head, -1), -1) for head in range(adapter.num_heads)]
            self._heads[layer] = torch.tensor(rows, dtype=torch.int32)
        for layer in sorted({int(layer) for layer, head, _ in table if head < 0}):
            kept = adapter.kept_neurons(layer)
            self._neurons[layer] = torch.tensor([row_of[layer, -1, n // size] for n in kept])

    def draw(self, batch: int) -> None:
        """Draw the keeps of a batch, [B, U]."""
        size = (batch, len(self.logits))
        uniform = torch.rand(size).clamp(1e-6, 1 - 1e-6).to(self.logits.device)
        logistic = uniform.log() - (-uniform).log1p()
        stretched = torch.sigmoid((logistic + self.logits) / _TEMPERATURE)
        self._keep = (stretched * (_HIGH - _LOW) + _LOW).clamp(0, 1)

    def share(self) -> Tensor:
        """Return the mean probability that a keep is not zero."""
        return torch.sigmoid(self.logits - _TEMPERATURE * math.log(-_LOW / _HIGH)).mean()

    def open(self) -> ExitStack:
        """Multiply the model's heads and neurons by their keeps, as a context manager."""
        [adapter], opened = self._adapter, ExitStack()
        if self._heads:
            layers = list(self._heads)
            opened.enter_context(edit(adapter, self._mask, layers=layers, parts=("outputs",)))
        if self._neurons:
            opened.enter_context(edit_neurons(adapter, self._scale, self._neurons))
        return opened

    def _mask(self, part: str, layer: int, features: Tensor) -> Tensor:
        """Multiply heads [B', A, P+N, C], prefix tokens as well, which pruning removes too."""
        of_head = self._heads[layer].to(features.device)
        assign = of_head.view(1, -1, 1).expand(1, -1, features.shape[2]).contiguous()
        return concept_mask(features, assign, self._rows(features), 0)

    def _scale(self, layer: int, neurons: Tensor) -> Tensor:
        """Multiply neurons [B', N, H]."""
        keep = self._rows(neurons)[:, self._neurons[layer].to(neurons.device)]
        return neurons * keep.unsqueeze(1)

    def _rows(self, features: Tensor) -> Tensor:
        """The keeps of each row of a batch, in which the frames of a clip may stand."""
        rows = features.shape[0] // len(self._keep)
        return self._keep.to(features.dtype).repeat_interleave(rows, dim=0)
