# SPDX-License-Identifier: MIT
"""The tracker's trainer: questions and answers fit, a stopped run goes on, scores are right."""

from __future__ import annotations

import ctypes.util
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

# The data set knows its classes from the scene generator, which loads both when it is imported.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs pip install 'mujoco<4'", allow_module_level=True)
if ctypes.util.find_library("OSMesa") is None:
    pytest.skip("needs the system library libosmesa6", allow_module_level=True)

from vtcd_tcow.convert import save

from zoo.evaluate_mini_tcow import evaluate, follow, iou, mean_over_clips
from zoo.mini_tcow import Batch, Scenes, ask, choose_objects, loss, new_model
from zoo.train_mini_tcow import (
    Recipe,
    augment,
    begin,
    draw_frames,
    make_optimizer,
    scores,
    train_step,
)
from zoo.training import ResumableTraining

OCCLUDER, CONTAINER = 3, 2
NUM_CLIPS = 6


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """A square that moves right, four pixels a frame, behind a bar, and into a box at the end."""
    rng = np.random.default_rng(0)
    instances = np.zeros((NUM_CLIPS, 16, 64, 64), np.uint8)
    amodal = np.zeros((NUM_CLIPS, 16, 64, 64), bool)
    for frame in range(16):
        left = min(4 * frame, 44)
        amodal[:, frame, 24:34, left : left + 10] = True
    instances[amodal] = 1
    instances[:, :, 10:44, 28:36] = OCCLUDER
    instances[:, :, 28:36, 40:60] = CONTAINER
    instances[:, :, 50:60, 4:14] = 7
    occluder = np.zeros((NUM_CLIPS, 16), np.uint8)
    hidden = (amodal & (instances == OCCLUDER)).sum((2, 3))
    occluder[hidden > 0] = OCCLUDER
    container = np.zeros_like(occluder)
    container[:, 12:] = CONTAINER
    frames = rng.integers(0, 256, (NUM_CLIPS, 16, 64, 64, 3)).astype(np.uint8)
    frames += instances[..., None] * 20
    return Scenes(
        frames=torch.from_numpy(frames),
        instances=torch.from_numpy(instances),
        amodal=torch.from_numpy(np.packbits(amodal, axis=-1)),
        occluder=torch.from_numpy(occluder),
        container=torch.from_numpy(container),
        label=np.array(["slide"] * NUM_CLIPS),
    )


EVERY = torch.arange(NUM_CLIPS)


def test_answers_to_the_target(scenes: Scenes) -> None:
    batch = ask(scenes, EVERY, torch.ones(NUM_CLIPS, dtype=torch.long))
    assert (batch.query == (scenes.instances[:, 0] == 1)).all()
    assert (batch.masks[:, 0].sum((2, 3)) == 100).all()  # hidden parts too
    where = batch.masks[0, 1].flatten(1).any(1).nonzero().flatten().tolist()
    assert where == [5, 6, 7, 8]  # while the square passes behind the bar
    assert (batch.masks[:, 2].flatten(2).any(2) == (scenes.container > 0)).all()
    assert batch.known.all()
    assert batch.flags[0, 0].tolist() == [0, 0, 0]
    assert batch.flags[0, 15, 1] == 1
    assert 0 < batch.flags[0, 7, 2] < 1
    rgb, query = batch.inputs()
    assert rgb.shape == (NUM_CLIPS, 3, 16, 64, 64)
    assert float(rgb.max()) <= 1
    assert query[:, :, 0].any()
    assert not query[:, :, 1:].any()


def test_answers_to_another_object_and_to_nothing(scenes: Scenes) -> None:
    batch = ask(scenes, EVERY[:2], torch.tensor([7, 0]))
    assert batch.masks[0, 0].flatten(1).sum(1).tolist() == [100] * 16
    assert batch.known.tolist() == [[True, False, False], [True, True, True]]
    assert not batch.query[1].any()
    assert not batch.masks[1].any()


