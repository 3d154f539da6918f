"""Metrics against numbers worked out by hand or by torch's own losses."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, write_image
from torch import Tensor

from vtcd_ops import metrics
from vtcd_ops.adapters import ProjectionAdapter
from vtcd_ops.errors import InputError
from vtcd_ops.features import VideoClip, Window, choose_clip
from vtcd_ops.mask_reader import read_masks
from vtcd_ops.metrics import Scored, get_metric, score_outputs
from vtcd_ops.samples import Sample
from vtcd_ops.video_reader import open_video

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
    found: list[float] = score_outputs(metric, outputs, prepared, batch).tolist()
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
    with pytest.raises(InputError, match="example names no metric that suits it"):
        get_metric(None, adapter)


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
        "pickle.npy": "cannot be read as .npy or .npz: Object arrays",
        "text.npy": "cannot be read as .npy or .npz",
        "sizes": "masks expected of one size, got several",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            read_masks(tmp_path / name, [0, 1])
