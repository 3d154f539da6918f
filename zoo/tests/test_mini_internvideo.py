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
from zoo.captioned_clips import Scenes, draw_batch, take
from zoo.evaluate_mini_internvideo import CONTROLS, evaluate
from zoo.mini_internvideo import (
    FASTEST,
    GRID,
    NUM_FRAMES,
    NUM_ROLES,
    Captions,
    appearance,
    instance_centres,
    learn_merges,
    mirror,
    motion,
    token_targets,
)
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
    texts = Captions.of([f"{look} {text}" for look in LOOKS for text in MOTIONS]).texts
    tokenizer = Trainer(Recipe(2, 4), learn_merges(texts), list(texts)).tokens
    words = torch.tensor([len(text.split()) for text in texts])
    assert torch.equal((tokenizer > 0).sum(1), words + 2)


def test_targets_are_what_the_masks_show():
    everything = take(scenes(), torch.arange(2), torch.zeros(2, dtype=int), torch.zeros(2).bool())
    targets = token_targets(everything.instances, everything.centres, everything.amodal)
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


def test_mirrored_clips_have_mirrored_targets():
    data = scenes()
    still = torch.zeros(1, dtype=int)
    plain, mirrored = (
        take(data, torch.tensor([1]), still, torch.tensor([flip])) for flip in (False, True)
    )
    assert torch.equal(mirrored.frames, plain.frames.flip(3))
    assert mirrored.captions == [mirror(plain.captions[0])]
    one, other = (
        token_targets(batch.instances, batch.centres, batch.amodal) for batch in (plain, mirrored)
    )
    shape = (1, NUM_FRAMES, GRID, GRID, -1)
    assert torch.equal(other.roles.view(shape), one.roles.view(shape).flip(3))
    expected = one.displacement.view(shape).flip(3) * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(other.displacement.view(shape), expected)


def test_batches_follow_from_the_step():
    data, recipe = scenes(), Recipe(2, 4)
    one, other = (
        draw_batch(data, recipe.batch_size, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(one.frames, other.frames)
    assert one.captions == other.captions


def test_a_stopped_run_goes_on_unchanged(tmp_path: Path):
    """Through both stages."""
    recipe = Recipe(2, 4, batch_size=2, decay_steps=1)
    data = scenes()
    through = Run(tmp_path / "one", recipe, data)
    through.train(data, every=10)
    stopped = Run(tmp_path / "two", recipe, data)
    stopped.train(data, every=10, until=3)
    again = Run(tmp_path / "two", recipe, data)
    assert again.number == 3
    again.train(data, every=10)
    for one, other in zip(through.trainer.parameters, again.trainer.parameters, strict=True):
        assert torch.equal(one, other)
    again.export()
    adapter = vtcd_ops.load_model(tmp_path / "two/model")
    with torch.no_grad():
        expected = through.trainer.model.eval().text_features(again.trainer.tokens)
    found = adapter.text_features(list(again.trainer.captions.texts))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)  # float16


def test_another_recipe_is_refused(tmp_path: Path):
    recipe = Recipe(2, 6, batch_size=2, decay_steps=2)
    data = scenes()
    Run(tmp_path, recipe, data).train(data, every=10, until=3)
    longer = Run(tmp_path, replace(recipe, steps=9), data)
    assert longer.number == 3
    with pytest.raises(ValueError, match="another recipe"):
        Run(tmp_path, replace(recipe, seed=1), data)
    with pytest.raises(ValueError, match="was trained on 6 clips"):
        Run(tmp_path, recipe, scenes(3))
    Run(tmp_path, recipe, data).train(data, every=10, until=5)
    with pytest.raises(ValueError, match="already falling"):
        Run(tmp_path, replace(recipe, steps=9), data)


def test_evaluation_knows_right_from_wrong(tmp_path: Path):
    """Features that are those of the captions score 1; the controls change the frames."""
    data = scenes()
    run = Run(tmp_path, Recipe(1, 2, batch_size=2, decay_steps=1), data)
    run.export()
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
