# SPDX-License-Identifier: MIT
"""The motion classes: how each is set up, driven, and recognised in the simulated outcome.

Lengths are metres, x points right in the picture, y away from the camera, z up; times are
frames. Four classes (``drop_into``, ``drop_behind``, ``drop_beside``, ``drop_onto``) share one
set-up and differ in the outcome only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from zoo.layout import BAR_TILT, SHAPES, STEADY, Setting
from zoo.stage import lying_quaternion

Drive = Callable[[float], np.ndarray | None]
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
SHAPE_WORDS = {
    "sphere": "ball", "box": "box", "cylinder": "can", "capsule": "pill", "ellipsoid": "egg",
}  # fmt: skip


@dataclass(frozen=True)
class Track:
    """A simulated clip, one row per frame."""

    target: np.ndarray  # [T, 7] position and quaternion
    props: np.ndarray  # [T, P, 3] positions of the props, in the order of stage.PROPS
    prop_quaternions: np.ndarray  # [T, P, 4]

    def tilt(self) -> float:
        """Angle in degrees between the target's axis in the first and in the last frame."""

        def axis(quaternion: np.ndarray) -> np.ndarray:
            w, x, y, z = quaternion
            return np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])

        cosine = axis(self.target[0, 3:]) @ axis(self.target[-1, 3:])
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def shift(self) -> np.ndarray:
        """Displacement of the target from the first to the last frame, [3]."""
        return self.target[-1, :3] - self.target[0, :3]


@dataclass
class Script:
    """One clip before it is simulated."""

    pose: np.ndarray  # [7] start of the target
    happened: Callable[[Track], bool]  # does the outcome deserve the label?
    caption: str  # what the target does, e.g. "rolls to the left"
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(6))
    # Called before every physics step with the time in frames: moves props, and returns the
    # pose in which the target is held, or None while it is free.
    drive: Drive = lambda time: None


def roll(setting: Setting) -> Script:
    """The target rolls across the picture."""
    setting.target(("sphere", "cylinder"))
    setting.in_lane("lone")
    way, speed = setting.side(), setting.uniform(0.55, 0.9)
    setting.x = -way * setting.uniform(0.1, 0.4)
    radius = setting.half[0]
    lying = UPRIGHT if setting.shape == "sphere" else np.array([0.5, 0.5, 0.0, 0.0]) * 2**0.5
    velocity = np.zeros(6)
    velocity[0] = way * speed
    # Free joints turn in the body's frame, where a lying cylinder's axis is its own z.
    spin_axis, spin = (4, way) if setting.shape == "sphere" else (5, -way)
    velocity[3:][spin_axis - 3] = spin * speed / radius
    pose = np.array([setting.x, setting.y, radius, *lying])
    word = "right" if way > 0 else "left"
    return Script(
        pose,
        lambda track: way * track.shift()[0] > 0.35 and abs(track.shift()[2]) < 0.05,
        f"rolls across the floor to the {word}",
        velocity,
    )


def _push(setting: Setting, way: int, contact: float) -> Drive:
    """Drive one of the two bars against the target at a share ``contact`` of its half height."""
    speed, height = setting.uniform(0.65, 1.0), setting.half[2] * contact
    gaps = setting.bar_gaps(setting.half[0])
    ends = (setting.x - gaps[0], setting.x + gaps[1])
    setting.lay_bars(ends, setting.y, height, "pusher" if way > 0 else "bar")
    first = ends[0] if way > 0 else ends[1]
    frame = 13 * 0.005  # seconds; the pusher's speed is in metres a second
    # Short of pressing the target into the other bar, which is not solid: things fall across it.
    furthest = sum(gaps) - 2 * (setting.half[0] + setting.bar_length + 0.045)

    def drive(time: float) -> None:
        travelled = min(speed * frame * max(0.0, time - setting.start), furthest)
        place = (first + way * travelled, setting.y, height)
        setting.stage.lay_bar("pusher", place, way * BAR_TILT)

    return drive


