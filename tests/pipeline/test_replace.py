"""What is put in place of a removed concept, against features captured from the model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import additive_adapter, samples
from pipeline.videos import moving_square

import vtcd_ops
from vtcd_ops.adapters import ProjectionAdapter, example_adapter
from vtcd_ops.adapters.capture import capture
from vtcd_ops.commands.app import rank_command
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.importance.importance import draw_masks
from vtcd_ops.importance.replacements import check_replace, placed_stand_ins
from vtcd_ops.importance.units import Units

FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}


@pytest.fixture(scope="module")
def additive(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectionAdapter, Run]:
    adapter = additive_adapter()
    out = tmp_path_factory.mktemp("replace") / "run"
    return adapter, vtcd_ops.discover(adapter, samples(), out=out, parts=["values"], progress=False)


def logits_by_hand(adapter: ProjectionAdapter, run: Run, replace: str, keep: np.ndarray) -> Any:
    """The label's logit of each video under a mask, [V]: features are swapped token by token."""
    found = []
    values = [  # [V][L], each [A, N, C]
        [one[0] for one in capture(
            adapter, adapter.preprocess(sample.video)[None], parts=("values",)
        )["values"].values()]
        for sample in samples()
    ]  # fmt: skip
    mean = [torch.cat([one[layer] for one in values], dim=1).mean(1) for layer in range(2)]
    for video, sample in enumerate(samples()):
        donor = (video + 1) % 4  # its label is another: they take turns
        logit = 0.0
        for layer in range(2):
            concepts = run.tokens(video, layer, "values")
            for head in range(2):
                now = values[video][layer][head].clone()
                for token, concept in enumerate(concepts[head]):
                    row = (run.units("values") == (layer, head, concept)).all(axis=1)
                    if row.any() and not keep[row.argmax()]:
                        now[token] = {
                            "zero": torch.zeros(8),
                            "mean": mean[layer][head],
                            "video": values[donor][layer][head][token],
                        }[replace]
                weight = adapter.model.proj[layer].weight[int(sample.label)].detach()
                logit += float((now @ weight[8 * head : 8 * head + 8]).mean())
        found.append(logit)
    return found


@pytest.mark.parametrize("replace", ["zero", "mean", "video"])
def test_scores_are_those_of_swapped_features(
    additive: tuple[ProjectionAdapter, Run], replace: str
) -> None:
    adapter, run = additive
    found = vtcd_ops.rank(
        run, adapter, samples(), "logit", num_masks=16, replace=replace, stop_at=None, **FAST
    )
    assert found.name == {"zero": "cris-logit"}.get(replace, f"cris-logit-{replace}")
    assert found.settings.get("replace", "zero") == replace
    assert (f"{replace} put in place" in found.summary()[0]) == (replace != "zero")
    for mask in (0, 7):
        for video in range(4):
            keep = draw_masks(found.settings, video, mask, mask + 1)[0].numpy()
            expected = logits_by_hand(adapter, run, replace, keep)[video]
            assert found.tensors["scores"][video, mask] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("replace", ["mean", "video"])
def test_gradients_lead_from_what_is_put_in_place(
    additive: tuple[ProjectionAdapter, Run], replace: str
) -> None:
    """Of a linear model they are exactly what removing a unit alone does."""
    adapter, run = additive
    ask: dict[str, Any] = {"metric": "logit", "replace": replace, **FAST}
    alone = vtcd_ops.rank(run, adapter, samples(), method="occlusion", **ask)
    gradient = vtcd_ops.rank(run, adapter, samples(), method="gradient", **ask)
    np.testing.assert_allclose(gradient.value, alone.value, atol=1e-6)
    zero = vtcd_ops.rank(run, adapter, samples(), method="occlusion", metric="logit", **FAST)
    assert np.nanmax(np.abs(zero.value - alone.value)) > 1e-3


@pytest.mark.parametrize("replace", ["mean", "video"])
def test_long_videos_and_prefix_tokens(tmp_path: Path, replace: str) -> None:
    """Windows of a donor are taken in turn; what is kept is kept to the bit."""
    adapter = example_adapter()
    videos = [vtcd_ops.Sample(moving_square(12, seed=seed), label=1) for seed in range(2)]
    run = vtcd_ops.discover(adapter, videos, out=tmp_path, progress=False, num_frames=12)
    found = vtcd_ops.rank(
        run, adapter, videos, "logit", num_masks=32, replace=replace, prior=None, **FAST
    )
    zero = vtcd_ops.rank(run, adapter, videos, "logit", num_masks=32, prior=None, **FAST)
    assert np.array_equal(found.tensors["baseline"], zero.tensors["baseline"])
    assert not np.array_equal(found.tensors["scores"], zero.tensors["scores"])
    ask: dict[str, Any] = {"num_points": 3, "num_random": 0, **FAST}
    curves = vtcd_ops.curves(run, adapter, videos, "logit", replace=replace, **ask)
    assert curves.name == f"logit-{replace}"
    plain = vtcd_ops.curves(run, adapter, videos, "logit", **ask)
    assert sorted(curves.scores) == sorted(plain.scores)  # both rankings, either way removed
    key = ("cris-logit", "positive")
    assert np.array_equal(curves.scores[key][:, 0], plain.scores[key][:, 0])
    # halfway: with all keys removed, the same key everywhere attends evenly, whatever it is
    assert not np.array_equal(curves.scores[key][:, 1], plain.scores[key][:, 1])


def test_what_is_refused(additive: tuple[ProjectionAdapter, Run]) -> None:
    adapter, run = additive
    for videos in (samples()[:1], [samples()[0], samples()[0]]):
        with pytest.raises(InputError, match="at least two different videos expected, got"):
            vtcd_ops.rank(run, adapter, videos, "logit", replace="video", **FAST)
    with pytest.raises(InputError, match="replace expected one of zero, mean, video, got 'noise'"):
        vtcd_ops.rank(run, adapter, samples(), "logit", replace="noise", **FAST)
    vtcd_ops.rank(run, adapter, samples(), "logit", num_masks=16, name="taken", **FAST)
    with pytest.raises(InputError, match=r"holds a ranking .*replace"):
        vtcd_ops.rank(
            run, adapter, samples(), "logit", num_masks=16, name="taken", replace="mean", **FAST
        )


def test_neurons_are_not_replaced() -> None:
    units = Units("heads+neurons", "keys", np.array([[0, -1, 0], [0, 1, -1]]), 4)
    check_replace("zero", units, [])
    with pytest.raises(InputError, match="replace expected zero for units of neurons"):
        check_replace("mean", units, [])


def test_a_donor_with_other_tokens() -> None:
    """A model that takes frames of any size may have fewer tokens of the other video."""
    units = {0: torch.tensor([[[0, -1, 1]]], dtype=torch.int32)}
    with pytest.raises(InputError, match="it has 4 tokens where 3 are expected; choose mean"):
        placed_stand_ins({0: torch.ones(1, 1, 5, 2)}, units, prefix=1)
    [put] = placed_stand_ins({0: torch.ones(1, 1, 1, 2)}, units, prefix=1).values()
    assert put[0, 0, :, 0].tolist() == [0, 1, 0, 1]  # nothing at prefix tokens, or without a unit


def test_the_command_takes_it() -> None:
    assert "replace" in inspect.signature(rank_command).parameters
