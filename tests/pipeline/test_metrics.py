"""Metrics against numbers worked out by hand or by torch's own losses."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from functools import partial
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, write_image
from scipy.spatial.distance import cosine
from torch import Tensor

from vtcd_ops import metrics
from vtcd_ops.adapters import ProjectionAdapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.metrics import (
    METRICS,
    Scored,
    expect_finite,
    get_metric,
    metric_identity,
    named_metric,
    score_outputs,
)
from vtcd_ops.video.clips import VideoClip, Window, choose_clip
from vtcd_ops.video.masks import read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

LOGITS = torch.tensor([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]])


def clip_of(adapter: ProjectionAdapter, num_frames: int = 4) -> VideoClip:
    return choose_clip(adapter, open_video(moving_square(num_frames)), "all")


def score(
    adapter: ProjectionAdapter, name: Any, outputs: dict[str, Tensor], **known: Any
) -> list[float]:
    """Scores of a batch, prepared by its first clip."""
    metric = get_metric(name, adapter)
    sample = Sample(moving_square(), **known)
    first = {key: value[:1] for key, value in outputs.items()}
    prepared = metric.prepare(Scored(adapter, sample, clip_of(adapter), Window(0, 0, 0), first))
    batch = len(next(iter(outputs.values())))
    scores = expect_finite(metric, score_outputs(metric, outputs, prepared, batch))
    found: list[float] = scores.tolist()
    return found


def test_classification(adapter: ProjectionAdapter) -> None:
    outputs = {"logits": LOGITS}
    assert score(adapter, "accuracy", outputs, label=2) == [1.0, 0.0]
    assert score(adapter, "logit", outputs, label=2) == [3.0, 0.0]
    probability = [math.exp(row[2]) / sum(map(math.exp, row)) for row in LOGITS.tolist()]
    assert score(adapter, "probability", outputs, label="2") == pytest.approx(probability)
    expected = [
        -float(torch.nn.functional.cross_entropy(row[None].double(), torch.tensor([2])))
        for row in LOGITS
    ]
    assert score(adapter, "loss", outputs, label=2) == pytest.approx(expected)


def test_labels_are_numbers_or_names(adapter: ProjectionAdapter) -> None:
    adapter.class_names = ("roll", "lift", "7")
    outputs = {"logits": LOGITS}
    assert score(adapter, "logit", outputs, label="lift") == [1.0, 1.0]
    assert score(adapter, "logit", outputs, label=1) == [1.0, 1.0]
    assert score(adapter, "logit", outputs, label="7") == [3.0, 0.0]  # a name before a number
    with pytest.raises(InputError, match="0 to 2, or one of roll, lift, 7, got 'rol'"):
        score(adapter, "logit", outputs, label="rol")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "a label expected for every video, got none"),
        (3, "label expected 0 to 2, got 3"),
        ("roll", "label expected 0 to 2, got 'roll'"),
    ],
)
def test_labels_that_are_none(adapter: ProjectionAdapter, label: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"metric probability: {message}"):
        score(adapter, "probability", {"logits": LOGITS}, label=label)


def test_reconstruction(adapter: ProjectionAdapter) -> None:
    made, true = torch.randn(2, 6, 5), torch.randn(2, 6, 5)
    expected = [-float(torch.nn.functional.mse_loss(a, b)) for a, b in zip(made, true, strict=True)]
    found = score(adapter, "reconstruction", {"reconstruction": made, "pixels": true})
    assert found == pytest.approx(expected, rel=1e-6)


def test_dot_product(adapter: ProjectionAdapter) -> None:
    adapter.text_features = lambda texts: torch.tensor([[float(len(t)), 2.0] for t in texts])  # type: ignore[attr-defined]
    outputs = {"video_features": torch.tensor([[1.0, 10.0], [0.5, -1.0]])}
    assert score(adapter, "dot_product", outputs, text="abc") == [23.0, -0.5]
    assert score(adapter, "dot_product", outputs, label="ab") == [22.0, -1.0]
    with pytest.raises(InputError, match="dot_product: a text or a label expected"):
        score(adapter, "dot_product", outputs)
    del adapter.text_features  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="dot_product: example has no text tower"):
        score(adapter, "dot_product", outputs, text="abc")


def test_an_encoder_answers_with_its_features(adapter: ProjectionAdapter) -> None:
    """Logits first, then pooled features, then those of the tokens."""
    clips = torch.rand(2, 4, 3, 32, 32)
    logits, pooled, tokens = torch.rand(2, 5), torch.rand(2, 7), torch.rand(2, 6, 7)
    fields = {"logits": logits, "pooler_output": pooled, "last_hidden_state": tokens}
    for name in ("logits", "features", "features"):
        output = SimpleNamespace(**fields)
        adapter.model.forward = lambda clips, output=output: output  # type: ignore[method-assign]
        [(found, answer)] = adapter.predict(clips).items()
        assert found == name
        assert answer is fields.pop(next(iter(fields)))
    adapter.model.forward = lambda clips: tokens  # type: ignore[method-assign]
    assert adapter.predict(clips)["features"] is tokens


@pytest.mark.parametrize("name", ["features", "video_features", "logits"])
@pytest.mark.parametrize("shape", [(3, 7), (3, 5, 7), (3, 2, 5, 7)])
def test_feature_similarity(adapter: ProjectionAdapter, name: str, shape: tuple[int, ...]) -> None:
    """SciPy's cosine distance, over frames or tokens the mean; the model's own answer has 1."""
    features = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    found = score(adapter, "feature_similarity", {name: features})
    rows = features.reshape(3, -1, 7).double().numpy()
    expected = [np.mean([1 - cosine(a, b) for a, b in zip(row, rows[0])]) for row in rows]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[0] == pytest.approx(1)


def test_feature_similarity_of_zero_features(adapter: ProjectionAdapter) -> None:
    found = score(adapter, "feature_similarity", {"features": torch.tensor([[1.0, 2.0], [0, 0]])})
    assert found == pytest.approx([1.0, 0.0])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_mask_overlap(adapter: ProjectionAdapter) -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 2, 4, 32, 32)).astype(np.float32))
    true = rng.random((4, 32, 32)) > 0.6
    predicted = logits[:, 0].numpy() > 0
    outputs = {"masks": logits}
    expected = [overlap(mask, true) for mask in predicted]
    assert score(adapter, "iou", outputs, target_masks=true) == pytest.approx(expected)
    own = [overlap(mask, predicted[0]) for mask in predicted]
    assert own[0] == 1.0
    assert score(adapter, "iou_prediction", outputs) == pytest.approx(own)
    sure = {"masks": torch.where(logits > 0, 50.0, -50.0)}  # soft and hard agree when it is sure
    assert score(adapter, "soft_iou", sure, target_masks=true) == pytest.approx(expected)
    assert score(adapter, "soft_iou_prediction", sure) == pytest.approx(own)
    with pytest.raises(InputError, match="metric iou: target_masks expected for every video"):
        score(adapter, "iou", outputs)


def test_two_empty_masks_overlap(adapter: ProjectionAdapter) -> None:
    outputs = {"masks": torch.full((1, 1, 4, 32, 32), -1.0)}
    assert score(adapter, "iou", outputs, target_masks=np.zeros((4, 32, 32), bool)) == [1.0]


def test_masks_follow_the_frames_that_are_looked_at(adapter: ProjectionAdapter) -> None:
    """The window's frames, resized and cut as they are; past the end the last one."""
    true = np.zeros((7, 64, 64), dtype=np.uint8)
    for frame in range(7):
        true[frame, : 8 * frame + 8] = 255
    clip = clip_of(adapter, 7)  # padded to 8 frames; the second window starts at frame 4
    scored = Scored(adapter, Sample("v", target_masks=true), clip, clip.windows[1], {})
    assert scored.frames == [4, 5, 6, 6]
    rows = torch.tensor([40, 48, 56, 56]) // 2
    expected = torch.arange(32).view(1, 32, 1).expand(4, 32, 32) < rows.view(4, 1, 1)
    outputs = {"masks": torch.where(expected, 1.0, -1.0)[None, None]}
    metric = get_metric("iou", adapter)
    prepared = metric.prepare(Scored(adapter, scored.sample, clip, clip.windows[1], outputs))
    assert torch.equal(prepared.bool(), expected)


