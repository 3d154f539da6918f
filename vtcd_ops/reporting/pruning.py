"""What was pruned from the model of a run, and what a ranking of its heads would prune next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.importance import Importance

FRACTION = 1 / 3  # that `prune` takes by default

GONE, NEXT, STAYS, UNRANKED = "gone", "next", "stays", "unranked"


@dataclass(frozen=True)
class PrunedHead:
    """A head of the whole model: what became of it, and the share of the heads it outranks."""

    state: str
    share: float | None


@dataclass(frozen=True)
class PrunedLayer:
    """A layer of the whole model: its heads, and how many of its neurons are gone."""

    layer: int
    heads: list[PrunedHead]
    neurons: int


@dataclass(frozen=True)
class PruningContent:
    """What the section shows.

    Attributes:
        layers: every layer of the model.
        gone_heads, gone_neurons: what was pruned before.
        next_heads: how many heads the default fraction would take now.
        ranking: the name of the ranking that says which; None: no ranking of heads.
    """

    layers: list[PrunedLayer]
    gone_heads: int
    gone_neurons: int
    next_heads: int
    ranking: str | None


def pruning_content(run: Run) -> PruningContent | None:
    """Gather the section; None of a run whose model is whole and whose heads were not ranked."""
    features: dict[str, Any] = run.model.get("features", {})
    gone = {(layer, head) for layer, head in features.get("removed_heads", ())}
    neurons = {
        int(layer): sum(stop - first for first, stop in intervals)
        for layer, intervals in features.get("removed_neurons", {}).items()
    }
    ranking = _ranking(run)
    if ranking is None and not gone and not neurons:
        return None
    shares: dict[tuple[int, int], float] = {}
    taken: list[tuple[int, int]] = []
    if ranking is not None:
        place = {tuple(unit): row for row, unit in enumerate(ranking.units.tolist())}
        shares = {unit[:2]: float(ranking.share[row]) for unit, row in place.items()}
        taken = sorted(shares, key=lambda head: shares[head])[: round(FRACTION * len(shares))]

    def state(head: tuple[int, int]) -> str:
        if head in gone:
            return GONE
        return NEXT if head in taken else STAYS if head in shares else UNRANKED

    layers = [
        PrunedLayer(
            layer,
            [
                PrunedHead(state((layer, head)), shares.get((layer, head)))
                for head in range(run.model["num_heads"])
            ],
            neurons.get(layer, 0),
        )
        for layer in range(run.model["num_layers"])
    ]
    name = None if ranking is None else ranking.name
    return PruningContent(layers, len(gone), sum(neurons.values()), len(taken), name)


def _ranking(run: Run) -> Importance | None:
    """The latest ranking of the heads alone."""
    for name in reversed(run.importances()):
        found = run.importance(name)
        if found is not None and found.settings.get("units") == "heads":
            return found
    return None
