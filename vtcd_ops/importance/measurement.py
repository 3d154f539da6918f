"""What rankings and curves settle before anything is measured: of which model, on which videos."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter, model_device
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.adapters.weights import weights_sha256
from vtcd_ops.common.accelerator import current, free_memory
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.discovery.identity import answers_identity, expect_model, library_versions
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.batching import double_up
from vtcd_ops.importance.masking import MaskedModel, choose_dtype, model_dtype
from vtcd_ops.importance.ranked_videos import RankedVideo
from vtcd_ops.importance.recording import MaskedClip
from vtcd_ops.importance.replacements import StandIns, check_replace, replace_setting
from vtcd_ops.importance.scores_store import ScoresWriter, read_settings
from vtcd_ops.importance.store import run_fingerprint
from vtcd_ops.importance.units import Units
from vtcd_ops.metrics import Metric, metric_identity
from vtcd_ops.video.clips import VideoClip

Result = TypeVar("Result")

#: What follows from how many masks are asked for, and stays where more are asked for later.
_SETTLED = ("prior_gradients",)
_MOST_MASKS = 32  # of one forward, where the user does not say; more gain nothing on the CPUs tried


@dataclass(frozen=True)
class Forward:
    """How the model runs under masks, as it is stored."""

    dtype: str
    masks_per_forward: int
    compiled: bool


@dataclass(frozen=True)
class AskedForward:
    """How the user wants the model to run; see :func:`vtcd_ops.rank`."""

    masks_per_forward: int | str
    dtype: str
    compiled: bool
    max_memory: int | str
    gradients: bool = False  #: whether everything of a forward is kept for them

    def settle(
        self, adapter: Adapter, begun: dict[str, Any], suiting: Callable[[str], int]
    ) -> Forward:
        """Settle what is "auto": as it was when these scores were begun, else what suits.

        Args:
            adapter: the model.
            begun: settings of the scores, where they were begun.
            suiting: gives the number of masks that suits a model that runs in a type.
        """
        dtype = begun.get("dtype", self.dtype) if self.dtype == "auto" else self.dtype
        dtype = choose_dtype(dtype, model_device(adapter.model), model_dtype(adapter.model))
        masks = self.masks_per_forward
        if masks == "auto":
            masks = begun["masks_per_forward"] if begun else suiting(dtype)
        if not isinstance(masks, int) or masks < 1:
            raise InputError(
                f"masks_per_forward expected a whole number above 0, or auto, got {masks!r}"
            )
        return Forward(dtype, masks, self.compiled)


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is measured.

    Args:
        run: whose units are removed.
        adapter: the model.
        units: what can be removed.
        metric: how an answer is scored.
        videos: on which answers.
        replace: what is put in place of removed units, one of `REPLACEMENTS`.

    Raises:
        InputError: nothing can be put in place of these units of these videos.
    """

    run: Run
    adapter: Adapter
    units: Units
    metric: Metric
    videos: list[RankedVideo]
    replace: str = "zero"

    def __post_init__(self) -> None:
        check_replace(self.replace, self.units, self.videos)

    def document(self, path: Path, asked: AskedForward, more: dict[str, Any]) -> dict[str, Any]:
        """Return everything that scores depend on, as it is stored in a folder.

        Args:
            path: the folder, where such scores may have been begun.
            asked: how the model is to run.
            more: what the caller adds.
        """
        document = {
            "run": run_fingerprint(self.run),
            "model": self.adapter.name,
            "weights": weights_sha256(self.adapter.model),
            "answers": answers_identity(self.adapter),
            "versions": library_versions(),
            **metric_identity(self.metric),
            "units": self.units.kind,
            "part": self.units.part,
            **self.units.settings(),
            "videos": [video.identity() for video in self.videos],
            **replace_setting(self.replace),
            **more,
        }
        begun = read_settings(path) or {}
        now = json.loads(json.dumps(document))
        settled = {key: begun.get(key) for key in _SETTLED if key in document}
        if any(begun.get(key) != value for key, value in (now | settled).items()):
            begun = {}  # those of other scores, to be refused or overwritten
        else:
            document |= settled
        suiting = partial(self._suiting_masks, asked)
        return document | asdict(asked.settle(self.adapter, begun, suiting))

    def begin(
        self,
        path: Path,
        asked: AskedForward,
        more: dict[str, Any],
        use: Callable[[dict[str, Any]], Result],
    ) -> Result:
        """Return what is made of the settings of scores; see :meth:`document`.

        Processes that begin at the same time may find other numbers of masks the fastest: the
        number of the one whose settings are written first is that of all.
        """
        document = self.document(path, asked, more)
        try:
            return use(document)
        except InputError:
            again = self.document(path, asked, more)
            if again == document:
                raise
        return use(again)

    def open(
        self, path: Path, asked: AskedForward, more: dict[str, Any], what: str, overwrite: bool
    ) -> tuple[MaskedModel, ScoresWriter]:
        """Return the model whose units are removed, and the folder of its scores.

        They are begun, or gone on with. A model that cannot be masked is refused before there is a
        folder.
        """

        def use(document: dict[str, Any]) -> tuple[MaskedModel, ScoresWriter]:
            masked = self.masked(document)
            return masked, ScoresWriter(path, document, what, overwrite=overwrite)

        return self.begin(path, asked, more, use)

    def _suiting_masks(self, asked: AskedForward, dtype: str) -> int:
        """How many masks of one forward suit the device: as are fast, or as fit."""
        device = model_device(self.adapter.model)
        free = free_memory(device)
        if free is None:
            return _fitting_masks(self.adapter, parse_bytes(asked.max_memory))
        if asked.gradients:
            return _fitting_masks(self.adapter, free // (2 * self.adapter.num_layers))
        masked = MaskedModel(self.adapter, self.units, self.metric, dtype=dtype, recorded=False)
        with current(device), masked:
            trials = double_up(device, self._forward(masked))
        return trials[-1].masks if trials else 1

    def _forward(self, masked: MaskedModel) -> Callable[[int], object]:
        """A forward of the first video's first clip, under any number of masks."""
        placed = _placed(masked, self.videos[0].clip, 0)

        def forward(num_masks: int) -> object:
            keep = torch.ones(num_masks, len(self.units), dtype=torch.bool)
            with torch.inference_mode():
                return masked.answer(placed, keep)

        return forward

    def masked(self, document: dict[str, Any]) -> MaskedModel:
        """Return the model whose units are removed, as a document says that it runs."""
        dtype, compiled = document["dtype"], document["compiled"]
        masked = MaskedModel(self.adapter, self.units, self.metric, dtype=dtype, compiled=compiled)
        if self.replace != "zero":
            prefix = self.adapter.num_prefix_tokens
            look = partial(_features, masked)
            masked.stand_ins = StandIns(self.replace, look, self.videos, prefix)
        return masked


def check_model(
    caller: str, run: Run, model: Adapter | str | Path | None, device: str = "auto"
) -> Adapter:
    """Return a run's model, loaded by its name if none is given; raise where it is another."""
    adapter = load_on(caller, run.model["name"] if model is None else model, device)
    expect_model(caller, adapter, run.model, run.path)
    return adapter


def gradient_dtype(dtype: str, adapter: Adapter) -> str:
    """Return the type in which gradients are taken: float32 rather than autocast, if not asked."""
    plain = model_dtype(adapter.model) == torch.float32
    return "float32" if dtype == "auto" and plain else dtype


def _placed(masked: MaskedModel, clip: VideoClip[Adapter], window: int) -> MaskedClip:
    """One window of a clip, in which the first unit of each layer lies everywhere."""
    frames = next(one for number, one in enumerate(clip.clips()) if number == window)
    _, h, w = masked.adapter.grid_for(frames.unsqueeze(0))
    everywhere = np.zeros((masked.adapter.num_heads, clip.num_steps * h * w), dtype=np.int32)
    tokens = dict.fromkeys(masked.units.token_layers, everywhere)
    return masked.placed(clip, clip.windows[window], frames, tokens)


def _features(masked: MaskedModel, clip: VideoClip[Adapter], window: int) -> dict[int, Tensor]:
    """The features of a window with nothing removed."""
    return masked.features(_placed(masked, clip, window))


def _fitting_masks(adapter: Adapter, max_memory: int) -> int:
    """How many masks fit into the memory, a power of two."""
    t, h, w = adapter.token_grid
    tokens = t * h * w + adapter.num_prefix_tokens
    # What lives at a time in a block of a usual transformer: the stream, its norm, queries, keys,
    # values, outputs, and a perceptron of four times the width, before and after; float32.
    one = 4 * tokens * adapter.num_heads * adapter.head_dim * 16
    return 2 ** int(math.log2(min(max(max_memory // one, 1), _MOST_MASKS)))
