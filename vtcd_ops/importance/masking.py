"""A model whose units can be removed: many masks in one forward, or gradients with respect to them.

The features of a token are multiplied by the keep of its unit inside the model (equations 4 and 5
of the paper), through `edit` and `concept_mask`. Prefix tokens are never masked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import Adapter, model_device
from vtcd_ops.adapters.edit import edit, edit_neurons
from vtcd_ops.adapters.lock import evaluating
from vtcd_ops.common.accelerator import ComingBack, going_to, is_out_of_memory, release_memory
from vtcd_ops.common.errors import InputError, first_line, warn
from vtcd_ops.importance.recording import MaskedClip, Recorder
from vtcd_ops.importance.repeated_input import embedding_once
from vtcd_ops.importance.replacements import StandIns, placed_stand_ins
from vtcd_ops.importance.units import TokenUnits, Units, prunable
from vtcd_ops.metrics import Metric, Scored, expect_finite, score_outputs
from vtcd_ops.ops import concept_mask
from vtcd_ops.ops.library import has_kernel
from vtcd_ops.video.clips import VideoClip, Window
from vtcd_ops.video.samples import Sample

__all__ = ["MaskedModel", "MaskedVideo", "choose_dtype"]

_ANY = 2**31  # more masks than any forward has

DTYPES = ("auto", "float32", "bfloat16")


def choose_dtype(dtype: str, device: torch.device, own: torch.dtype = torch.float32) -> str:
    """Return in which floating point type a model runs.

    A model in float32 runs in float32 or, under autocast, in bfloat16 ("auto": where the device
    multiplies that fast). One whose weights are in another type runs in that type.

    >>> choose_dtype("float32", torch.device("cpu"))
    'float32'
    >>> choose_dtype("auto", torch.device("cpu"), torch.float16)
    'float16'

    Args:
        dtype: what the user asked for.
        device: of the model.
        own: of the model's weights.
    """
    own_name = str(own).removeprefix("torch.")
    if own != torch.float32 and dtype in ("auto", own_name):
        return own_name
    if dtype not in DTYPES:
        raise InputError(f"dtype expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if own != torch.float32:
        raise InputError(
            f"dtype expected auto or {own_name}, in which the model's weights are, got {dtype!r}: "
            f"load the model in {dtype} for that"
        )
    if dtype != "auto":
        return dtype
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device.type != "cpu":
        return "float32"
    able = torch.cpu.get_capabilities()
    return "bfloat16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"


def model_dtype(model: nn.Module) -> torch.dtype:
    """Return the floating point type of a model's weights; float32 where it has none."""
    own = (one.dtype for one in model.parameters() if one.is_floating_point())
    return next(own, torch.float32)


def _refuse_without_kernel(device: torch.device) -> None:
    """Raise on a device for which concepts cannot be removed inside the model."""
    if not has_kernel("vtcd::concept_mask", device.type.upper()):
        raise InputError(
            f"the model is on {device}, for which the operator concept_mask, which removes "
            'concepts inside it, has no kernel: load the model with device="cpu"'
        )


@dataclass(frozen=True)
class _PreparedWindow:
    """One window of a video, and what the metric needs of it."""

    clip: MaskedClip
    prepared: Any