def _slide(setting: Setting, way: int) -> Script:
    tall = setting.rng.random() < 0.55
    setting.target(STEADY, friction=0.2 if tall else 0.35, tall=tall)
    setting.in_lane("bars")
    return Script(
        setting.pose(yaw=setting.uniform(-0.5, 0.5) if setting.shape == "box" else 0.0),
        lambda track: way * track.shift()[0] > 0.1 and track.tilt() < 20,
        f"is pushed from {'left to right' if way > 0 else 'right to left'}",
        drive=_push(setting, way, setting.uniform(0.7, 1.0)),
    )


def push_right(setting: Setting) -> Script:
    """Something pushes the target from left to right; it stays upright."""
    return _slide(setting, +1)


def push_left(setting: Setting) -> Script:
    """Something pushes the target from right to left; it stays upright."""
    return _slide(setting, -1)


def topple(setting: Setting) -> Script:
    """Something pushes the tall target so that it falls over."""
    setting.target(STEADY, friction=1.5, tall=True)
    setting.in_lane("bars")
    return Script(
        setting.pose(),
        lambda track: track.tilt() > 60,
        "is pushed so that it falls over",
        drive=_push(setting, setting.side(), setting.uniform(1.3, 1.55)),
    )


def _drop(setting: Setting, aim: str) -> Script:
    """Carry the target through the air to above ``aim``, a kind of station, and drop it."""
    bouncy = aim == "floor" and setting.rng.random() < 0.5
    steady = aim == "block" or setting.rng.random() < 0.5
    setting.target(STEADY if steady else SHAPES, bounce=bouncy)
    setting.at_station(aim)
    last = setting.air_pose(setting.uniform(0.45, 0.58))
    first = last.copy()
    first[:3] += setting.rng.uniform((-0.35, -0.15, -0.08), (0.35, 0.15, 0.08))
    arrival = 2 + setting.start  # frames

    def drive(time: float) -> np.ndarray | None:
        return first + (last - first) * (time / arrival) if time < arrival else None

    return Script(first, lambda track: False, "", drive=drive)


def drop_into(setting: Setting) -> Script:
    """The target is dropped into the container."""
    script = _drop(setting, "container")
    centre = setting.stage.data.mocap_pos[setting.stage.mocap_index("container")].copy()
    side, top = setting.container_side, 2 * setting.container_height

    def inside(track: Track) -> bool:
        offset = np.abs(track.target[-1, :2] - centre[:2]).max()
        return bool(offset < side and track.target[-1, 2] < top + 0.05)

    script.happened, script.caption = inside, "is dropped into a container"
    return script


def drop_behind(setting: Setting) -> Script:
    """The target is dropped behind the screen."""
    script = _drop(setting, "occluder")
    front = float(setting.stage.data.mocap_pos[setting.stage.mocap_index("occluder")][1])
    x = setting.x
    width = float(setting.occluder_half[0])

    def behind(track: Track) -> bool:
        last = track.target[-1]
        return bool(last[1] > front and abs(last[0] - x) < width and last[2] < 0.3)

    script.happened, script.caption = behind, "is dropped behind a screen"
    return script


def drop_beside(setting: Setting) -> Script:
    """The target is dropped on the floor, next to whatever stands there."""
    script = _drop(setting, "floor")
    half = setting.half

    def landed(track: Track) -> bool:
        heights = track.target[:, 2]
        return bool(heights.min() < half.max() + 0.02 and heights[0] - heights.min() > 0.25)

    script.happened, script.caption = landed, "is dropped on the floor"
    return script


def drop_onto(setting: Setting) -> Script:
    """The target is dropped onto the block and stays on it."""
    script = _drop(setting, "block")
    top = 2 * float(setting.block_half[2])
    script.happened = lambda track: bool(track.target[-1, 2] > top + 0.03 and track.tilt() < 30)
    script.caption = "is dropped onto a block"
    return script