def test_any_function(adapter: ProjectionAdapter) -> None:
    def first_logit(outputs: Any, sample: Sample) -> Tensor:
        assert sample.text == "known"
        logits: Tensor = outputs["logits"]
        return logits[:, 0]

    assert get_metric(first_logit, adapter).name == "first_logit"
    assert score(adapter, first_logit, {"logits": LOGITS}, text="known") == [0.0, 2.0]


SHIFT = 1.0


def helper(x: Tensor) -> Tensor:
    return x[:, 0] + SHIFT


def uses_a_helper(outputs: Any, sample: Sample) -> Tensor:
    return helper(outputs["logits"])


def scaled(factor: Any) -> Any:
    return lambda outputs, sample: outputs["logits"][:, 0] * factor


class Scaled:
    """A metric with a state."""

    name, smooth = "scaled", True

    def __init__(self, factor: Any) -> None:
        self.factor = factor

    def prepare(self, scored: Scored) -> None: ...

    def score(self, outputs: Any, prepared: None) -> Tensor:
        found: Tensor = outputs["logits"][:, 0] * self.factor
        return found


def identity(metric: Any, adapter: ProjectionAdapter) -> dict[str, str]:
    return metric_identity(get_metric(metric, adapter))


def test_metrics_are_told_by_their_code(
    adapter: ProjectionAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By constants, defaults, closures, helpers and what those use; not by the name alone."""
    functions = [
        lambda outputs, sample: outputs["logits"][:, 0],
        lambda outputs, sample: outputs["logits"][:, 1],
        lambda outputs, sample: -outputs["logits"][:, 1],
        lambda outputs, sample, k=1: outputs["logits"][:, k],
        lambda outputs, sample, k=2: outputs["logits"][:, k],
        lambda outputs, sample, *, k=2: outputs["logits"][:, k],
        *map(scaled, (1, 2, 1.0, "1", None, (1, 2), [1, 2], {"a": 1}, {1, 2}, len, max)),
        *map(scaled, (np.ones(2), np.zeros(2), np.ones(3), torch.ones(2), torch.float64)),
        *(partial(uses_a_helper, sample=Sample(video)) for video in ("a", "b")),
        *map(Scaled, (1, 2)),
        Scaled(1).score,
        uses_a_helper,
    ]
    found = [identity(one, adapter)["metric_code"] for one in functions]
    assert len(set(found)) == len(found)
    assert identity(scaled(2), adapter) == identity(scaled(2), adapter)
    assert identity(Scaled(2), adapter) == identity(Scaled(2), adapter)
    monkeypatch.setattr(f"{__name__}.SHIFT", 2.0)
    assert identity(uses_a_helper, adapter)["metric_code"] != found[-1]
    for name, metric in METRICS.items():
        assert metric_identity(metric) == {"metric": name}


def test_code_is_the_same_in_another_process(adapter: ProjectionAdapter) -> None:
    """Whatever the seed of Python's hashes, and with comments and lines between."""
    code = """
import sys, tempfile, types, linecache
from vtcd_ops.metrics import get_metric, metric_identity
module = types.ModuleType("mine")
exec(compile(sys.argv[1], "mine.py", "exec"), module.__dict__)
print(metric_identity(get_metric(module.metric, None))["metric_code"])
"""
    plain = (
        "K = {'a': 1, 'b': (2, 3)}\ndef metric(outputs, sample):\n    return K, {'x', 'y', 'z'}\n"
    )
    moved = "# mine\n\n" + plain.replace("    return", "    # all\n\n    return")
    found = set()
    for seed, text in enumerate((plain, moved)):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", code, text]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


def test_what_cannot_be_told_apart_wants_a_name(adapter: ProjectionAdapter) -> None:
    for state in (iter([1]), object(), np.random.default_rng(0), threading.Lock(), {object()}):
        with pytest.raises(InputError, match=r"metric lambda: .* because factor is a .*named_metr"):
            identity(scaled(state), adapter)
        named = named_metric("own", scaled(state))
        assert metric_identity(named) == {"metric": "own", "metric_code": "named own"}
    circle: list[Any] = []
    circle.append(circle)
    assert identity(scaled(circle), adapter) == identity(scaled(circle), adapter)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.zeros(2, 3), r"expected a number for every clip, \[2\], got \[2, 3\]"),
        (torch.zeros(1), r"expected a number for every clip, \[2\], got \[1\]"),
        (0.5, r"expected a number for every clip, \[2\], got float"),
        (torch.tensor([0.0, float("nan")]), "expected finite numbers, got NaN or infinity"),
        (torch.tensor([0.0, float("inf")]), "expected finite numbers, got NaN or infinity"),
    ],
)
def test_functions_that_return_something_else(
    adapter: ProjectionAdapter, result: Any, message: str
) -> None:
    def mine(outputs: Any, sample: Sample) -> Any:
        return result

    with pytest.raises(InputError, match=f"metric mine: {message}"):
        score(adapter, mine, {"logits": LOGITS})


