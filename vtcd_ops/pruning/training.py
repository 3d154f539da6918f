"""The loop of a training: steps, a bar, checkpoints that the same call goes on from."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect, expect_count, expect_whole, is_real
from vtcd_ops.storage.documents import digest_json
from vtcd_ops.storage.files import naming, write_atomic

__all__ = ["Schedule", "train"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a training goes; the rate falls to zero in a straight line.

    Args:
        epochs: passes over the data.
        learning_rate: of AdamW, at the beginning.
        weight_decay: of AdamW.
        seed: of the order of the data and of what is drawn inside the model.
        checkpoint_every: steps between checkpoints, beside those at the ends of epochs.
    """

    epochs: int = 2
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    seed: int = 0
    checkpoint_every: int = 200

    def check(self, caller: str) -> None:
        """Raise at the first setting that is out of range."""
        expect_count(caller, "epochs", self.epochs)
        expect_count(caller, "checkpoint_every", self.checkpoint_every)
        expect_whole(caller, "seed", self.seed, 0, most=2**31 - 1)
        rate, decay = self.learning_rate, self.weight_decay
        expect(is_real(rate, 0), caller, "learning_rate", "a number above 0", rate)
        expect(is_real(decay, -1) and decay >= 0, caller, "weight_decay", "a number from 0", decay)


def train(
    caller: str,
    module: nn.Module,
    loss: Callable[[Any], Tensor],
    data: Iterable[Any],
    schedule: Schedule,
    *,
    checkpoint: Path | None,
    identity: dict[str, Any],
    device: torch.device,
    progress: bool,
) -> None:
    """Train the parameters of a module that take a gradient, in place.

    With a checkpoint the same call goes on where a killed one stopped, on a CPU bit for bit as if
    it had never stopped, if the data comes in an order drawn from torch's global generator.

    Args:
        caller: of whom an error or a bar speaks.
        module: what is trained.
        loss: of a batch; one number.
        data: batches, gone through once an epoch; with a length.
        schedule: how long and how fast.
        checkpoint: the file; None: none.
        identity: what tells this training from others.
        device: where the module is.
        progress: show a bar.

    Raises:
        InputError: nothing to train, a loss that is not finite, or a checkpoint of something else.
    """
    size = getattr(data, "__len__", lambda: 0)()
    expect(size > 0, caller, "data", "batches with a length above 0", type(data).__name__)
    parameters = [one for one in module.parameters() if one.requires_grad]
    if not parameters:
        raise InputError(f"{caller}: the model has no parameter that takes a gradient")
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    digest = digest_json({**identity, **asdict(schedule), "batches": size})
    saved = _Checkpoint(caller, checkpoint, digest, module, optimizer, device)
    done, total = saved.read(), schedule.epochs * size
    bar = tqdm(desc=caller, unit="step", total=total, initial=done, disable=not progress)
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        for epoch in range(done // size, schedule.epochs):
            torch.manual_seed(schedule.seed + 1000 * epoch)
            for number, batch in enumerate(data):
                step = epoch * size + number
                if step < done:
                    continue
                if step == done and number > 0:  # an epoch begins with generators of its own
                    saved.restore_generators()
                for group in optimizer.param_groups:
                    group["lr"] = schedule.learning_rate * (1 - step / total)
                value = loss(batch)
                _expect_number(caller, value, step)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                bar.set_postfix(loss=f"{value.item():.4g}", refresh=False)
                bar.update()
                if number + 1 == size or (step + 1) % schedule.checkpoint_every == 0:
                    saved.write(step + 1)
    bar.close()


def _expect_number(caller: str, value: Any, step: int) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise InputError(
            f"{caller}: the step expected to return the loss, one number with a gradient, "
            f"got {type(value).__name__}"
            + (f" {list(value.shape)}" if isinstance(value, Tensor) else "")
        )
    if not math.isfinite(value.item()):
        raise InputError(
            f"{caller}: the loss of step {step} is {value.item()}: give a smaller learning_rate"
        )


class _Checkpoint:
    """A file with everything that a training goes on from."""

    def __init__(
        self,
        caller: str,
        path: Path | None,
        digest: str,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self._caller, self._path, self._digest = caller, path, digest
        self._module, self._optimizer, self._device = module, optimizer, device
        self._generators: list[Tensor] = []

    def read(self) -> int:
        """Bring everything to where it was; return how many steps that is."""
        if self._path is None or not self._path.is_file():
            return 0
        with naming(self._path, "read"):
            content = self._path.read_bytes()
        try:
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            same = found["identity"] == self._digest
        except Exception as error:  # whatever a damaged file makes torch raise
            raise InputError(f"{self._path} is damaged: it is no checkpoint") from error
        if not same:
            raise InputError(
                f"{self._caller}: {self._path} was begun with other settings, another model or "
                "other data: choose another folder, or remove it"
            )
        self._module.load_state_dict(found["module"])
        self._optimizer.load_state_dict(found["optimizer"])
        self._generators = found["generators"]
        step: int = found["step"]
        return step

    def restore_generators(self) -> None:
        """Let what is drawn next be what would have been drawn."""
        if self._generators:
            torch.set_rng_state(self._generators[0])
            if self._device.type == "cuda" and len(self._generators) > 1:
                torch.cuda.set_rng_state(self._generators[1], self._device)

    def write(self, step: int) -> None:
        """Store where everything is."""
        if self._path is None:
            return
        cuda = self._device.type == "cuda"
        more = [torch.cuda.get_rng_state(self._device)] if cuda else []
        content = io.BytesIO()
        document = {
            "identity": self._digest,
            "step": step,
            "module": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generators": [torch.get_rng_state(), *more],
        }
        torch.save(document, content)
        with naming(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, content.getvalue())
