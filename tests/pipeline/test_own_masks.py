"""Masks of each video's own, priors from gradients, and what a ranking says before it starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.additive import additive_adapter, samples
from torch import Tensor

import vtcd_ops
from vtcd_ops.adapters import ProjectionAdapter, example_adapter
from vtcd_ops.commands import app
from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.discovery.run import Run
from vtcd_ops.estimates.mask_seeds import mask_seed
from vtcd_ops.importance import methods, ranking, scoring
from vtcd_ops.importance.importance import video_seeds
from vtcd_ops.importance.priors import random_strengths
from vtcd_ops.ops import cris_sample

FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectionAdapter, Run]:
    adapter = example_adapter()
    out = tmp_path_factory.mktemp("own") / "run"
    return adapter, vtcd_ops.discover(adapter, samples(), out=out, progress=False)


def test_order_and_subset_of_videos_change_nothing(
    example: tuple[ProjectionAdapter, Run],
) -> None:
    """The scores of a video are the same bits, whatever else is ranked."""
    adapter, run = example
    ask: dict[str, Any] = {"num_masks": 32, **FAST}
    every = vtcd_ops.rank(run, adapter, samples(), "logit", name="every", **ask)
    some = [samples()[index] for index in (3, 1)]
    fewer = vtcd_ops.rank(run, adapter, some, "logit", name="fewer", **ask)
    for name in ("scores", "prior", "present", "baseline"):
        assert np.array_equal(fewer.tensors[name], every.tensors[name][[3, 1]])
    assert len(np.unique(every.tensors["scores"])) > 100
    assert every.has_own_masks


def test_the_prior_of_a_linear_model(
    example: tuple[ProjectionAdapter, Run],
) -> None:
    """The effects, exactly: and so is what is shrunk towards them."""
    adapter, run = additive_run(Path(example[1].path).parent / "additive")
    found = vtcd_ops.rank(run, adapter, samples(), num_masks=32, name="prior", **FAST)
    alone = vtcd_ops.rank(run, adapter, samples(), method="occlusion", name="alone", **FAST)
    effects = alone.tensors["baseline"][:, None] - alone.tensors["scores"]
    np.testing.assert_allclose(found.tensors["prior"], effects, atol=1e-6)
    assert found.estimator == "shrinkage"
    known = np.isfinite(alone.value)
    np.testing.assert_allclose(found.value[known], alone.value[known], atol=1e-5)


def additive_run(out: Path) -> tuple[ProjectionAdapter, Run]:
    adapter = additive_adapter()
    run = vtcd_ops.discover(adapter, samples(), out=out, parts=["values"], progress=False)
    return adapter, run


@pytest.mark.parametrize(
    "prior", ["random_strengths", "mean_mask", "integrated_gradients", "gradient", None]
)
def test_every_prior(example: tuple[ProjectionAdapter, Run], prior: str | None) -> None:
    """Integrated gradients and the gradient are those of the methods of that name."""
    adapter, run = example
    ask: dict[str, Any] = {"metric": "logit", **FAST}
    found = vtcd_ops.rank(
        run, adapter, samples(), num_masks=16, prior=prior, name=f"by-{prior}", **ask
    )
    assert found.settings["prior"] == prior
    if prior is None:
        assert "prior" not in found.tensors
    elif prior not in ("random_strengths", "mean_mask"):
        method = vtcd_ops.rank(
            run, adapter, samples(), method=prior, num_steps=8, name=f"method-{prior}", **ask
        )
        np.testing.assert_allclose(found.tensors["prior"], method.tensors["effects"], atol=1e-6)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
def test_random_strengths_find_what_masks_do(ratio: float) -> None:
    """Exactly so, in the mean, where units act together as products, or bend alone."""
    kept = 1 - ratio
    total = np.zeros(5)
    for seed in range(200):
        x, weights = random_strengths(8, 5, ratio, seed)
        assert x.min() >= 0
        assert x.max() <= 1
        np.testing.assert_allclose(weights.sum(axis=0), 1)
        product = [x[:, 1] * x[:, 2], x[:, 0] * x[:, 2], x[:, 0] * x[:, 1]]
        gradients = np.stack([*product, np.full(8, 2.0), 4 * x[:, 4] ** 3], axis=1)
        total += (weights * gradients).sum(axis=0) / 200
    np.testing.assert_allclose(total[:3], kept**2, rtol=0.1)  # of x0 x1 x2
    assert total[3] == pytest.approx(2.0)  # of 2 x3
    assert total[4] == pytest.approx(1.0, rel=0.1)  # of x4^4, whatever it is in between


def test_more_masks_keep_the_prior(example: tuple[ProjectionAdapter, Run]) -> None:
    """As many gradients as masks, at most 64; those of a ranking that goes on stay."""
    adapter, run = example
    ask: dict[str, Any] = {"metric": "logit", "name": "goes-on", **FAST}
    few = vtcd_ops.rank(run, adapter, samples(), num_masks=4, **ask)
    more = vtcd_ops.rank(run, adapter, samples(), num_masks=16, **ask)
    assert few.settings["prior_gradients"] == more.settings["prior_gradients"] == 4
    assert np.array_equal(few.tensors["prior"], more.tensors["prior"])
    other = vtcd_ops.rank(run, adapter, samples(), num_masks=16, **ask | {"name": "at-once"})
    assert other.settings["prior_gradients"] == 16


def no_gradient(outputs: Any, sample: vtcd_ops.Sample) -> Tensor:
    return outputs["logits"].detach()[:, 0]


@pytest.mark.parametrize("metric", ["accuracy", no_gradient])
def test_no_gradient_no_prior(example: tuple[ProjectionAdapter, Run], metric: Any) -> None:
    adapter, run = example
    with pytest.warns(InputWarning, match="no prior from gradients, masks alone decide"):
        found = vtcd_ops.rank(
            run, adapter, samples(), metric, num_masks=16, name=f"flat-{bool(callable(metric))}",
            **FAST,
        )  # fmt: skip
    assert "prior" not in found.tensors


def test_a_ranking_of_the_former_kind(
    example: tuple[ProjectionAdapter, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sequence of masks for all videos: read by those masks, said, and not gone on with."""
    adapter, run = example
    ask: dict[str, Any] = {"metric": "logit", "num_masks": 48, "name": "former", **FAST}
    with monkeypatch.context() as patch:
        settings = {"ratio": 0.5, "design": "simple"}  # what they held when masks were shared
        patch.setattr(ranking, "_of_method", lambda *arguments: settings)
        vtcd_ops.rank(run, adapter, samples(), prior=None, **ask)
    former = vtcd_ops.load(run.path).importance("former", estimator="removed")
    assert former is not None
    keep = cris_sample(len(former.units), 48, 0.5, seed=0)
    padded = cris_sample(len(former.units), 128, 0.5, seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(
            ranking, "draw_masks", lambda settings, video, start, stop: padded[start:stop]
        )
        again = vtcd_ops.rank(run, adapter, samples(), **ask | {"name": "again", "prior": None})
    assert np.array_equal(former.tensors["scores"], again.tensors["scores"])
    drops = former.tensors["baseline"][:, None] - former.tensors["scores"]
    removed = (~keep).double().numpy()
    by_video, present = drops @ removed / removed.sum(0), former.tensors["present"]
    expected = np.where(present, by_video, 0).sum(0) / present.sum(0)
    np.testing.assert_allclose(former.value, expected, atol=1e-12)
    assert not former.has_own_masks
    assert "the same masks for all videos" in former.summary()[0]
    with pytest.raises(InputError, match="whose videos share their masks; now each has masks of"):
        vtcd_ops.rank(run, adapter, samples(), prior=None, **ask)


def test_units_that_the_model_does_not_use(tmp_path: Path) -> None:
    adapter = example_adapter()

    class Tapped(type(adapter)):  # type: ignore[misc]
        def forward(self, clips: Tensor) -> Tensor:
            super().forward(clips)
            return clips.mean(dim=(1, 2, 3, 4))[:, None].repeat(1, 2)

    run = vtcd_ops.discover(adapter, samples(2), out=tmp_path, progress=False)
    adapter.__class__ = Tapped
    with pytest.raises(InputError, match=r"removing all \d+ concepts changes no answer of"):
        vtcd_ops.rank(run, adapter, samples(2), "logit", num_masks=16, **FAST)


def test_what_is_to_come_is_said(
    example: tuple[ProjectionAdapter, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, run = example
    ask = {**FAST, "progress": True, "name": "said"}
    vtcd_ops.rank(run, adapter, samples(), "logit", num_masks=300, stop_at=0.2, **ask)
    said = capsys.readouterr().err
    gradients, masks = (
        said.index("said: gradients of 4 videos, "),
        said.index("said: 4 x 300 masks"),
    )
    assert gradients < masks, "what gradients take is said before masks are scored"
    assert said.count("said: gradients of") == 1
    assert "said: 4 x 300 masks = 1,200 forwards of" in said
    assert "at most: it stops at a reliability of 0.2; --num-masks 250 takes" in said
    assert "after 256 masks a video of 300; --stop-at none measures all" in said


def test_a_ranking_shows_while_it_is_made(
    example: tuple[ProjectionAdapter, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the masks so far are worth, by `vtcd show`; then the rest, to the same bits."""
    adapter, run = example
    ask: dict[str, Any] = {"metric": "logit", "num_masks": 640, "stop_at": None, **FAST}
    whole = vtcd_ops.rank(run, adapter, samples(), name="whole", **ask)
    monkeypatch.setattr(scoring, "_LEAVE_SECONDS", -1)
    part, seen = methods.Masks.part, []

    def look(method: methods.Masks, video: int, opened: Any, start: int) -> Any:
        if start == 512 and not seen:
            monkeypatch.setattr(sys, "argv", ["vtcd", "show", str(run.path)])
            with pytest.raises(SystemExit):
                app.main()
            seen.append(capsys.readouterr().out)
        return part(method, video, opened, start)

    monkeypatch.setattr(methods.Masks, "part", look)
    found = vtcd_ops.rank(run, adapter, samples(), name="growing", **ask | {"progress": True})
    assert "growing: " in seen[0]
    assert ", 512 masks, " in seen[0].split("growing: ")[1].splitlines()[0]
    assert found.num_masks == 640
    assert np.array_equal(found.tensors["scores"], whole.tensors["scores"])
    assert np.array_equal(found.value, whole.value)


def test_seeds_follow_from_content(example: tuple[ProjectionAdapter, Run]) -> None:
    _, run = example
    found = run.importance("every")
    assert found is not None
    contents = [video["sha256"] for video in found.settings["videos"]]
    seeds = video_seeds(found.settings)
    assert seeds.tolist() == [mask_seed(0, one) for one in contents]