def test_answers_that_do_not_suit(adapter: ProjectionAdapter) -> None:
    with pytest.raises(InputError, match=r"metric iou: .* expected to hold masks, it holds logits"):
        score(adapter, "iou", {"logits": LOGITS})
    with pytest.raises(InputError, match=r"metric logit: logits expected 2 axes, got \[1, 3, 1\]"):
        score(adapter, "logit", {"logits": LOGITS[..., None]}, label=0)
    with pytest.raises(InputError, match=r"metric expected one of accuracy, .*, got 'acuracy'"):
        get_metric("acuracy", adapter)
    with pytest.raises(InputError, match="metric expected a name or a function, got int"):
        get_metric(3, adapter)  # type: ignore[arg-type]
    adapter.metrics = ()
    assert get_metric(None, adapter).name == "feature_similarity"
    with pytest.raises(InputError, match=r"_similarity: .* to hold features, it holds masks"):
        score(adapter, None, {"masks": LOGITS})


def half(outputs: Any, sample: Sample) -> Tensor:
    """What an entry point of another package may name."""
    return torch.full((len(outputs["logits"]),), 0.5)


class Constant:
    """The other thing that it may name."""

    name, smooth = "constant", False

    def prepare(self, scored: Scored) -> float:
        return 2.0

    def score(self, outputs: Any, prepared: float) -> Tensor:
        return torch.full((len(outputs["logits"]),), prepared)


