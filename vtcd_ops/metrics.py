"""Scores of a model's answer, larger is better: what a concept's importance is measured on.

A metric is chosen by name, or is any function of `(outputs, sample)` that returns one number for
each clip. Other packages add names through entry points in the group `vtcd_ops.metrics`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.answers import Outputs, Scored, read_output
from vtcd_ops.common.code_identity import code_identity
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.masks import read_masks
from vtcd_ops.video.samples import Sample

__all__ = [
    "METRICS",
    "Metric",
    "Scored",
    "expect_finite",
    "get_metric",
    "metric_identity",
    "named_metric",
    "score_outputs",
]

ENTRY_POINT_GROUP = "vtcd_ops.metrics"

_MAX_NAMES = 20  # of classes that an error lists


@runtime_checkable
class Metric(Protocol):
    """A score of a model's answer, larger is better.

    Attributes:
        name: how it is stored and shown.
        smooth: its gradient says something; gradient methods need that.

    It may also have `peaks` (True: largest where nothing is removed, so that the gradient there is
    zero) and `identity` (a text that tells its scores from those of other code of the same name).
    """

    name: str
    smooth: bool

    def prepare(self, scored: Scored) -> Any:
        """Return what `score` needs of a window, made once."""
        ...

    def score(self, outputs: Outputs, prepared: Any) -> Tensor:
        """Return one number a clip, [B], of answers to the same window."""
        ...


class _Classification:
    """A score of the logits at the class that the sample's label names."""

    def __init__(self, name: str, of: Callable[[Tensor, int], Tensor], smooth: bool = True) -> None:
        self.name, self.smooth, self._of = name, smooth, of

    def prepare(self, scored: Scored) -> int:
        """Return the class's index."""
        logits = read_output(self.name, scored.outputs, "logits", 2)
        return _class_index(self.name, scored, logits.shape[1])

    def score(self, outputs: Outputs, prepared: int) -> Tensor:
        """Return the score [B] of logits [B, classes]."""
        return self._of(read_output(self.name, outputs, "logits", 2).double(), prepared)


def _log_probability(logits: Tensor, target: int) -> Tensor:
    return functional.log_softmax(logits, dim=1)[:, target]


class _Reconstruction:
    """Minus the mean squared error over every patch of the video."""

    name, smooth = "reconstruction", True

    def prepare(self, scored: Scored) -> None:
        """Check that the model reconstructs."""
        read_output(self.name, scored.outputs, "reconstruction", 3)

    def score(self, outputs: Outputs, prepared: None) -> Tensor:
        """Return the score [B] of "reconstruction" and "pixels" [B, patches, P]."""
        made = read_output(self.name, outputs, "reconstruction", 3)
        true = read_output(self.name, outputs, "pixels", 3)
        # float64 from patch to patch; of every pixel it would take more memory than the model
        errors = (made.float() - true.float()).square().mean(dim=2)
        return -errors.mean(dim=1, dtype=torch.float64)


class _DotProduct:
    """The dot product of the video's feature and that of its text (of its label without one)."""

    name, smooth = "dot_product", True

    def prepare(self, scored: Scored) -> Tensor:
        """Return the text's feature [D]."""
        features = read_output(self.name, scored.outputs, "video_features", 2)
        text = scored.sample.text or scored.sample.label
        encode = getattr(scored.adapter, "text_features", None)
        if text is None:
            raise InputError("metric dot_product: a text or a label expected for every video")
        if encode is None:
            raise InputError(f"metric dot_product: {scored.adapter.name} has no text tower")
        with torch.no_grad():
            encoded: Tensor = encode([str(text)])[0]
        return encoded.to(device=features.device, dtype=torch.float64)

    def score(self, outputs: Outputs, prepared: Tensor) -> Tensor:
        """Return the dot product [B] with "video_features" [B, D]."""
        return read_output(self.name, outputs, "video_features", 2).double() @ prepared