def test_objects_asked_for(scenes: Scenes) -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.zeros(4000, dtype=torch.long)
    asked = choose_objects(scenes, index, 0.3, 0.1, generator)
    shares = torch.bincount(asked, minlength=8) / len(asked)
    assert shares[0] == pytest.approx(0.1, abs=0.02)
    assert shares[1] == pytest.approx(0.6, abs=0.03)
    assert shares[[OCCLUDER, CONTAINER, 7]].sum() == pytest.approx(0.3, abs=0.03)
    assert shares[[4, 5, 6]].sum() == 0  # not there
    blind = replace(scenes, instances=torch.where(scenes.instances == 1, 0, scenes.instances))
    assert not (choose_objects(blind, index, 0.3, 0.1, generator) == 1).any()


def test_mirrored_answers_stay_on_their_objects(scenes: Scenes) -> None:
    """The brightness of the object goes where its mask goes."""
    white = torch.where(scenes.instances == 1, 255, 0).to(torch.uint8)
    lit = replace(scenes, frames=white[..., None].expand(-1, -1, -1, -1, 3))
    batch = ask(lit, EVERY, torch.ones(NUM_CLIPS, dtype=torch.long))
    changed = augment(batch, torch.Generator().manual_seed(0))
    mirrored = (changed.query != batch.query).flatten(1).any(1)
    assert 0 < int(mirrored.sum()) < NUM_CLIPS
    bright = changed.rgb.float().mean(-1)  # [B, T, S, S]
    first = bright[:, 0]
    assert (first[changed.query] > 150).all()
    assert (first[~changed.query] < 50).all()
    visible = changed.masks[:, 0] & (bright > 100)
    assert (visible.flatten(2).sum(2) == (bright > 100).flatten(2).sum(2)).all()


def test_frames_of_a_step() -> None:
    recipe = Recipe(steps=10, long_steps=3)
    for step in range(10):
        frames = draw_frames(recipe, step, 16, torch.Generator().manual_seed(step))
        assert frames[0] == 0
        assert len(frames) == (16 if step >= 7 else 8)
        assert (frames.diff() > 0).all()


def test_loss_counts_only_what_is_known(scenes: Scenes) -> None:
    batch = ask(scenes, EVERY[:2], torch.tensor([7, 7]))
    logits, flags = torch.zeros(2, 3, 16, 64, 64), torch.zeros(2, 16, 3)
    before = loss(logits, flags, batch)
    logits[:, 1:] = 9.0
    after = loss(logits, flags + 5, batch)
    assert before[0].item() == pytest.approx(np.log(2), rel=1e-5)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    perfect = (batch.masks.float() * 2 - 1) * 30
    assert loss(perfect, flags, batch)[1].item() == pytest.approx(0, abs=1e-5)


def test_hidden_frames_count_more(scenes: Scenes) -> None:
    """Errors in frames where the target is mostly hidden cost more, errors elsewhere less."""
    batch = ask(scenes, EVERY[:2], torch.tensor([1, 1]))
    hidden = batch.flags[..., 2] > 0.5  # [B, T]
    assert 0 < int(hidden.sum()) < hidden.numel()
    flags = torch.zeros(2, 16, 3)
    for wrong, dearer in ((hidden, True), (~hidden, False)):
        answers = batch.masks.float() * 2 - 1
        answers = torch.where(wrong[:, None, :, None, None], -answers, answers) * 5
        plain, weighted = (loss(answers, flags, batch, weight) for weight in (1.0, 3.0))
        for before, after in zip(plain[:2], weighted[:2], strict=True):
            assert bool(after > before) is dearer
    known = ask(scenes, EVERY[:2], torch.tensor([7, 0]))
    plain, weighted = (loss(answers, flags, known, weight) for weight in (1.0, 3.0))
    assert all(map(torch.equal, plain, weighted))  # nothing is known about the target


def test_misses_of_the_other_masks_count_where_there_is_one(scenes: Scenes) -> None:
    """The Dice of occluder and container: in their frames, and only if they are known."""
    flags = torch.zeros(2, 16, 3)

    def dice(batch: Batch, channel: int, frames: slice, others_weight: float) -> float:
        logits = (batch.masks.float() * 2 - 1) * 30
        logits[:, channel, frames] = -30.0
        return float(loss(logits, flags, batch, 1.0, others_weight)[1])

    batch = ask(scenes, EVERY[:2], torch.tensor([1, 1]))  # occluded in frames 5 to 8 only
    assert dice(batch, 1, slice(5, 9), 0.0) == pytest.approx(0, abs=1e-5)
    assert dice(batch, 1, slice(5, 9), 1.0) > 0.05
    assert dice(batch, 1, slice(9, 16), 1.0) == pytest.approx(0, abs=1e-5)
    assert dice(batch, 2, slice(12, 16), 2.0) == pytest.approx(
        2 * dice(batch, 2, slice(12, 16), 1.0), rel=1e-4
    )
    unknown = ask(scenes, EVERY[:2], torch.tensor([7, 7]))
    assert dice(unknown, 1, slice(0, 16), 1.0) == pytest.approx(0, abs=1e-5)


