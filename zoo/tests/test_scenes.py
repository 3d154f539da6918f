# SPDX-License-Identifier: MIT
"""The scene generator: repeatable, its masks consistent, its clips doing what they are called."""

from __future__ import annotations

import ctypes.util
import importlib.util

import numpy as np
import pytest

# Not importorskip: importing mujoco before zoo chooses the wrong OpenGL backend.
if importlib.util.find_spec("mujoco") is None:
    pytest.skip("needs pip install 'mujoco<4'", allow_module_level=True)
if ctypes.util.find_library("OSMesa") is None:
    pytest.skip("needs the system library libosmesa6", allow_module_level=True)

from zoo.motions import CLASS_NAMES
from zoo.scenes import Clip, SceneRenderer
from zoo.stage import INSTANCE_IDS, NUM_INSTANCES
from zoo.textures import PALETTE_SIZE, PATTERNS, pattern  # isort: split

from mujoco import mj_step  # after zoo, which chooses the OpenGL backend

TARGET = INSTANCE_IDS["target"]


@pytest.fixture(scope="module")
def renderer() -> SceneRenderer:
    return SceneRenderer()


@pytest.fixture(scope="module")
def clips(renderer: SceneRenderer) -> dict[str, Clip]:
    return {label: renderer.clip(label, seed=5) for label in CLASS_NAMES}


def centre(clip: Clip, frame: int) -> np.ndarray:
    """Mean pixel (x, y) of the amodal target in one frame."""
    return np.argwhere(clip.amodal_target[frame])[:, ::-1].mean(0)


def visible_share(clip: Clip, frame: int) -> float:
    return float((clip.instances[frame] == TARGET).sum() / clip.amodal_target[frame].sum())


def test_same_seed_same_clip_whatever_was_rendered_before(renderer, clips):
    again = SceneRenderer().clip("roll", seed=5)
    renderer.clip("cover", seed=11)
    third = renderer.clip("roll", seed=5)
    for clip in (again, third):
        np.testing.assert_array_equal(clip.frames, clips["roll"].frames)
        np.testing.assert_array_equal(clip.instances, clips["roll"].instances)
        np.testing.assert_array_equal(clip.amodal_target, clips["roll"].amodal_target)
        assert clip.caption == clips["roll"].caption


def test_other_seed_other_clip(renderer, clips):
    assert (renderer.clip("roll", seed=6).frames != clips["roll"].frames).mean() > 0.5


@pytest.mark.parametrize("label", CLASS_NAMES)
def test_ids_and_masks(clips, label):
    clip = clips[label]
    assert clip.frames.shape == (16, 64, 64, 3)
    assert clip.frames.dtype == clip.instances.dtype == np.uint8
    assert clip.instances.max() <= NUM_INSTANCES
    assert clip.amodal_target[clip.instances == TARGET].all()
    assert set(np.unique(clip.occluder)) <= set(range(NUM_INSTANCES + 1)) - {TARGET}
    assert set(np.unique(clip.container)) <= {0, INSTANCE_IDS["container"], INSTANCE_IDS["cover"]}


def test_directions(clips):
    for label, way in (("push_right", 1), ("push_left", -1)):
        assert way * (centre(clips[label], 15) - centre(clips[label], 0))[0] > 3
    rolled = (centre(clips["roll"], 15) - centre(clips["roll"], 0))[0]
    assert rolled * (1 if clips["roll"].caption.endswith("right") else -1) > 8


def test_vertical_motions(clips):
    assert (centre(clips["lift"], 15) - centre(clips["lift"], 0))[1] < -5  # rows count downwards
    for label in ("drop_into", "drop_behind", "drop_beside", "drop_onto"):
        heights = [centre(clips[label], frame)[1] for frame in range(16)]
        assert max(heights) - heights[0] > 3


def test_outcomes(clips):
    assert visible_share(clips["cover"], 0) > 0.5 > 0.1 > visible_share(clips["cover"], 15)
    assert visible_share(clips["uncover"], 0) < 0.1 < 0.5 < visible_share(clips["uncover"], 15)
    assert clips["cover"].container[15] == INSTANCE_IDS["cover"]
    assert clips["drop_into"].container[15] == INSTANCE_IDS["container"]
    assert clips["drop_behind"].occluder[15] == INSTANCE_IDS["occluder"]
    assert clips["drop_onto"].container[15] == 0


def test_walled_props_are_boxes(renderer):
    """Moved side walls must not collapse onto the base: the container is as wide as it was set."""
    renderer.clip("drop_into", seed=5)
    model = renderer.stage.model
    sides = [model.geom(f"container_{side}") for side in range(1, 5)]
    assert model.geom_sameframe.max() == 0
    assert all(np.abs(side.pos[:2]).max() > 0.2 for side in sides)


def test_what_one_class_needs_stands_about_in_the_others(renderer):
    """A third of the other classes' clips show it at least; and something is held in the air."""
    owners = {
        "container": ("drop_into",),
        "occluder": ("drop_behind",),
        "block": ("drop_onto",),
        "cover": ("cover", "uncover"),
        "pusher": ("push_left", "push_right", "topple"),
    }
    seen: dict[str, list[bool]] = {name: [] for name in owners}
    for label in CLASS_NAMES:
        for seed in range(4):
            ids = np.unique(renderer.clip(label, seed=100 + seed).instances)
            for name, classes in owners.items():
                if label not in classes:
                    seen[name].append(INSTANCE_IDS[name] in ids)
    shares = {name: np.mean(flags) for name, flags in seen.items()}
    assert min(shares.values()) > 0.2, shares
    assert np.mean(list(shares.values())) > 1 / 3, shares


def test_simulation_that_was_given_up_is_noticed(renderer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log
    stage = renderer.stage
    stage.reset(np.random.default_rng(0))
    assert not renderer._unstable()
    stage.data.qvel[:] = np.inf
    mj_step(stage.model, stage.data)
    assert renderer._unstable()
    stage.reset(np.random.default_rng(0))
    assert not renderer._unstable()


def test_unknown_class(renderer):
    with pytest.raises(ValueError, match=r"label expected one of .* got 'explode'"):
        renderer.clip("explode", seed=0)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_mix_several_colours(name):
    levels = pattern(np.random.default_rng(3), name, 64)
    assert levels.shape == (64, 64)
    assert 0 <= levels.min() < levels.max() <= PALETTE_SIZE - 1