class _MaskOverlap:
    """Intersection over union, in space and time, of the predicted mask with a fixed one.

    The predicted mask is where the first channel of "masks" [B, n, T, H', W'] is positive; the soft
    one is its probability. Two empty masks overlap by 1.
    """

    def __init__(self, name: str, with_prediction: bool, soft: bool) -> None:
        self.name, self.smooth = name, soft
        self._with_prediction = with_prediction

    def prepare(self, scored: Scored) -> Tensor:
        """Return the mask to overlap with, [T, H', W']."""
        own = self._mask(scored.outputs)[0]
        if self._with_prediction:
            return own.detach()
        if scored.sample.target_masks is None:
            raise InputError(f"metric {self.name}: target_masks expected for every video, got none")
        true = scored.adapter.mask_to_model(read_masks(scored.sample.target_masks, scored.frames))
        if true.shape != own.shape:
            raise InputError(
                f"metric {self.name}: target_masks expected {list(own.shape)} for the model, got "
                f"{list(true.shape)}"
            )
        return true.to(own)

    def score(self, outputs: Outputs, prepared: Tensor) -> Tensor:
        """Return the overlap [B]."""
        masks = self._mask(outputs)
        shared = masks * prepared
        both = shared.sum(dim=(1, 2, 3), dtype=torch.float64)
        either = (masks + prepared - shared).sum(dim=(1, 2, 3), dtype=torch.float64)
        return torch.where(either == 0, 1.0, both / either.clamp(min=1e-12))

    def _mask(self, outputs: Outputs) -> Tensor:
        """The predicted masks [B, T, H', W'], from 0 to 1."""
        logits = read_output(self.name, outputs, "masks", 5)[:, 0].float()
        return logits.sigmoid() if self.smooth else (logits > 0).float()


class _FeatureSimilarity:
    """Cosine of the model's features with those that it has while nothing is removed.

    Of several feature vectors (of frames, of tokens) the mean. An answer without features is itself
    the feature. Larger than anywhere else where nothing is removed, so the gradient there is zero.
    """

    name, smooth, peaks = "feature_similarity", True, True

    def prepare(self, scored: Scored) -> Tensor:
        """Return the model's own features, of length one [1, ..., D]."""
        return functional.normalize(self._features(scored.outputs).detach(), dim=-1)

    def score(self, outputs: Outputs, prepared: Tensor) -> Tensor:
        """Return the similarity [B] of features [B, ..., D]."""
        cosine = (functional.normalize(self._features(outputs), dim=-1) * prepared).sum(dim=-1)
        return cosine.flatten(1).mean(dim=1) if cosine.dim() > 1 else cosine

    def _features(self, outputs: Outputs) -> Tensor:
        for name in ("features", "video_features", "logits"):
            if name in outputs:
                return outputs[name].double()
        raise InputError(
            f"metric {self.name}: the model's answer expected to hold features, it holds "
            f"{', '.join(outputs) or 'nothing'}: give a metric that suits it"
        )


class _Function:
    """A metric made of a function of `(outputs, sample)`.

    Args:
        function: what gives the score.
        name: how it is called; the function's name by default.
        identity: what tells its scores from those of others; None: the function's code.
        smooth: whether its gradient says something.
    """

    def __init__(
        self,
        function: Callable[[Outputs, Sample], Tensor],
        name: str | None = None,
        identity: str | None = None,
        smooth: bool = True,
    ) -> None:
        self._function = function
        self.name = name or getattr(function, "__name__", type(function).__name__).strip("<>_")
        self.smooth = smooth
        self._identity = identity

    @property
    def identity(self) -> str:
        """What tells the scores from those of another function of the same name."""
        if self._identity is not None:
            return self._identity
        return code_identity(f"metric {self.name}", self._function)

    def prepare(self, scored: Scored) -> Sample:
        """Return the sample, which the function gets."""
        return scored.sample

    def score(self, outputs: Outputs, prepared: Sample) -> Tensor:
        """Return what the function returns."""
        return self._function(outputs, prepared)


#: The metrics of this package by name.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _Classification("accuracy", lambda x, c: (x.argmax(dim=1) == c).double(), smooth=False),
        _Classification("probability", lambda x, c: x.softmax(dim=1)[:, c]),
        _Classification("logit", lambda x, c: x[:, c]),
        _Classification("loss", _log_probability),
        _Reconstruction(),
        _DotProduct(),
        _MaskOverlap("iou", with_prediction=False, soft=False),
        _MaskOverlap("soft_iou", with_prediction=False, soft=True),
        _MaskOverlap("iou_prediction", with_prediction=True, soft=False),
        _MaskOverlap("soft_iou_prediction", with_prediction=True, soft=True),
        _FeatureSimilarity(),
    )
}


#: Of a model that names none: every encoder has features.
_DEFAULT = _FeatureSimilarity.name


def named_metric(
    name: str, function: Callable[[Outputs, Sample], Tensor], *, smooth: bool = True
) -> Metric:
    """Return a metric that is told from others by its name alone, not by its function's code.

    For a function whose code or state cannot be told apart, or that is to keep its scores while its
    code changes. Whoever changes what it computes gives it another name.

    >>> named_metric("margin-v2", lambda outputs, sample: outputs["logits"][:, 0]).name
    'margin-v2'

    Args:
        name: how it is stored and shown.
        function: of `(outputs, sample)`, returns [B], larger is better.
        smooth: whether its gradient says something.
    """
    return _Function(function, name, identity=f"named {name}", smooth=smooth)


