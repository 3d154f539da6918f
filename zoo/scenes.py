# SPDX-License-Identifier: MIT
"""Rendered clips of twelve motion classes, with instance ids and the target's amodal mask.

A clip depends on nothing but its class and its seed. It is simulated first; a clip that does not
do what its label says is drawn again from the next random numbers of the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from zoo.layout import Setting
from zoo.motions import CLASS_NAMES, MOTIONS, SHAPE_WORDS, Script, Track
from zoo.stage import INSTANCE_IDS, PROPS, TIMESTEP, Stage

NUM_FRAMES = 16
STEPS_PER_FRAME = 13  # 65 ms a frame, about one second a clip
FRAMES_PER_SECOND = 1 / (STEPS_PER_FRAME * TIMESTEP)
MAX_ATTEMPTS = 50
SMALLEST_TARGET = 40  # pixels in the first frame of 64 x 64, whether hidden or not
GIVEN_UP = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)  # after these MuJoCo begins anew
HIDDEN_FRACTION = 0.1  # less than this of the target covered: nothing occludes it


@dataclass(frozen=True)
class Clip:
    """One rendered clip; S is the side of a frame in pixels."""

    frames: np.ndarray  # uint8 [T, S, S, 3]
    instances: np.ndarray  # uint8 [T, S, S], ids of stage.INSTANCE_IDS, 0 = background
    amodal_target: np.ndarray  # bool [T, S, S], the target as if nothing stood before it
    occluder: np.ndarray  # uint8 [T], id of what hides most of the target, 0 = nothing
    container: np.ndarray  # uint8 [T], id of what the target is in or under, 0 = nothing
    label: str
    caption: str
    attempts: int  # simulations until the outcome fitted the label


class SceneRenderer:
    """Draws, simulates and renders clips with one MuJoCo model.

    Example:
        >>> renderer = SceneRenderer()
        >>> clip = renderer.clip("roll", seed=0)
        >>> clip.frames.shape
        (16, 64, 64, 3)
    """

    def __init__(self, frame_size: int = 64, supersampling: int = 2) -> None:
        self.stage = Stage(frame_size, supersampling)

    def clip(self, label: str, seed: int) -> Clip:
        """Render the clip of a class and a seed.

        Args:
            label: one of ``CLASS_NAMES``.
            seed: any non-negative integer; equal seeds give equal clips.

        Raises:
            ValueError: for an unknown class.
            RuntimeError: when no attempt did what the label says.
        """
        if label not in MOTIONS:
            raise ValueError(f"clip: label expected one of {CLASS_NAMES}, got {label!r}")
        rng = np.random.default_rng((CLASS_NAMES.index(label), seed))
        for attempt in range(1, MAX_ATTEMPTS + 1):
            clip = self._attempt(label, rng, attempt)
            if clip is not None:
                return clip
        raise RuntimeError(f"clip: no outcome fits {label!r} with seed {seed}")

    def _attempt(self, label: str, rng: np.random.Generator, attempt: int) -> Clip | None:
        self.stage.reset(rng)
        setting = Setting(self.stage, rng)
        script = MOTIONS[label](setting)
        setting.dress()
        track = self._simulate(script)
        if self._unstable() or not script.happened(track):
            return None
        frames, instances, amodal = self._render(track, rng)
        smallest = SMALLEST_TARGET * (self.stage.frame_size / 64) ** 2
        if amodal[0].sum() < smallest or not _looks_right(label, instances, amodal):
            return None
        return Clip(
            frames=frames,
            instances=instances,
            amodal_target=amodal,
            occluder=_frontmost_occluder(instances, amodal),
            container=self._container(track, setting),
            label=label,
            caption=f"a {self.stage.patterns['target']} {SHAPE_WORDS[setting.shape]} "
            f"{script.caption}",
            attempts=attempt,
        )

    def _unstable(self) -> bool:
        """Whether MuJoCo gave the simulation up on the way, which leaves a wrong track."""
        return any(self.stage.data.warning[kind].number for kind in GIVEN_UP)

    def _simulate(self, script: Script) -> Track:
        model, data = self.stage.model, self.stage.data
        data.qpos[:], data.qvel[:] = script.pose, script.velocity
        target = np.empty((NUM_FRAMES, 7))
        props = np.empty((NUM_FRAMES, len(PROPS), 3))
        quaternions = np.empty((NUM_FRAMES, len(PROPS), 4))
        for step in range((NUM_FRAMES - 1) * STEPS_PER_FRAME + 1):
            held = script.drive(step / STEPS_PER_FRAME)
            if held is not None:
                data.qpos[:], data.qvel[:] = held, 0
            frame, within = divmod(step, STEPS_PER_FRAME)
            if within == 0:
                target[frame] = data.qpos
                props[frame], quaternions[frame] = data.mocap_pos, data.mocap_quat
            if held is None:
                mujoco.mj_step(model, data)
        return Track(target, props, quaternions)

    def _render(
        self, track: Track, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stage = self.stage
        camera, data = stage.camera, stage.data
        drift = rng.normal(0, (0.5, 0.25, 0.008))  # degrees, degrees, metres a frame
        shake = rng.normal(0, (0.2, 0.12, 0.0), (NUM_FRAMES, 3))
        views = []
        for frame in range(NUM_FRAMES):
            data.qpos[:] = track.target[frame]
            data.mocap_pos[:] = track.props[frame]
            data.mocap_quat[:] = track.prop_quaternions[frame]
            mujoco.mj_forward(stage.model, data)
            azimuth, elevation, distance = drift + shake[frame]
            camera.azimuth += azimuth
            camera.elevation += elevation
            camera.distance += distance
            views.append(
                (stage.render_colour(), stage.render_instances(), stage.render_amodal_target())
            )
        frames, instances, amodal = (np.stack(view) for view in zip(*views, strict=True))
        # The two id renderings agree on what is visible up to a pixel at the rim.
        return frames, instances, amodal | (instances == INSTANCE_IDS["target"])

    def _container(self, track: Track, setting: Setting) -> np.ndarray:
        inside = np.zeros(NUM_FRAMES, np.uint8)
        for name, side, height in (
            ("container", setting.container_side, setting.container_height),
            ("cover", setting.cover_side, setting.cover_height),
        ):
            offset = np.abs(track.target[:, :3] - track.props[:, self.stage.mocap_index(name)])
            within = (offset[:, :2].max(1) < side) & (offset[:, 2] < height)
            inside[within] = INSTANCE_IDS[name]
        return inside


def _looks_right(label: str, instances: np.ndarray, amodal: np.ndarray) -> bool:
    """Check what only the picture shows: is the target in view, or hidden, where it should be?"""
    visible = (instances == INSTANCE_IDS["target"]).sum((1, 2)) / np.maximum(amodal.sum((1, 2)), 1)
    if label == "drop_behind":
        return bool(visible[0] > 0.6 and visible[-1] < 0.5)
    if label == "cover":
        return bool(visible[0] > 0.5 and visible[-1] < 0.1)
    if label == "uncover":
        return bool(visible[0] < 0.1 and visible[-1] > 0.5)
    if label == "still":
        return bool(visible.min() > 0.3)
    return bool(visible.max() > 0.5)


def _frontmost_occluder(instances: np.ndarray, amodal: np.ndarray) -> np.ndarray:
    """Id of the instance that hides most of the target in each frame, uint8 [T]; 0 = none."""
    occluder = np.zeros(len(instances), np.uint8)
    for frame, (ids, mask) in enumerate(zip(instances, amodal, strict=True)):
        hidden = ids[mask & (ids != INSTANCE_IDS["target"])]
        counts = np.bincount(hidden, minlength=1)
        counts[0] = 0
        if len(hidden) > HIDDEN_FRACTION * mask.sum() and counts.any():
            occluder[frame] = counts.argmax()
    return occluder
