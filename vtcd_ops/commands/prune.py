"""Write a smaller model: the command around `vtcd_ops.prune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcd_ops.adapters import load_model
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.pruned_form import CONFIG_FILE
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_count
from vtcd_ops.discovery.discover import discover
from vtcd_ops.discovery.identity import expect_model
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.importance.importance import Importance
from vtcd_ops.importance.ranking import rank
from vtcd_ops.pruning.cost import Cost, count_cost
from vtcd_ops.pruning.finetune import finetune as train_on
from vtcd_ops.pruning.prune import prune
from vtcd_ops.pruning.rounds import prune_and_finetune
from vtcd_ops.pruning.saving import save_pruned
from vtcd_ops.video.samples import as_samples

__all__ = ["PrunedModel", "parse_heads", "prune_run"]


@dataclass(frozen=True)
class PrunedModel:
    """A pruned model that was written.

    Attributes:
        folder: where it is; `load_model` reads it.
        adapter: the model.
        before, after: what a clip costs in the whole model and in this.
    """

    folder: Path
    adapter: Adapter
    before: Cost
    after: Cost

    def __str__(self) -> str:
        return f"{self.folder}: {self.adapter.name}; {self.after}, before {self.before}"


def prune_run(
    run: Path,
    *,
    out: Path,
    ranking: str | None = None,
    fraction: float = 1 / 3,
    of: str = "units",
    heads: list[tuple[int, int]] | None = None,
    model: str | None = None,
    finetune: str | None = None,
    rounds: int = 1,
    epochs: int = 2,
    batch_size: int = 8,
    learning_rate: float = 1e-4,
    device: str = "auto",
    overwrite: bool = False,
) -> PrunedModel:
    """Write a model without the heads, or neurons, that matter least by a ranking of a run.

    Args:
        run: the directory of a run, whose heads or neurons were ranked (vtcd rank RUN --units
            heads, neurons or heads+neurons).
        out: the folder of the smaller model.
        ranking: name of the ranking; the latest of heads or neurons by default.
        fraction: share that goes, in [0, 1).
        of: what it is a share of: units, the heads and groups of neurons that were ranked; or
            cost, the multiply-adds, of which those go first that matter least for what they cost.
        heads: in place of a ranking: the heads to take out, as layer:head, such as 0:1,0:3.
        model: the run's model, where it moved.
        finetune: labelled videos, a manifest say: what is left is trained on them, towards the
            answers of the whole model too. The same command goes on where a killed one stopped.
        rounds: with finetune: prune a little, train, rank what is left anew, and again. What comes
            after the first is ranked as the run was, on the videos of finetune.
        epochs, batch_size, learning_rate, device: of that, as of :func:`vtcd_ops.finetune`.
        overwrite: replace a model that is in the folder.

    Raises:
        InputError: no such ranking, another model than the run's, or a folder that is taken.
    """
    if (out / CONFIG_FILE).exists() and not overwrite:  # before hours of training
        raise InputError(f"prune: {out} holds a model already: choose another folder, or overwrite")
    opened = load(run)
    adapter = load_model(opened.model["name"] if model is None else model)
    expect_model("prune", adapter, opened.model, opened.path)
    expect_count("prune", "rounds", rounds)
    if rounds > 1 and (finetune is None or heads is not None):
        raise InputError("prune: rounds above 1 expected with finetune and a ranking, not heads")
    training: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate,
        "device": device,
    }  # fmt: skip
    if rounds > 1:
        assert finetune is not None
        ranker = _Ranker(opened, _ranking(opened, ranking), finetune, out / "training", device)
        smaller = prune_and_finetune(
            adapter, ranker, finetune, fraction, rounds=rounds, of=of, out=out / "training",
            **training,
        )  # fmt: skip
    elif heads is None:
        smaller = prune(adapter, _ranking(opened, ranking), fraction, of=of)
    elif ranking is not None:
        raise InputError(f"prune: expected either ranking or heads, got {ranking} and heads")
    else:
        smaller = prune(adapter, heads=heads)
    if finetune is not None and rounds == 1:
        train_on(smaller, finetune, teacher=adapter, out=out / "training", **training)
    folder = save_pruned(smaller, out, overwrite=overwrite)
    return PrunedModel(folder, smaller, count_cost(adapter), count_cost(smaller))


class _Ranker:
    """Ranks the model of a round: in the first as the run did, then anew on the training videos.

    A ranking is kept in a run; that of a smaller model is of two of these videos, as heads and
    neurons are ranked on others as well.
    """

    def __init__(
        self, run: Run, importance: Importance, data: str, folder: Path, device: str
    ) -> None:
        self._run, self._importance, self._data = run, importance, data
        self._folder, self._device = folder, device

    def __call__(self, adapter: Adapter, number: int) -> Importance:
        if number == 0:
            return self._importance
        settings, samples = self._importance.settings, list(as_samples(self._data))
        place: dict[str, Any] = {"device": self._device}
        run = discover(
            adapter, samples[:2], out=self._folder / f"run-{number + 1}", layers=self._run.layers,
            parts=(settings["part"],), **place,
        )  # fmt: skip
        given = ("method", "units", "part", "seed", "neurons_per_group", "classes", "ratio",
                 "design", "prior", "replace", "num_steps", "metric")  # fmt: skip
        asked: dict[str, Any] = {key: settings[key] for key in given if key in settings}
        if settings["method"] == "cris":
            asked["num_masks"] = self._importance.num_masks
        return rank(run, adapter, samples, assign=True, name="round", **asked, **place)


def _ranking(run: Run, name: str | None) -> Importance:
    """The ranking of that name, else the latest of heads or neurons."""
    for one in [name] if name is not None else reversed(run.importances()):
        found = run.importance(one)
        if found is not None and (name is not None or found.settings["units"] != "concepts"):
            return found
    raise InputError(
        f"prune: {run.path} expected to hold a ranking of heads or neurons, found none: "
        f"vtcd rank {run.path} --units heads"
    )


def parse_heads(text: str) -> list[tuple[int, int]]:
    """Return heads given as layer:head with commas between.

    >>> parse_heads("0:1, 11:3")
    [(0, 1), (11, 3)]

    Raises:
        InputError: the text is none such.
    """
    try:
        pairs = [piece.split(":") for piece in text.split(",")]
        return [(int(layer), int(head)) for layer, head in pairs]
    except ValueError:
        raise InputError(f"heads expected as layer:head, such as 0:1,0:3, got {text!r}") from None