def metric_identity(metric: Metric) -> dict[str, str]:
    """Return what tells a metric's scores from those of another, to be stored with them.

    A name is enough for those of this package. Another one is told by its `identity`, if it has
    such an attribute, or else by its code: compiled, with the constants in it, its defaults, the
    values that it closes over and what it uses of its module.

    Raises:
        InputError: it holds something that cannot be told apart, and has no `identity`.
    """
    if METRICS.get(metric.name) is metric:
        return {"metric": metric.name}
    identity = getattr(metric, "identity", None)
    if not isinstance(identity, str):
        identity = code_identity(f"metric {metric.name}", metric)
    return {"metric": metric.name, "metric_code": identity}


def get_metric(
    metric: str | Metric | Callable[[Outputs, Sample], Tensor] | None, adapter: Adapter
) -> Metric:
    """Return a metric by its name, or made of a function; None: the model's default.

    >>> from vtcd_ops.adapters import example_adapter
    >>> get_metric(None, example_adapter()).name
    'probability'
    >>> def margin(outputs, sample):  # outputs["logits"] [B, classes]
    ...     best = outputs["logits"].topk(2, dim=1).values
    ...     return best[:, 0] - best[:, 1]
    >>> get_metric(margin, example_adapter()).name
    'margin'

    Args:
        metric: a name of `METRICS` or of an entry point in the group `vtcd_ops.metrics`, a
            :class:`Metric`, or a function of `(outputs, sample)` that returns [B]. None: the first
            that the model names, or `feature_similarity` where it names none.
        adapter: the model.

    Raises:
        InputError: no such name.
    """
    if metric is None:
        metric = adapter.metrics[0] if adapter.metrics else _DEFAULT
    if isinstance(metric, str):
        return METRICS[metric] if metric in METRICS else _installed(metric)
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        return _Function(metric)
    raise InputError(f"metric expected a name or a function, got {type(metric).__name__}")


def _installed(name: str) -> Metric:
    """A metric that another package offers."""
    points = {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    if name not in points:
        known = ", ".join([*METRICS, *sorted(points)])
        raise InputError(f"metric expected one of {known}, or a function, got {name!r}")
    try:
        found = points[name].load()
    except Exception as error:  # whatever another package raises
        raise InputError(f"metric {name} cannot be loaded: {error}") from error
    if isinstance(found, type):
        found = found()
    return found if isinstance(found, Metric) else _Function(found, name)


def score_outputs(metric: Metric, outputs: Outputs, prepared: Any, batch: int) -> Tensor:
    """Return the scores of a batch, float64 [B], of which :func:`expect_finite` must be asked.

    Raises:
        InputError: not one number a clip.
    """
    scores = metric.score(outputs, prepared)
    if not isinstance(scores, Tensor) or scores.shape != (batch,) or scores.is_complex():
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            f"metric {metric.name}: expected a number for every clip, [{batch}], got {got}"
        )
    return scores.double()


def expect_finite(metric: Metric, scores: Tensor) -> Tensor:
    """Return scores that a device has handed back, none of them NaN or infinite, or raise."""
    if not bool(torch.isfinite(scores).all()):
        raise InputError(f"metric {metric.name}: expected finite numbers, got NaN or infinity")
    return scores


def _listed(label: str, names: Sequence[str]) -> str:
    """The names of the classes; of many those most like a label that is none of them."""
    if not names:
        return ""
    if len(names) <= _MAX_NAMES:
        return f", or one of {', '.join(names)}"
    like = difflib.get_close_matches(label, names, n=5, cutoff=0.4) or names[:5]
    return f", or one of {len(names)} names such as {', '.join(like)}"


def _class_index(metric: str, scored: Scored, num_classes: int) -> int:
    """The class that a sample's label names: its index, or its name."""
    label, names = scored.sample.label, scored.adapter.class_names
    if label is None:
        raise InputError(f"metric {metric}: a label expected for every video, got none")
    if names is not None and str(label) in names:
        return names.index(str(label))
    index = int(label) if str(label).isdecimal() else -1
    if not 0 <= index < num_classes:
        raise InputError(
            f"metric {metric}: label expected 0 to {num_classes - 1}"
            f"{_listed(str(label), names or ())}, got {label!r}"
        )
    return index
