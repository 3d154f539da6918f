# SPDX-License-Identifier: MIT
"""The self-supervised trainer: its task is VideoMAE's own, and a stopped run goes on unchanged."""

from __future__ import annotations

import ctypes.util
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import VideoMAEForPreTraining

# The data set knows its classes from the scene generator, which loads both when it is imported.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs pip install 'mujoco<4'", allow_module_level=True)
if ctypes.util.find_library("OSMesa") is None:
    pytest.skip("needs the system library libosmesa6", allow_module_level=True)

from zoo.evaluate_mini_ssl import best_cluster_ious, nearest_visible, object_tokens, with_place
from zoo.mini_ssl import (
    NUM_TOKENS,
    new_model,
    normalise,
    random_mask,
    reconstruct,
    reconstruction_error,
    shown_tokens,
    tube_mask,
)
from zoo.start import set_scaffold, starting_model
from zoo.train_mini_ssl import Recipe, Run, augment, sample_masked


@pytest.fixture(scope="module")
def frames() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (6, 16, 64, 64, 3), dtype=torch.uint8, generator=generator)


def masked_tokens(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 1].reshape(len(mask), -1)


def test_masks_hide_three_quarters():
    generator = torch.Generator().manual_seed(0)
    for mask in (tube_mask(5, generator), random_mask(5, generator)):
        assert mask.shape == (5, NUM_TOKENS)
        assert (mask.sum(1) == NUM_TOKENS * 3 // 4).all()
    tubes = tube_mask(5, generator).reshape(5, 8, 64)
    assert (tubes == tubes[:, :1]).all()
    shown = shown_tokens(mask)
    assert torch.equal(shown, mask.logical_not().nonzero()[:, 1].reshape(5, -1))


def test_task_is_that_of_the_library(frames):
    """Logits equal VideoMAEForPreTraining's, and so does the loss where every patch has contrast.

    The library divides by the unbiased deviation without a floor: on noise of deviation .29 both
    differences stay below one per cent.
    """
    model = starting_model(frames, seed=0).eval()
    mask = tube_mask(2, torch.Generator().manual_seed(1))
    inputs = normalise(frames[:2])
    with torch.no_grad():
        expected = model(inputs, bool_masked_pos=mask)
        predictions = reconstruct(model, inputs, shown_tokens(mask), masked_tokens(mask))
    torch.testing.assert_close(predictions, expected.logits, rtol=1e-5, atol=1e-5)
    error = reconstruction_error(predictions, frames[:2], masked_tokens(mask)).mean()
    assert error.item() == pytest.approx(expected.loss.item(), rel=0.015)


def test_decoding_a_sample_takes_only_masked_tokens():
    mask = random_mask(3, torch.Generator().manual_seed(2))
    chosen = sample_masked(mask, 0.25, torch.Generator().manual_seed(3))
    assert chosen.shape == (3, 96)
    assert mask.gather(1, chosen).all()
    assert all(len(row.unique()) == 96 for row in chosen)


def test_scaffold_goes_without_a_trace():
    model = new_model(0)
    own = model.videomae.embeddings.position_embeddings.clone()
    set_scaffold(model, 1.0)
    assert (model.videomae.embeddings.position_embeddings - own).abs().max() > 0.5
    set_scaffold(model, 0.0)
    torch.testing.assert_close(model.videomae.embeddings.position_embeddings, own, rtol=0, atol=0)


def test_whitened_patches(frames):
    """Embedded patches of the data start uncorrelated, with equal deviations."""
    model = starting_model(frames, seed=0)
    with torch.no_grad():
        embedded = model.videomae.embeddings.patch_embeddings(normalise(frames)).flatten(0, 1)
    covariance = torch.cov(embedded.T)
    assert covariance.diagonal().std() / covariance.diagonal().mean() < 0.2
    off = covariance - covariance.diagonal().diag()
    assert off.abs().max() < 0.2 * covariance.diagonal().mean()


RECIPE = Recipe(steps=4, decay_steps=2, batch_size=2, warmup_steps=1, scaffold_steps=3)


def test_stopped_run_goes_on_unchanged(frames, tmp_path: Path):
    whole = Run(tmp_path / "whole", RECIPE, frames)
    whole.pretrain(frames[:2], every=2)
    whole.export()
    stopped = Run(tmp_path / "stopped", RECIPE, frames)
    stopped.pretrain(frames[:2], every=2, until=2)
    again = Run(tmp_path / "stopped", RECIPE, frames)
    assert again.step == 2
    again.pretrain(frames[:2], every=2)
    again.export()
    weights = [
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "stopped")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    loaded = VideoMAEForPreTraining.from_pretrained(tmp_path / "whole" / "model")
    assert sum(p.numel() for p in loaded.parameters()) * 2 < 6e6


def test_other_recipe_is_refused(frames, tmp_path: Path):
    Run(tmp_path, RECIPE, frames).save()
    with pytest.raises(ValueError, match="trained with another recipe"):
        Run(tmp_path, Recipe(steps=4, decay_steps=2, learning_rate=1.0), frames)


def test_checkpoint_of_another_device_is_refused(frames, tmp_path: Path):
    """Else a run would go on with other random numbers, and a recorded step with a fixed rate."""
    run = Run(tmp_path, RECIPE, frames)
    run.device = torch.device("cuda")
    run.save()
    with pytest.raises(ValueError, match="was trained on a device cuda"):
        Run(tmp_path, RECIPE, frames)


def test_nearest_visible_token():
    mask = torch.ones(1, NUM_TOKENS, dtype=torch.bool)
    mask[0, [0, 511]] = False  # first and last corner
    nearest = nearest_visible(mask)[0].reshape(8, 8, 8)
    assert nearest[0, 0, 1] == 0
    assert nearest[7, 7, 6] == 511


def test_best_cluster_finds_a_planted_object():
    instances = np.zeros((16, 64, 64), np.uint8)
    instances[:, 16:32, 24:40] = 1
    objects = object_tokens(instances)
    assert objects[0].sum() == 8 * 4
    noise = np.random.default_rng(0).normal(0, 0.01, (NUM_TOKENS, 3))
    assert best_cluster_ious(noise + objects[0][:, None], objects, seed=0) == {1: 1.0}


def test_place_beside_colour():
    """Row and column count as much as one colour channel at weight 1, and time does not."""
    colour = np.random.default_rng(0).uniform(0, 255, (2, NUM_TOKENS, 3))
    both = with_place(colour, 1.0)
    np.testing.assert_allclose(both.std((0, 1)), 1, rtol=1e-5)
    grid = both[0, :, 3:].reshape(8, 8, 8, 2)
    assert (grid == grid[:1]).all()
    assert (np.diff(grid[0, :, 0, 0]) > 0).all()
    assert (np.diff(grid[0, 0, :, 1]) > 0).all()


def test_augmented_clips_are_mirrored_and_recoloured(frames):
    """Each is one of the twelve variants of its clip, and all clips do not get the same one."""
    changed = augment(frames, torch.Generator().manual_seed(0))
    variants = [
        (flip, order) for flip in (False, True) for order in itertools.permutations(range(3))
    ]
    found = []
    for clip, result in zip(frames, changed, strict=True):
        fitting = [
            (flip, order)
            for flip, order in variants
            if torch.equal((clip.flip(2) if flip else clip)[..., list(order)], result)
        ]
        assert len(fitting) == 1
        found += fitting
    assert {flip for flip, _ in found} == {False, True}
    assert len({order for _, order in found}) > 1
