"""A masked model as a game, whose players are concepts or heads: any attribution can rank them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.discovery.keeping import TOKENS
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.importance.importance import Importance
from vtcd_ops.importance.masking import MaskedVideo
from vtcd_ops.importance.measurement import AskedForward, Measurement, check_model
from vtcd_ops.importance.ranked_videos import find_videos
from vtcd_ops.importance.scoring import Scoring
from vtcd_ops.importance.store import finish_importance, importance_path
from vtcd_ops.importance.units import choose_units
from vtcd_ops.metrics import Metric, get_metric

__all__ = ["Game", "rank_with"]


class Game:
    """One video's score as a function of which units are kept.

    A unit is a concept, or a head. Only those that lie in the video are players: the others change
    nothing.

    Attributes:
        num_players: n.
        units: (layer, head, concept) of each player, int64 [n, 3]; concept -1: the whole head.
        baseline: the score with nothing removed.
    """

    def __init__(self, video: MaskedVideo, units: np.ndarray, masks_per_call: int) -> None:
        self._video = video
        self._places = torch.from_numpy(np.flatnonzero(video.present))
        self._total = len(video.present)
        self._most = masks_per_call
        self.num_players = len(self._places)
        self.units = units[self._places.numpy()]
        self.baseline = video.baseline

    @overload
    def __call__(self, kept: np.ndarray) -> np.ndarray: ...

    @overload
    def __call__(self, kept: Tensor) -> Tensor: ...

    def __call__(self, kept: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Return the scores, float64 [M], with what is kept of each player, [M, n].

        Args:
            kept: of an array, true or false; of a tensor, anything from 0 (removed) to 1, through
                which gradients flow where it asks for them.
        """
        rows = torch.as_tensor(np.asarray(kept) != 0) if isinstance(kept, np.ndarray) else kept
        if rows.dim() != 2 or rows.shape[1] != self.num_players:
            raise InputError(f"Game: kept expected [M, {self.num_players}], got {list(rows.shape)}")
        if isinstance(kept, np.ndarray):
            scores: np.ndarray = self._scores(rows).numpy()
            return scores
        if rows.requires_grad:
            found: Tensor = _Scores.apply(rows, self)
            return found
        return self._scores(rows)

    def _scores(self, rows: Tensor) -> Tensor:
        pieces = [self._video.scores(self._whole(part)) for part in rows.split(self._most)]
        return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.float64)

    def _gradients(self, rows: Tensor) -> Tensor:
        pieces = [
            self._video.gradients(self._whole(part.float()))[:, self._places]
            for part in rows.split(self._most)
        ]
        return torch.cat(pieces)

    def _whole(self, rows: Tensor) -> Tensor:
        """Keep what is no player."""
        whole = torch.ones(len(rows), self._total, dtype=rows.dtype)
        whole[:, self._places] = rows.detach().cpu()
        return whole


class _Scores(torch.autograd.Function):
    """The game, with its gradient by what is kept."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, game: Game) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.game = game
        return game._scores(rows.float())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        [rows] = ctx.saved_tensors
        with torch.enable_grad():  # the model's own, which ends there
            found = ctx.game._gradients(rows)
        return (found * gradient[:, None].double()).to(rows), None


class _Attributed:
    """A method of ranking that gives every video's game to a function."""

    measures = "effects"

    def __init__(
        self, attribute: Callable[[Game], Any], units: np.ndarray, masks_per_call: int
    ) -> None:
        self.total = self.step = len(units)
        self._attribute = attribute
        self._units = units
        self._most = masks_per_call

    def part(self, index: int, video: MaskedVideo, start: int) -> np.ndarray:
        """Return the effects of all units, float64 [U]; 0 of those that do not lie in the video."""
        game = Game(video, self._units, self._most)
        found = self._attribute(game)
        if isinstance(found, Tensor):
            found = found.detach().cpu().double().numpy()
        values = np.asarray(found, dtype=np.float64).reshape(-1)
        if len(values) != game.num_players or not np.isfinite(values).all():
            raise InputError(
                f"rank_with: attribute expected to return {game.num_players} finite numbers, one a "
                f"player, got {list(np.shape(found))}"
            )
        effects = np.zeros(self.total)
        effects[np.flatnonzero(video.present)] = values
        return effects


def rank_with(
    attribute: Callable[[Game], Any],
    run: Run | str | Path,
    model: Adapter | str | Path | None = None,
    samples: Any = None,
    metric: str | Metric | None = None,
    *,
    method: str,
    units: str = "concepts",
    part: str | None = None,
    name: str | None = None,
    overwrite: bool = False,
    masks_per_forward: int | str = "auto",
    dtype: str = "auto",
    device: str = "auto",
    max_memory: int | str = "1GB",
    progress: bool = True,
) -> Importance:
    """Rank units by any attribution: Captum's, shapiq's, one's own.

    It is stored in the run beside the other rankings, so that `curves` compares them and reports
    show it; a call that was interrupted goes on with the video where it stopped.

    >>> import tempfile
    >>> import numpy as np, torch
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> from vtcd_ops.bridges import rank_with
    >>> videos = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32, 3)).astype(np.uint8)
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = vtcd_ops.discover(example_adapter(), videos, out=folder.name, progress=False)
    >>> def alone(game):  # what each unit gives when it alone is kept
    ...     return game(torch.eye(game.num_players)) - game(torch.zeros(1, game.num_players))
    >>> samples = [vtcd_ops.Sample(video, label=1) for video in videos]
    >>> found = rank_with(alone, run, example_adapter(), samples, "logit",
    ...     method="alone", units="heads", progress=False)
    >>> found.value.shape, run.importances()
    ((6,), ['alone-logit-heads'])
    >>> folder.cleanup()

    Args:
        attribute: is given a `Game` for every video, and returns what each player matters, [n].
        run, model, samples, metric, units, part, name, overwrite: as of `vtcd_ops.rank`.
        method: what `attribute` is called; it is all that tells two of them apart.
        masks_per_forward, dtype, device, max_memory, progress: as of `vtcd_ops.rank`.

    Returns:
        The importance; its value is the mean over the videos in which a unit lies.

    Raises:
        InputError: as of `vtcd_ops.rank`, or numbers that are not one for each player.
    """
    run = load(run) if isinstance(run, str | Path) else run
    run.expect_kept("rank_with", TOKENS)
    adapter = check_model("rank_with", run, model, device)
    chosen_units = choose_units(run, units, part, adapter)
    chosen_metric = get_metric(metric, adapter)
    videos, _ = find_videos(run, adapter, samples, max_memory=parse_bytes(max_memory))
    if method in ("", "cris", "occlusion") or not isinstance(method, str):
        raise InputError(f"rank_with: method expected a name of its own, got {method!r}")
    pieces = [method, chosen_metric.name.replace("_", "-")]
    pieces += [units] if units != "concepts" else []
    path = importance_path(run, "-".join(pieces) if name is None else name)
    measured = Measurement(run, adapter, chosen_units, chosen_metric, videos)
    asked = AskedForward(masks_per_forward, dtype, False, max_memory)
    more = {"method": method, "num_units": len(chosen_units), "seed": 0, "classes": None}
    masked, writer = measured.open(path, asked, more, "a ranking", overwrite)
    batch = writer.document["masks_per_forward"]
    scoring = Scoring(
        masked,
        videos,
        _Attributed(attribute, chosen_units.table, batch),
        writer,
        progress=progress and os.environ.get("RANK", "0") == "0",
    )
    return scoring.run(lambda tensors: finish_importance(writer, tensors, "auto"))