def test_entry_points(adapter: ProjectionAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        metadata.EntryPoint(name, value, metrics.ENTRY_POINT_GROUP)
        for name, value in {
            "half": f"{__name__}:half",
            "constant": f"{__name__}:Constant",
            "broken": "no_such_module:metric",
        }.items()
    ]
    fake = SimpleNamespace(entry_points=lambda group: points)
    monkeypatch.setattr(metrics, "metadata", fake)
    assert score(adapter, "half", {"logits": LOGITS}) == [0.5, 0.5]
    assert score(adapter, "constant", {"logits": LOGITS}) == [2.0, 2.0]
    with pytest.raises(InputError, match="metric broken cannot be loaded: No module named"):
        get_metric("broken", adapter)


def test_masks_from_files(tmp_path: Path) -> None:
    """Array, .npy, .npz and a folder of images are the same masks."""
    masks = np.random.default_rng(0).random((5, 6, 7)) > 0.5
    np.save(tmp_path / "masks.npy", masks)
    np.savez(tmp_path / "one.npz", anything=masks)
    np.savez(tmp_path / "two.npz", other=~masks, target_masks=masks)
    (tmp_path / "folder").mkdir()
    for index, plane in enumerate(masks):
        write_image(tmp_path / f"folder/{index:05d}.png", (plane * 255).astype(np.uint8))
    expected = torch.from_numpy(masks[[1, 4]])
    for source in (masks, *(tmp_path / n for n in ("masks.npy", "one.npz", "two.npz", "folder"))):
        assert torch.equal(read_masks(source, [1, 4]), expected)
        with pytest.raises(InputError, match="masks of at least 6 frames expected, got 5"):
            read_masks(source, [0, 5])


def test_files_that_hold_no_masks(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    np.save(tmp_path / "flat.npy", np.zeros((3, 4)))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("masks")
    (tmp_path / "sizes").mkdir()
    write_image(tmp_path / "sizes/0.png", np.zeros((4, 4), np.uint8))
    write_image(tmp_path / "sizes/1.png", np.zeros((4, 5), np.uint8))
    cases = {
        "none.npy": "does not exist",
        "two.npz": "expected an array target_masks, got a, b",
        "flat.npy": r"masks expected \[T, H, W\], got float64 \[3, 4\]",
        "pickle.npy": r"masks expected \[T, H, W\], got object \[1\]",
        "text.npy": "cannot be read as .npy or .npz",
        "sizes": "masks expected of one size, got several",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            read_masks(tmp_path / name, [0, 1])
