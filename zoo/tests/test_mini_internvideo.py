# SPDX-License-Identifier: MIT
"""The video-text trainer: its targets are what the masks show, and a stopped run goes on."""

from __future__ import annotations

import ctypes.util
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

# The data set knows its classes from the scene generator, which loads both when it is imported.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs pip install 'mujoco<4'", allow_module_level=True)
if ctypes.util.find_library("OSMesa") is None:
    pytest.skip("needs the system library libosmesa6", allow_module_level=True)

import vtcd_ops
from zoo.captioned_clips import Scenes, draw_batch, draw_stills, take
from zoo.evaluate_mini_internvideo import CONTROLS, evaluate
from zoo.frame_targets import (
    FARTHEST,
    FASTEST,
    GRID,
    NUM_FRAMES,
    NUM_ROLES,
    WEIGHTS,
    FrameTargets,
    Prediction,
    dense_losses,
    explained,
    instance_centres,
    watch,
)
from zoo.mini_internvideo import Captions, appearance, mirror, motion, normalise
from zoo.start_internvideo import starting_model
from zoo.train_mini_internvideo import Recipe, Run, Trainer

LOOKS = ("a striped ball", "a spotted can")
MOTIONS = ("is lifted up", "rolls across the floor to the left", "stays where it is")


def scenes(clips: int = 6) -> Scenes:
    """Noise, over which a square of 8 pixels moves to the right, two pixels a frame."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (clips, 16, 64, 64, 3), dtype=np.uint8)
    instances = np.zeros((clips, 16, 64, 64), np.uint8)
    for frame in range(16):
        instances[:, frame, 16:24, 8 + 2 * frame : 16 + 2 * frame] = 1
    captions = [f"{LOOKS[i % 2]} {MOTIONS[i % 3]}" for i in range(clips)]
    return Scenes(
        torch.from_numpy(frames),
        torch.from_numpy(instances),
        torch.from_numpy(np.packbits(instances == 1, axis=-1)),
        torch.from_numpy(instance_centres(instances)),
        captions,
    )


def test_captions():
    captions = Captions.of([f"{LOOKS[0]} {text}" for text in MOTIONS])
    assert len(captions.texts) == 4  # the roll to the right too
    assert mirror("a can is pushed from right to left") == "a can is pushed from left to right"
    assert (appearance(captions.texts[0]), motion(captions.texts[0])) == (LOOKS[0], MOTIONS[0])
    chosen = captions.texts[2]
    assert captions.numbers([chosen]).tolist() == [2]


def test_every_word_is_one_token():
    data = scenes()
    trainer = Trainer(Recipe(1, 2, 4), data, data)
    words = torch.tensor([len(text.split()) for text in trainer.captions.texts])
    assert torch.equal((trainer.tokens > 0).sum(1), words + 2)


def targets_of(data: Scenes, mirrored: bool = False) -> FrameTargets:
    """Of the even frames of the first two clips."""
    flips = torch.full((2,), mirrored)
    batch = take(data, torch.arange(2), torch.zeros(2, dtype=torch.long), flips)
    return FrameTargets.of(batch.instances, batch.centres, batch.amodal)


def test_targets_are_what_the_masks_show():
    targets = targets_of(scenes())
    assert targets.roles.shape == (2, NUM_FRAMES, GRID * GRID, NUM_ROLES)
    torch.testing.assert_close(targets.roles.sum(-1), torch.ones(2, NUM_FRAMES, GRID * GRID))
    first = targets.roles[0, 0].view(GRID, GRID, NUM_ROLES)
    assert first[2, 1, 1] == 1  # rows 16-24, columns 8-16
    assert first[..., 1].sum() == 1
    assert torch.equal(targets.amodal, targets.roles[..., 1])
    # every other frame: four pixels to the right, nothing up or down
    moved = targets.displacement[targets.moving.bool()]
    expected = torch.tensor([4 / FASTEST, 0.0]).expand_as(moved)
    torch.testing.assert_close(moved, expected)
    assert targets.changes[0, 0].view(GRID, GRID, NUM_ROLES)[2, 1, 1] == -0.5


def test_targets_know_where_things_are():
    targets = targets_of(scenes())
    # in the second frame the square fills half of two patches, and its middle is on their border
    offset = targets.offset[0, 1].view(GRID, GRID, 2)
    torch.testing.assert_close(offset[2, 1], torch.tensor([4 / FARTHEST, 0.0]))
    torch.testing.assert_close(offset[2, 2], torch.tensor([-4 / FARTHEST, 0.0]))
    assert targets.solid[0, 1].sum() == 2
    x = 11.5 + 4 * torch.arange(NUM_FRAMES)
    torch.testing.assert_close(targets.place[0, :, 0], x / 31.5 - 1)
    torch.testing.assert_close(targets.place[0, :, 1], torch.full((NUM_FRAMES,), 19.5 / 31.5 - 1))
    assert bool(targets.placed.all())
    assert not bool(targets.hidden.any())


def test_what_is_hidden_or_away_is_known():
    data = scenes()
    data.instances[0] = 3  # something stands before everything
    data.amodal[1] = 0
    targets = targets_of(data)
    assert bool((targets.hidden[0] == 1).all())
    assert bool((targets.placed[0] == 1).all())
    assert not bool(targets.placed[1].any())


def test_mirrored_clips_have_mirrored_targets():
    data = scenes()
    still = torch.zeros(1, dtype=int)
    plain, mirrored = (
        take(data, torch.tensor([1]), still, torch.tensor([flip])) for flip in (False, True)
    )
    assert torch.equal(mirrored.frames, plain.frames.flip(3))
    assert mirrored.captions == [mirror(plain.captions[0])]
    one, other = targets_of(data), targets_of(data, mirrored=True)
    shape = (2, NUM_FRAMES, GRID, GRID, -1)
    turn = torch.tensor([-1.0, 1.0])
    assert torch.equal(other.roles.view(shape), one.roles.view(shape).flip(3))
    for name, where in (("displacement", "moving"), ("offset", "solid")):
        counts = getattr(one, where).view(shape)
        expected = (getattr(one, name).view(shape) * counts).flip(3) * turn
        found = getattr(other, name).view(shape) * getattr(other, where).view(shape)
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(other.place, one.place * turn, atol=1e-6, rtol=0)


def test_right_predictions_cost_nothing_but_their_entropy():
    targets = targets_of(scenes())
    sure = 20 * (2 * targets.roles - 1)  # logits
    frames = [torch.cat([sure, targets.offset], -1)]
    tokens = [torch.cat([sure, 20 * (2 * targets.amodal[..., None] - 1)], -1)]
    moves = [torch.cat([targets.changes, targets.displacement], -1)]
    video = torch.cat([targets.place, torch.full_like(targets.hidden, -20.0)[..., None]], -1)
    losses = dense_losses(Prediction(frames, tokens, moves, video), targets)
    assert set(losses) == set(WEIGHTS)
    for name in ("offset", "changes", "displacement", "place", "hidden"):
        assert losses[name] < 1e-6, name
    worse = Prediction(frames, tokens, [moves[0] + 0.5], video + 0.5)
    for name in ("changes", "displacement", "place"):
        assert dense_losses(worse, targets)[name] > 0.05, name


def test_explained_is_that_of_the_mean():
    truth = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]])
    counts = torch.tensor([[1, 1, 0]])
    assert explained(truth, truth, counts) == (0, 2)
    assert explained(torch.zeros_like(truth), truth, counts) == (10, 2)


def test_start_compares_frames():
    """Half of what the decoder reads is the difference of two frames, half the frame."""
    frames = scenes().frames
    model = starting_model(frames, vocab_size=40, seed=0).visual.transformer
    with torch.no_grad():
        for convolution in model.dpe:
            noise = convolution.weight.clone()
            noise[::2, 0, :, 1, 1] -= torch.tensor([-1.0, -1.0, 1.0])
            convolution.weight.sub_(noise)
        x = torch.randn(NUM_FRAMES, 1 + GRID * GRID, 128)
        read = model.neighbours(x, 0)[0]
    torch.testing.assert_close(read[:, 1:, 1::2], x[:, 1:, 1::2])
    torch.testing.assert_close(read[1:-1, 1:, ::2], x[2:, 1:, ::2] - x[:-2, 1:, ::2])


def test_start_whitens_patches():
    frames = torch.randint(0, 256, (70, 16, 64, 64, 3), dtype=torch.uint8)
    tower = starting_model(frames, vocab_size=40, seed=0).visual
    with torch.no_grad():
        embedded = tower.conv1(normalise(frames[:8])).permute(0, 2, 3, 4, 1).flatten(0, 3)
    spread = torch.cov(embedded.T)
    torch.testing.assert_close(spread.diagonal(), torch.ones(128), atol=0.15, rtol=0)
    assert (spread - spread.diagonal().diag()).abs().max() < 0.15


def test_stills_are_single_frames():
    """Their targets are those of the same frame among others, motion aside."""
    data = scenes()
    batch = draw_stills(data, 5, torch.Generator().manual_seed(3))
    assert batch.frames.shape == (5, 1, 64, 64, 3)
    targets = FrameTargets.of(batch.instances, batch.centres, batch.amodal)
    assert not bool(targets.moving.any())
    assert not bool(targets.changes.any())
    even = take(data, torch.tensor([0]), torch.zeros(1, dtype=int), torch.zeros(1).bool())
    among = FrameTargets.of(even.instances, even.centres, even.amodal)
    alone = FrameTargets.of(even.instances[:, 2:3], even.centres[:, 2:3], even.amodal[:, 2:3])
    assert torch.equal(alone.roles, among.roles[:, 2:3])
    assert torch.equal(alone.offset, among.offset[:, 2:3])


def test_heads_see_the_same_in_a_still_and_in_a_clip():
    data = scenes()
    trainer = Trainer(Recipe(1, 2, 4), data, data)
    batch = take(data, torch.arange(2), torch.zeros(2, dtype=int), torch.zeros(2).bool())
    video = normalise(batch.frames)
    with torch.no_grad(), watch(trainer.model) as seen:
        prediction = trainer.heads(seen, trainer.model.encode_video(video))
        alone = trainer.heads.of_stills(trainer.model.visual, video[:, :, 3:4])
    for one, other in zip(prediction.frames, alone, strict=True):
        torch.testing.assert_close(one[:, 3:4], other, atol=1e-4, rtol=1e-4)


def test_batches_follow_from_the_step():
    data, recipe = scenes(), Recipe(1, 2, 4)
    one, other = (
        draw_batch(data, recipe.batch_size, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(one.frames, other.frames)
    assert one.captions == other.captions


def trained(
    folder: Path, recipe: Recipe, clips: int = 6, until: int | None = None
) -> tuple[Trainer, Run]:
    """A run that goes on from what is in the folder."""
    data = scenes(clips)
    trainer = Trainer(recipe, data, scenes())
    run = Run(folder, trainer)
    run.train(trainer.update, trainer.evaluate, every=10, until=until)
    return trainer, run


def test_a_stopped_run_goes_on_unchanged(tmp_path: Path):
    """Through all stages."""
    recipe = Recipe(1, 2, 4, num_stills=2, batch_size=2, decay_steps=1)
    whole, _ = trained(tmp_path / "one", recipe)
    trained(tmp_path / "two", recipe, until=3)
    again, run = trained(tmp_path / "two", recipe)
    assert run.step == 4
    for one, other in zip(whole.modules.parameters(), again.modules.parameters(), strict=True):
        assert torch.equal(one, other)
    again.export(tmp_path / "model")
    adapter = vtcd_ops.load_model(tmp_path / "model")
    with torch.no_grad():
        expected = whole.model.eval().text_features(again.tokens)
    found = adapter.text_features(list(again.captions.texts))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)  # float16


def test_another_recipe_is_refused(tmp_path: Path):
    recipe = Recipe(1, 2, 6, num_stills=2, batch_size=2, decay_steps=2)
    trained(tmp_path, recipe, until=3)
    _, longer = trained(tmp_path, replace(recipe, steps=9), until=3)
    assert longer.step == 3
    with pytest.raises(ValueError, match="another recipe"):
        trained(tmp_path, replace(recipe, seed=1))
    with pytest.raises(ValueError, match="was trained on 6 clips"):
        trained(tmp_path, replace(recipe, steps=9), clips=3)
    trained(tmp_path, replace(recipe, steps=9), until=8)
    with pytest.raises(ValueError, match="already falling"):
        trained(tmp_path, replace(recipe, steps=12))


def test_evaluation_knows_right_from_wrong(tmp_path: Path):
    """Features that are those of the captions score 1; the controls change the frames."""
    data = scenes()
    Trainer(Recipe(1, 1, 2), data, data).export(tmp_path / "model")
    adapter = vtcd_ops.load_model(tmp_path / "model")
    frames = data.frames[:, ::2]
    for name, change in CONTROLS.items():
        assert change(frames).shape == frames.shape
        assert torch.equal(change(frames), frames) == (name == "as filmed")
    texts = dict(zip(map(float, range(6)), data.captions, strict=True))

    def from_caption(clips: torch.Tensor) -> torch.Tensor:  # a clip's first value is its number
        return adapter.model.text_features(
            [texts[round(float(clip))] for clip in clips[:, 0, 0, 0, 0]]
        )

    adapter.model.video_features = from_caption
    numbered = torch.zeros(frames.shape)
    numbered[:, :] = torch.arange(6.0).view(6, 1, 1, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.evaluate_mini_internvideo.normalise", lambda x: x.permute(0, 4, 1, 2, 3))
        result = evaluate(adapter, numbered, data.captions, data.captions)
    found = result["controls"]["as filmed"]
    assert all(found[key]["mean"] == 1 for key in ("caption", "motion", "appearance", "clip"))
    assert found["motion"]["chance"] < 1