def test_training_begins_with_the_weights_of_another(scenes: Scenes, tmp_path: Path) -> None:
    earlier = new_model(5)
    save(earlier, tmp_path, dtype=torch.float16)
    model = begin(Recipe(start=str(tmp_path)))
    assert model.training
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, earlier.state_dict()[name].half().float()), name
    fresh = begin(Recipe())
    assert all(map(torch.equal, fresh.state_dict().values(), new_model(0).state_dict().values()))


def test_stopped_run_goes_on_unchanged(scenes: Scenes, tmp_path: Path) -> None:
    recipe = Recipe(steps=4, long_steps=1, decay_steps=2, batch_size=2)

    def train(folder: Path, until: int | None = None) -> list[Tensor]:
        model = new_model(0).train()
        optimizer = make_optimizer(model, recipe)
        run = ResumableTraining(folder, recipe, model, optimizer, len(scenes))
        run.train(
            lambda step: train_step(model, optimizer, scenes, recipe, step),
            lambda: scores(model, scenes.first(2)),
            every=2,
            until=until,
        )
        return list(model.state_dict().values())

    whole = train(tmp_path / "whole")
    train(tmp_path / "stopped", until=2)
    assert all(map(torch.equal, whole, train(tmp_path / "stopped")))


class Perfect:
    """Answers as the scene is, whatever its colours."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __call__(self, rgb: Tensor, query: Tensor) -> tuple[Tensor, None]:
        asked = query[:, 0, 0].bool()
        count = len(rgb)
        target = ask(self.scenes, EVERY[:count], torch.ones(count, dtype=torch.long))
        other = ask(self.scenes, EVERY[:count], torch.full((count,), OCCLUDER))
        masks = torch.where(
            (asked == target.query).flatten(1).all(1).view(-1, 1, 1, 1, 1),
            target.masks,
            other.masks,
        )
        masks = masks & asked.flatten(1).any(1).view(-1, 1, 1, 1, 1)
        return masks.float() - 0.5, None


def test_scores_of_a_perfect_tracker_and_of_one_that_sees_nothing(scenes: Scenes) -> None:
    results = evaluate(Perfect(scenes), scenes)  # type: ignore[arg-type]
    target = results["target_amodal_iou"]
    assert target["all"]["tracker"]["mean"] == 1
    assert target["slide"]["tracker"] == target["all"]["tracker"]
    assert target["all"]["tracker"]["frames"] == NUM_CLIPS * 15
    assert 0 < target["all"]["query_mask_stays"]["mean"] < 0.2
    assert target["leaves_its_place"]["tracker"]["clips"] == NUM_CLIPS
    occluders = results["other_masks"]["occluder"]
    assert occluders["iou_where_there_is_one"]["mean"] == 1
    assert occluders["claimed_where_there_is_none"]["mean"] == 0
    query = results["query"]
    assert query["another_object"]["tracker"]["mean"] == 1
    assert query["no_query_share_of_pixels_claimed"] == 0
    nothing = follow(lambda rgb, query: (torch.full((len(rgb), 3, 16, 64, 64), -1.0), None), scenes)  # type: ignore[arg-type]
    assert nothing.summary()["target"] == 0


def test_overlap_and_its_mean() -> None:
    one = torch.zeros(1, 4, 4, dtype=torch.bool)
    one[:, :2] = True
    assert iou(one, one.flip(1)).item() == 0
    assert iou(one, torch.ones_like(one)).item() == 0.5
    assert iou(~one & one, ~one & one).item() == 1
    values = torch.tensor([[1.0, 0.0], [0.5, 0.5], [9.0, 9.0]])
    chosen = torch.tensor([[True, False], [True, True], [False, False]])
    result = mean_over_clips(values, chosen)
    assert result["mean"] == pytest.approx(2 / 3, abs=1e-4)
    assert (result["clips"], result["frames"]) == (2, 3)
