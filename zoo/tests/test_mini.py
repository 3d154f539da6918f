# SPDX-License-Identifier: MIT
"""The classifier's trainer and the layout probe: their targets, their masks, going on unchanged."""

from __future__ import annotations

import ctypes.util
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

# The data set knows its classes from the scene generator, which loads both when it is imported.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs pip install 'mujoco<4'", allow_module_level=True)
if ctypes.util.find_library("OSMesa") is None:
    pytest.skip("needs the system library libosmesa6", allow_module_level=True)

from zoo.evaluate_mini import evaluate_classes
from zoo.mini_ssl import new_model, normalise
from zoo.motions import CLASS_NAMES
from zoo.probe_layout import PENALTIES, accuracies_on_subsets, ridge_scores
from zoo.token_targets import (
    NUM_ROLES,
    TARGET,
    Scenes,
    TokenTargets,
    dense_losses,
    explained_displacement,
    instance_centres,
)
from zoo.train_mini import MiniClassifier, Recipe, Trainer, draw_window
from zoo.training import ResumableTraining

SPEED = 2  # pixels a frame
LEFT, RIGHT = CLASS_NAMES.index("push_left"), CLASS_NAMES.index("push_right")


def moving_square(num_clips: int = 1) -> Scenes:
    """A target of 16 x 16 pixels that moves to the right, hidden by nothing."""
    instances = np.zeros((num_clips, 16, 64, 64), np.uint8)
    for frame in range(16):
        instances[:, frame, 24:40, SPEED * frame : SPEED * frame + 16] = TARGET
    amodal = instances == TARGET
    generator = torch.Generator().manual_seed(0)
    shape = (num_clips, 16, 64, 64, 3)
    return Scenes(
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        torch.from_numpy(instances),
        torch.from_numpy(np.packbits(amodal, axis=-1)),
        torch.from_numpy(instance_centres(instances, amodal)),
        torch.full((num_clips,), RIGHT),
    )


def test_centres_follow_the_target_also_when_it_is_hidden():
    instances = np.zeros((1, 2, 64, 64), np.uint8)
    amodal = np.zeros_like(instances, bool)
    amodal[0, :, 10:20, 30:40] = True
    instances[0, 0][amodal[0, 0]] = TARGET
    instances[0, 1, :32] = 3  # the screen hides it
    centres = instance_centres(instances, amodal)
    np.testing.assert_allclose(centres[0, :, TARGET], [[34.5, 14.5]] * 2)
    np.testing.assert_allclose(centres[0, 1, 3], [31.5, 15.5])
    assert np.isnan(centres[0, 0, 3]).all()
    assert np.isnan(centres[..., 0, :]).all()


def test_token_targets_of_a_moving_square():
    targets = TokenTargets.of(moving_square().batch(torch.arange(1)))
    roles = targets.roles.reshape(8, 8, 8, NUM_ROLES)
    torch.testing.assert_close(roles.sum(-1), torch.ones(8, 8, 8))
    assert roles[0, 3, 0, TARGET] == 0.875  # columns 0..15 in frame 0, 2..17 in frame 1
    assert roles[0, 0, 0, 0] == 1
    seen = targets.moving.bool()
    assert torch.equal(seen, targets.roles[..., TARGET] > 0.25)
    expected = torch.tensor([SPEED / 1.5, 0.0]).expand(int(seen.sum()), 2)
    torch.testing.assert_close(targets.displacement[seen], expected)
    torch.testing.assert_close(targets.amodal, targets.roles[..., TARGET])


def test_mirrored_clips_move_the_other_way_and_change_their_class():
    scenes = moving_square(2)
    plain = scenes.batch(torch.arange(2))
    mirrored = scenes.batch(torch.arange(2), torch.tensor([True, False]))
    assert mirrored.labels.tolist() == [LEFT, RIGHT]
    torch.testing.assert_close(mirrored.frames[0], plain.frames[0].flip(2))
    torch.testing.assert_close(mirrored.frames[1], plain.frames[1])
    before, after = TokenTargets.of(plain), TokenTargets.of(mirrored)

    def grid(field: Tensor) -> Tensor:
        return field[0].unflatten(0, (8, 8, 8))

    torch.testing.assert_close(grid(after.roles), grid(before.roles).flip(2))
    torch.testing.assert_close(
        grid(after.displacement), grid(before.displacement).flip(2) * torch.tensor([-1.0, 1.0])
    )


def test_perfect_predictions_have_the_smallest_loss():
    targets = TokenTargets.of(moving_square().batch(torch.arange(1)))
    logits = (targets.roles + 1e-4).log()
    amodal = (targets.amodal.clamp(1e-4, 1 - 1e-4)).logit()
    perfect = torch.cat([logits, targets.displacement, amodal[..., None]], -1)
    best, error = dense_losses(perfect, targets), explained_displacement(perfect, targets)
    assert best["displacement"] == 0
    assert error[0] == 0 < error[1]
    other = dense_losses(perfect + 0.3 * torch.randn(perfect.shape), targets)
    assert all(best[name] < other[name] for name in best)