class MaskedModel:
    """A model whose units are removed while it is open, as a context manager.

    Args:
        adapter: the model.
        units: what can be removed.
        metric: how an answer is scored.
        dtype: "bfloat16": run a model whose weights are in float32 under autocast.
        compiled: whether torch.compile compiles the model; masks may change without recompilation.
        recorded: whether forwards on a GPU may be recorded as a CUDA graph, where that is faster.
    """

    def __init__(
        self,
        adapter: Adapter,
        units: Units,
        metric: Metric,
        *,
        dtype: str = "float32",
        compiled: bool = False,
        recorded: bool = True,
    ) -> None:
        self.adapter = adapter
        self.units = units
        self.metric = metric
        self.device = model_device(adapter.model)
        _refuse_without_kernel(self.device)
        self._autocast = dtype == "bfloat16" and model_dtype(adapter.model) == torch.float32
        self._keep = torch.ones(1, len(units))
        self._units: Mapping[int, Tensor] = {}
        self._put: Mapping[int, Tensor] = {}  # in place of what is removed
        self._seen: dict[int, Tensor] | None = None  # features, while they are asked for
        self.stand_ins: StandIns | None = None  #: gives what is put in place; None: zeros
        self._neurons = {
            layer: torch.from_numpy(units).to(self.device)
            for layer, units in units.of_neurons(adapter).items()
        }
        self._compiled = compiled
        self._predict = torch.compile(adapter.predict) if compiled else adapter.predict
        self._open = contextlib.ExitStack()
        recorded = recorded and not compiled and self.device.type == "cuda"
        self._recorder = Recorder(self._forward, self.device, adapter.name) if recorded else None
        self.most = _ANY  #: masks of one forward, after memory was too small for more
        self.halved: str | None = None  #: the words of the device when that happened first

    def __enter__(self) -> MaskedModel:
        self._open.enter_context(evaluating(self.adapter.model))
        if not self._compiled:  # a graph would have to be compiled for either kind of input
            self._open.enter_context(embedding_once(self.adapter.model))
        layers, parts = self.units.token_layers, (self.units.part,)
        if layers:
            self._open.enter_context(edit(self.adapter, self._visit, layers=layers, parts=parts))
        if self._neurons:
            masked = prunable(self.adapter)
            self._open.enter_context(edit_neurons(masked, self._visit_neurons, self._neurons))
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def _visit(self, part: str, layer: int, features: Tensor) -> Tensor:
        """Multiply features [B, A, P+N, C] by the keep of their tokens' units."""
        prefix, units, keep = self.adapter.num_prefix_tokens, self._units[layer], self._keep
        if self._seen is not None:
            self._seen[layer] = features.clone()
        left = concept_mask(features, units, keep, prefix)
        if layer not in self._put:
            return left
        gone = ~keep if keep.dtype == torch.bool else 1 - keep
        put = self._put[layer].to(features.dtype).expand_as(features)
        return left + concept_mask(put, units, gone, prefix)

    def _visit_neurons(self, layer: int, neurons: Tensor) -> Tensor:
        """Multiply neurons [B', N, H] by the keep of their units, at every token."""
        keep = self._keep[:, self._neurons[layer]].to(neurons.dtype)
        rows = neurons.shape[0] // keep.shape[0]  # frames that the model looks at one by one
        return neurons * keep.repeat_interleave(rows, dim=0).unsqueeze(1)

    def answer(self, clip: MaskedClip, keep: Tensor) -> dict[str, Tensor]:
        """Return the model's answer to one clip under B masks, keep [B, U].

        In inference mode it may lie in tensors that the next answer overwrites.
        """
        keep = going_to(self.device, keep)
        if self._recorder is not None and torch.is_inference_mode_enabled():
            return self._recorder(clip, keep)
        return self._forward(clip, keep)

    def _forward(self, clip: MaskedClip, keep: Tensor) -> dict[str, Tensor]:
        """Run the model, or have it recorded."""
        batch = len(keep)
        self._keep = keep
        self._units, self._put = clip.units, clip.stand_ins
        clips = clip.frames.expand(batch, -1, -1, -1, -1)
        more = {name: value.expand(batch, *value.shape[1:]) for name, value in clip.inputs.items()}
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            return self._predict(clips, **more)

    def features(self, clip: MaskedClip) -> dict[int, Tensor]:
        """Return the features of the units' part with nothing removed, [1, A, P+N, C] a layer."""
        found: dict[int, Tensor] = {}
        self._seen = found
        try:
            with torch.no_grad(), self.in_full():
                self._forward(clip, torch.ones(1, len(self.units), device=self.device))
        finally:
            self._seen = None
        return found

    @contextlib.contextmanager
    def in_full(self) -> Iterator[None]:
        """While open, the model runs as it is: without autocast, and not compiled for gradients."""
        before = self._autocast, self._predict
        self._autocast, self._predict = False, self.adapter.predict
        try:
            yield
        finally:
            self._autocast, self._predict = before

    def in_pieces(self, keep: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
        """Join what is answered to masks [B, U], so many at a time as the memory suffices for.

        Raises:
            InputError: it does not suffice for one.
        """
        done: list[Tensor] = []
        first = 0
        while first < len(keep):
            rows = keep[first : first + self.most]
            try:
                done.append(answer(rows))
                first += len(rows)
                continue
            except (RuntimeError, ValueError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
                if len(rows) == 1:
                    raise InputError(
                        f"a forward under one mask takes more memory than {self.device} has free: "
                        f"{reason}"
                    ) from error
            self._halve(len(rows), reason)
        return done[0] if len(done) == 1 else torch.cat(done)

    def _halve(self, tried: int, reason: str) -> None:
        """Take half as many masks at a time from now on, and say so once."""
        self.most = tried // 2
        self._recorder = None  # a recorded forward keeps all its memory
        release_memory(self.device)
        if self.halved is None:
            self.halved = reason
            warn(
                f"{self.device} has too little memory for {tried} masks at a time ({reason}): "
                "half as many are taken, and halved again where need be"
            )

    def video(self, sample: Sample, clip: VideoClip[Adapter], tokens: TokenUnits) -> MaskedVideo:
        """Prepare a video: run the untouched model on its windows, and ask the metric.

        Args:
            sample: the video and what is known of it.
            clip: its frames that the model looks at.
            tokens: the unit of every token of the whole video.
        """
        windows, scores = [], []
        everything = torch.ones(1, len(self.units), dtype=torch.bool)
        with torch.no_grad():  # not inference mode: gradients flow through these tensors later
            for number, frames in enumerate(clip.clips()):
                one = self.placed(clip, clip.windows[number], frames, tokens)
                if self.stand_ins is not None:
                    put = self.stand_ins.of(clip, number)
                    put = placed_stand_ins(put, one.units, self.adapter.num_prefix_tokens)
                    one = replace(one, stand_ins=put)
                outputs = self.answer(one, everything)
                scored = Scored(self.adapter, sample, clip, clip.windows[number], outputs)
                prepared = self.metric.prepare(scored)
                scores.append(score_outputs(self.metric, outputs, prepared, 1))
                windows.append(_PreparedWindow(one, prepared))
        baseline = float(expect_finite(self.metric, torch.cat(scores).cpu()).mean())
        return MaskedVideo(self, windows, self.units.present(tokens), baseline)

    def placed(
        self, clip: VideoClip[Adapter], window: Window, frames: Tensor, tokens: TokenUnits
    ) -> MaskedClip:
        """Return one window of a video, and the units of its tokens, on the model's device.

        Args:
            clip: the frames of the video that the model looks at.
            window: of them.
            frames: of the window, as the model takes them, [T, 3, H', W'].
            tokens: the unit of every token of the whole video.
        """
        one = frames.unsqueeze(0).to(self.device)
        inputs = {name: x.unsqueeze(0).to(self.device) for name, x in clip.inputs(window).items()}
        t, h, w = self.adapter.grid_for(one)
        first = window.start // self.adapter.tubelet_size * h * w
        units = {}
        for layer, whole in tokens.items():
            if whole.shape[1] != clip.num_steps * h * w:
                raise InputError(
                    f"rank: the run has {whole.shape[1]} tokens of a video, {self.adapter.name} "
                    f"makes {clip.num_steps * h * w} of it"
                )
            part = np.ascontiguousarray(whole[None, :, first : first + t * h * w])
            units[layer] = torch.from_numpy(part).to(self.device)
        return MaskedClip(one, inputs, units)


class MaskedVideo:
    """One video, ready to be scored under masks. A long video's score is the mean over its windows.

    Attributes:
        present: bool [U], which units lie in the video.
        baseline: the score with nothing removed.
    """

    def __init__(
        self,
        masked: MaskedModel,
        windows: Sequence[_PreparedWindow],
        present: np.ndarray,
        baseline: float,
    ) -> None:
        self._masked = masked
        self._windows = windows
        self.present = present
        self.baseline = baseline

    @property
    def num_bytes(self) -> int:
        """Memory that the video takes."""
        return sum(window.clip.num_bytes for window in self._windows)

    def changes(self) -> bool:
        """Whether the model answers otherwise once all units are removed from the first window.

        It is asked without autocast: in bfloat16 a small difference rounds to none.
        """
        clip = self._windows[0].clip

        def answer(keep: Tensor) -> Tensor:
            found = self._masked.answer(clip, keep).values()
            return torch.cat([value.flatten(1).double() for value in found], dim=1)

        with torch.no_grad(), self._masked.in_full():
            whole, nothing = (
                self._masked.in_pieces(torch.full((1, len(self.present)), kept), answer)
                for kept in (True, False)
            )
        return not torch.equal(whole, nothing)

    def ask(self, keep: Tensor) -> ComingBack:
        """Ask for the scores, float64 [B], under masks keep, bool [B, U] (False: removed).

        Nothing waits for them until :meth:`read`.
        """

        def mean(rows: Tensor) -> Tensor:
            return torch.stack(list(self._scores(rows))).mean(dim=0)

        with torch.inference_mode():
            return ComingBack(self._masked.in_pieces(keep, mean))

    def read(self, asked: ComingBack) -> Tensor:
        """Return scores that were asked for."""
        return expect_finite(self._masked.metric, asked.tensor())

    def scores(self, keep: Tensor) -> Tensor:
        """Return the scores, float64 [B], under masks keep, bool [B, U] (False: removed)."""
        return self.read(self.ask(keep))

    def gradients(self, keep: Tensor) -> Tensor:
        """Return the gradients, float64 [B, U], of the scores by keep, float [B, U]."""
        return self._masked.in_pieces(keep, self._gradients)

    def _gradients(self, keep: Tensor) -> Tensor:
        """The gradients of as many rows as fit into the memory."""
        keep = keep.detach().to(self._masked.device).requires_grad_()
        total = torch.zeros(keep.shape, dtype=torch.float64)
        for score in self._scores(keep):
            if not score.requires_grad:
                raise InputError(
                    f"metric {self._masked.metric.name} gives no gradient: rank by occlusion or "
                    "cris, or choose another metric"
                )
            expect_finite(self._masked.metric, score)
            [gradient] = torch.autograd.grad(score.sum(), keep)
            total += gradient.double().cpu() / len(self._windows)
        return total

    def _scores(self, keep: Tensor) -> Iterator[Tensor]:
        """The scores [B] of each window."""
        masked = self._masked
        for window in self._windows:
            outputs = masked.answer(window.clip, keep)
            # a copy: the answer to the next window may lie where this one does
            yield score_outputs(masked.metric, outputs, window.prepared, len(keep)).clone()