def _cover(setting: Setting, way: int) -> Script:
    """Lower (``way`` -1) or raise (+1) the open box over the target."""
    setting.target(SHAPES)
    setting.at_station("cover")
    speed, low = setting.uniform(0.045, 0.08), setting.cover_height  # metres a frame
    high = setting.uniform(0.5, 0.62)
    x, y = setting.x, setting.y

    def drive(time: float) -> None:
        travelled = speed * max(0.0, time - setting.start)
        height = max(low, high - travelled) if way < 0 else min(high, low + travelled)
        setting.stage.place("cover", (x, y, height), 0.2)

    return Script(
        setting.pose(),
        lambda track: bool(np.linalg.norm(track.shift()) < 0.12),
        "is covered with a box" if way < 0 else "is uncovered by lifting a box",
        drive=drive,
    )


def cover(setting: Setting) -> Script:
    """A box comes down over the target."""
    return _cover(setting, -1)


def uncover(setting: Setting) -> Script:
    """A box over the target is lifted."""
    return _cover(setting, +1)


def _rest(setting: Setting, kinds: tuple[str, ...]) -> np.ndarray:
    """Let the target rest in, on, behind or between something; returns its pose [7]."""
    kind = str(setting.rng.choice(kinds))
    tall = kind == "bars" and setting.rng.random() < 0.5
    setting.target(STEADY if kind == "bars" else SHAPES, tall=tall)
    if kind == "bars":
        setting.in_lane("bars")
        left, right = setting.bar_gaps(setting.half[0])
        height = setting.half[2] * setting.uniform(0.7, 1.5 if tall else 1.0)
        setting.lay_bars(
            (setting.x - left, setting.x + right), setting.y, height,
            str(setting.rng.choice(("pusher", "bar"))),
        )  # fmt: skip
    elif kind == "lone":
        setting.in_lane("lone", 0.4)
    else:
        setting.at_station(kind)
    if kind == "cover":
        height = setting.uniform(0.45, 0.62)
        setting.stage.place("cover", (setting.x, setting.y, height), 0.2)
    pose = setting.pose(setting.half[2] + setting.support(kind) + 0.001, setting.uniform(-0.5, 0.5))
    if setting.shape in ("cylinder", "capsule") and setting.rng.random() < 0.4:
        pose[2] += setting.half[0] - setting.half[2]
        pose[3:] = lying_quaternion(np.pi / 2)
    return pose


def lift(setting: Setting) -> Script:
    """The target is lifted off what it rests on."""
    pose = _rest(setting, ("floor", "container", "block", "occluder", "bars", "lone"))
    speed, sway = setting.uniform(0.035, 0.06), setting.uniform(-0.02, 0.02)  # metres a frame
    highest = setting.uniform(0.38, 0.62) - pose[2]

    def drive(time: float) -> np.ndarray:
        moving = min(max(0.0, time - setting.start), highest / speed)
        return pose + np.array([sway * moving, 0, speed * moving, 0, 0, 0, 0])

    return Script(pose, lambda track: track.shift()[2] > 0.2, "is lifted up", drive=drive)


def still(setting: Setting) -> Script:
    """Nothing moves but the camera; the target may rest anywhere or hang in the air."""
    pose = _rest(setting, ("floor", "container", "block", "occluder", "cover", "bars", "lone"))
    if "cover" not in setting.used and setting.rng.random() < 0.3:
        pose = setting.air_pose(setting.uniform(0.38, 0.62))
    return Script(
        pose,
        lambda track: bool(np.linalg.norm(track.shift()) < 0.03),
        "stays where it is",
        drive=lambda time: pose,
    )


MOTIONS: dict[str, Callable[[Setting], Script]] = {
    motion.__name__: motion
    for motion in (
        roll, push_left, push_right, topple, drop_into, drop_behind, drop_beside, drop_onto,
        cover, uncover, lift, still,
    )
}  # fmt: skip
CLASS_NAMES = tuple(MOTIONS)