def test_windows_keep_a_square_of_every_frame():
    centres = torch.tensor([[4.0, 60.0]] * 40 + [[torch.nan, torch.nan]])
    dropped = draw_window(centres, 1.0, torch.Generator().manual_seed(0))
    kept = ~dropped.reshape(-1, 8, 8, 8)
    assert (kept == kept[:, :1]).all()
    for clip in kept[:, 0]:
        rows, columns = clip.any(1), clip.any(0)
        assert (rows.sum(), columns.sum(), clip.sum()) == (6, 6, 36)
    assert kept[:40, 0, 7, 0].float().mean() > 0.3  # corner of the window on the left, at the foot
    assert kept[:40, 0, 6, 1].all()
    anywhere = ~draw_window(centres, 0.0, torch.Generator().manual_seed(0)).reshape(-1, 8, 8, 8)
    assert 0 < anywhere[:, 0, 7, 0].float().mean() < 0.3


def test_logits_are_those_of_the_library():
    scenes = moving_square(2)
    modules = MiniClassifier(0).eval()
    clips = normalise(scenes.frames)
    with torch.no_grad():
        logits, tokens = modules(clips)
        torch.testing.assert_close(logits, modules.model(clips).logits)
    assert tokens.shape == (2, 512, NUM_ROLES + 3)
    assert modules.model.config.id2label[RIGHT] == "push_right"


def test_encoder_starts_from_a_pre_trained_one(tmp_path: Path):
    trained = new_model(3)
    trained.save_pretrained(tmp_path)
    modules = MiniClassifier(0, tmp_path).eval()
    clips = normalise(moving_square().frames)
    with torch.no_grad():
        tokens = modules.model.fc_norm(modules.model.videomae(clips).last_hidden_state)
        torch.testing.assert_close(tokens, trained.eval().videomae(clips).last_hidden_state)


RECIPE = Recipe(dense_steps=2, steps=4, batch_size=2, warmup_steps=1, window_share=0.5)


def training(folder: Path) -> tuple[Trainer, ResumableTraining]:
    scenes = moving_square(3)
    trainer = Trainer(RECIPE, scenes, scenes)
    return trainer, ResumableTraining(folder, RECIPE, trainer.modules, trainer.optimizer, 3)


def test_stopped_run_goes_on_unchanged(tmp_path: Path):
    trainer, whole = training(tmp_path / "whole")
    whole.train(trainer.update, trainer.evaluate, every=2)
    other, stopped = training(tmp_path / "stopped")
    stopped.train(other.update, other.evaluate, every=2, until=3)
    again, resumed = training(tmp_path / "stopped")
    assert resumed.step == 3
    resumed.train(again.update, again.evaluate, every=2)
    expected, got = trainer.modules.state_dict(), again.modules.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    again.export(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 6e6


def test_checkpoint_of_another_training_is_refused(tmp_path: Path):
    trainer, first = training(tmp_path)
    first.save()
    for recipe, clips, message in (
        (Recipe(dense_steps=2, steps=5), 3, "another recipe"),
        (RECIPE, 4, "trained on 3 clips"),
    ):
        with pytest.raises(ValueError, match=message):
            ResumableTraining(tmp_path, recipe, trainer.modules, trainer.optimizer, clips)


class BrightestFrame(nn.Module):
    """Calls a clip ``push_right`` when its last frame is its brightest, else ``push_left``."""

    def forward(self, clips: Tensor) -> object:
        brightness = clips.mean((2, 3, 4))  # [B, T]
        logits = torch.zeros(len(clips), len(CLASS_NAMES))
        rising = brightness[:, -1] > brightness[:, 0]
        logits[:, RIGHT], logits[:, LEFT] = rising.float(), (~rising).float()
        return type("Output", (), {"logits": logits})()


def test_evaluation_of_a_model_that_reads_time():
    """It is perfect, falls to chance where time stands still, and swaps when time is reversed."""
    ramp = torch.linspace(0, 255, 16).to(torch.uint8)[:, None, None, None].expand(16, 64, 64, 3)
    frames = torch.stack([ramp, ramp.flip(0)] * 10)
    labels = np.array([RIGHT, LEFT] * 10)
    result = evaluate_classes(BrightestFrame(), frames, labels)
    assert result["accuracy"] == 1
    assert result["confusion"][RIGHT][RIGHT] == result["confusion"][LEFT][LEFT] == 10
    assert result["without_motion"]["frame_8_repeated"]["accuracy"] == 0.5
    assert result["time_reversed"]["push_left"]["opposite"] == 1


def test_probe_is_ridge_regression():
    rng = np.random.default_rng(0)
    train, test = (torch.from_numpy(rng.normal(size=(n, 40))).float() for n in (60, 9))
    labels = torch.from_numpy(rng.integers(0, len(CLASS_NAMES), 60))
    wanted = np.eye(len(CLASS_NAMES))[labels]
    wanted = wanted - wanted.mean(0)
    for penalty in PENALTIES[:2]:
        reference = Ridge(penalty * 40 / 100, fit_intercept=False).fit(train.numpy(), wanted)
        scores = ridge_scores(train, labels, test, penalty)
        np.testing.assert_allclose(scores, reference.predict(test.numpy()), rtol=1e-3, atol=1e-5)


def test_accuracy_when_some_classes_do_not_exist():
    """Two classes that are always taken for each other, among twelve: by hand."""
    labels = torch.arange(12)
    scores = torch.eye(12)
    scores[0, 1] = scores[1, 0] = 2.0
    over_all = accuracies_on_subsets(scores, labels, 12)
    assert over_all.tolist() == pytest.approx([10 / 12])
    nine = accuracies_on_subsets(scores, labels, 9)
    assert len(nine) == 220
    # Both confused classes are among 9 of 12 in 120 of the 220 choices; then 7 of 9 are right.
    assert nine.mean() == pytest.approx((120 * 7 / 9 + 100) / 220)
