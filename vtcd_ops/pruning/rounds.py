"""Pruning and training in turns: at once, or a little at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.neurons import from_intervals, to_intervals
from vtcd_ops.adapters.weights import weights_sha256
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_count
from vtcd_ops.pruning.choice import UnitImportance
from vtcd_ops.pruning.finetune import finetune
from vtcd_ops.pruning.prune import prune
from vtcd_ops.storage.documents import encode_json, read_json
from vtcd_ops.storage.files import naming, write_atomic

__all__ = ["prune_and_finetune", "share_of_round"]

#: Ranks a model as it is at the beginning of a round, counted from 0.
Ranker = Callable[[Adapter, int], UnitImportance]

_ROUNDS_FILE = "rounds.json"


def prune_and_finetune(
    model: Adapter,
    importance: UnitImportance | Ranker,
    data: Any,
    fraction: float = 1 / 3,
    *,
    rounds: int = 1,
    of: str = "units",
    distil: bool = True,
    out: str | os.PathLike[str] | None = None,
    **training: Any,
) -> Adapter:
    """Prune a model and train what is left, at once or in rounds: rank, prune a little, recover.

    After round r of R, the share r/R of `fraction` is gone. With `out` the same call goes on where
    a killed one stopped.

    >>> import numpy as np
    >>> import vtcd_ops
    >>> adapter = vtcd_ops.load_model("hf_videomae:mini")
    >>> videos = np.random.default_rng(0).integers(0, 255, (2, 16, 64, 64, 3)).astype(np.uint8)
    >>> samples = [vtcd_ops.Sample(video, label="roll") for video in videos]
    >>> def ranked(model, number):
    ...     return vtcd_ops.learn_keep(model, samples, epochs=1, progress=False)
    >>> smaller = vtcd_ops.prune_and_finetune(
    ...     adapter, ranked, samples, 0.5, rounds=2, epochs=1, progress=False
    ... )
    >>> smaller.name
    'hf_videomae:mini (12 of 24 heads removed)'

    Args:
        model: the model; it is left alone.
        importance: of its units, as :func:`vtcd_ops.prune` takes it, for all rounds; or a function
            of (adapter, round) that ranks the model as it is then.
        data: as of :func:`vtcd_ops.finetune`.
        fraction: share that goes in all rounds together, in [0, 1).
        rounds: how many; 1: at once.
        of: as of :func:`vtcd_ops.prune`.
        distil: train towards the answers of the whole model too.
        out: a folder for what is done by now. None: none.
        **training: as of :func:`vtcd_ops.finetune`, but teacher and out.

    Returns:
        The adapter of the smaller model, in evaluation mode.

    Raises:
        InputError: what :func:`vtcd_ops.prune` and :func:`vtcd_ops.finetune` raise, or a folder
            with other rounds.
    """
    expect_count("prune_and_finetune", "rounds", rounds)
    if not isinstance(model, AttentionAdapter):
        raise InputError(
            "prune_and_finetune: model expected an adapter derived from "
            f"vtcd_ops.adapters.AttentionAdapter, got {type(model).__name__}"
        )
    document = {
        "weights": weights_sha256(model.model), "fraction": float(fraction), "rounds": rounds,
        "of": of, "distil": distil,
    }  # fmt: skip
    folder = None if out is None else Path(out)
    store = _Rounds(folder, document)
    current, teacher = store.latest(model), model if distil else None
    for number in range(store.done, rounds):
        pruned: Adapter | None = store.pruned(current, number)
        if pruned is None:
            ranked = importance(current, number) if callable(importance) else importance
            share = share_of_round(fraction, number, rounds)
            pruned = prune(current, ranked, share, of=of)
            store.write_pruned(pruned, number)
        within = None if folder is None else folder / f"round-{number + 1}"
        finetune(pruned, data, teacher=teacher, out=within, **training)
        store.write_trained(pruned, number)
        assert isinstance(pruned, AttentionAdapter)  # as what it was made of
        current = pruned
    return current


def share_of_round(fraction: float, number: int, rounds: int) -> float:
    """Return what share of the rest goes in a round, so that equal shares of the whole do.

    >>> [round(share_of_round(0.6, number, 3), 3) for number in range(3)]
    [0.2, 0.25, 0.333]
    """
    before, after = (fraction * turn / rounds for turn in (number, number + 1))
    return 1 - (1 - after) / (1 - before)


class _Rounds:
    """What is done by now, in a folder; or nothing, without one."""

    def __init__(self, folder: Path | None, document: dict[str, Any]) -> None:
        self._folder, self._document = folder, document
        self.done = 0
        self._removed: list[dict[str, Any]] = []
        if folder is None or not (folder / _ROUNDS_FILE).is_file():
            return
        found = read_json(folder / _ROUNDS_FILE)
        if found.get("settings") != document:
            raise InputError(
                f"prune_and_finetune: {folder} holds rounds of another model or other settings: "
                "choose another folder, or remove it"
            )
        self._removed, self.done = found["removed"], found["done"]

    def latest(self, model: AttentionAdapter) -> AttentionAdapter:
        """The model after the rounds that are done."""
        if self._folder is None or self.done == 0:
            return model
        smaller = self._without(model, self._removed[self.done - 1])
        path = self._file(self.done - 1)
        with naming(path, "read"):
            smaller.model.load_state_dict(load(path.read_bytes()))
        return smaller

    def pruned(self, current: AttentionAdapter, number: int) -> AttentionAdapter | None:
        """The model of a round that was pruned but not trained to the end; None: there is none."""
        if number >= len(self._removed):
            return None
        return self._without(current, self._removed[number])

    def write_pruned(self, model: Adapter, number: int) -> None:
        """Remember what went in a round."""
        assert isinstance(model, AttentionAdapter)
        neurons = {str(n): to_intervals(its) for n, its in model.removed_neurons.items()}
        heads = [list(head) for head in sorted(model.removed_heads)]
        self._removed.append({"name": model.name, "heads": heads, "neurons": neurons})
        self._write()

    def write_trained(self, model: Adapter, number: int) -> None:
        """Keep the weights of a round."""
        self.done = number + 1
        if self._folder is not None:
            state = model.model.state_dict()
            plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
            write_atomic(self._file(number), save(plain))
        self._write()

    def _without(self, model: AttentionAdapter, removed: dict[str, Any]) -> AttentionAdapter:
        """A model without all that went by the end of a round."""
        heads = {(layer, head) for layer, head in removed["heads"]} - model.removed_heads
        neurons = {
            int(layer): set(from_intervals(its)) - set(model.removed_neurons.get(int(layer), ()))
            for layer, its in removed["neurons"].items()
        }
        return model.without(heads, neurons, removed["name"])

    def _file(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"round-{number + 1}.safetensors"

    def _write(self) -> None:
        if self._folder is None:
            return
        with naming(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        document = {"settings": self._document, "removed": self._removed, "done": self.done}
        write_atomic(self._folder / _ROUNDS_FILE, encode_json(document))
