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

from zoo.stage import Stage, yaw_quaternion

Drive = Callable[[float], np.ndarray | None]
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
ROUND = ("sphere", "ellipsoid")
STEADY = ("box", "cylinder")  # shapes that stand without rolling
SHAPES = ("sphere", "box", "cylinder", "capsule", "ellipsoid")
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


class Setting:
    """The stage with the target's place and the free spots around it."""

    def __init__(self, stage: Stage, rng: np.random.Generator) -> None:
        self.stage = stage
        self.rng = rng
        self.x = rng.uniform(-0.2, 0.2)
        self.y = rng.uniform(-0.1, 0.1)
        self.shape = ""
        self.half = np.zeros(3)
        self.start = rng.uniform(0, 4)  # frame in which things begin
        self.container_side, self.container_height = rng.uniform((0.22, 0.10), (0.27, 0.15))
        self.cover_side, self.cover_height = rng.uniform((0.22, 0.19), (0.26, 0.24))
        stage.set_walls("container", self.container_side, self.container_height, +1)
        stage.set_walls("cover", self.cover_side, self.cover_height, -1)
        self.occluder_half = stage.set_shape(
            "occluder", "box", rng.uniform((0.2, 0.03, 0.19), (0.3, 0.07, 0.26))
        )
        self.block_half = stage.set_shape(
            "block", "box", rng.uniform((0.16, 0.14, 0.07), (0.22, 0.2, 0.14))
        )
        self.pusher_length = rng.uniform(0.25, 0.4)
        stage.set_shape("pusher", "capsule", (rng.uniform(0.03, 0.05), self.pusher_length))
        self.used: set[str] = set()

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def side(self) -> int:
        return int(self.rng.choice((-1, 1)))

    def target(
        self, shapes: tuple[str, ...], *, friction: float = 0.9, tall: bool = False,
        largest: float = 0.175, bounce: bool = False,
    ) -> None:  # fmt: skip
        """Draw the target's shape and size."""
        self.shape = str(self.rng.choice(shapes))
        radius = self.uniform(0.125, largest)
        size: tuple[float, ...]
        if tall:
            width, height = radius * self.uniform(0.45, 0.6), radius * self.uniform(1.5, 2.0)
            size = (width, radius * 0.6, height) if self.shape == "box" else (width, height)
        else:
            size = {
                "sphere": (radius,),
                "box": (radius, radius * self.uniform(0.7, 1), radius * self.uniform(0.6, 1)),
                "cylinder": (radius * 0.9, radius * self.uniform(0.6, 1)),
                "capsule": (radius * 0.6, radius * 0.7),
                "ellipsoid": (radius, radius * 0.8, radius * 0.7),
            }[self.shape]
        self.half = self.stage.set_target(self.shape, size, friction, bounce)

    def pose(self, height: float | None = None, yaw: float = 0.0) -> np.ndarray:
        """Target above its place, by default standing on the floor, [7]."""
        z = self.half[2] if height is None else height
        return np.array([self.x, self.y, z, *yaw_quaternion(yaw)])

    def random_pose(self, height: float) -> np.ndarray:
        quaternion = self.rng.normal(size=4)
        return np.array([self.x, self.y, height, *(quaternion / np.linalg.norm(quaternion))])

    def put(self, name: str, x: float, y: float, z: float, yaw: float = 0.0) -> None:
        """Place a prop that this motion needs there."""
        self.used.add(name)
        self.stage.place(name, (x, y, z), yaw)

    def rest_height(self, name: str) -> float:
        """Height of a prop's centre when it stands on the floor."""
        return {
            "container": self.container_height,
            "cover": self.cover_height,
            "occluder": float(self.occluder_half[2]),
            "block": float(self.block_half[2]),
        }[name]

    def dress(self) -> None:
        """Let any prop that the motion left over stand about, so that none gives it away."""
        rng = self.rng
        spots = [(-0.62, 0.6), (-0.2, 0.75), (0.25, 0.75), (0.62, 0.6), (-0.66, 0.2), (0.66, 0.2)]
        if self.used & {"sides"}:
            spots = spots[:4]
        free = [np.array(spots[i]) + rng.normal(0, 0.04, 2) for i in rng.permutation(len(spots))]
        for name in ("container", "occluder", "cover", "block"):
            if name not in self.used and rng.random() < 0.4:
                x, y = free.pop()
                self.stage.place(name, (x, y, self.rest_height(name)), self.uniform(-0.5, 0.5))
        for index in range(min(3, len(free), int(rng.integers(1, 4)))):
            x, y = free.pop()
            half = self._distractor(f"distractor{index}")
            self.stage.place(f"distractor{index}", (x, y, half[2]), self.uniform(-3, 3))
        if "pusher" not in self.used and rng.random() < 0.5:
            place = (self.side() * self.uniform(0.8, 1.1), self.uniform(0.3, 0.6), 0.45)
            self.stage.lay_pusher(place, self.uniform(-0.3, 0.3))

    def _distractor(self, name: str) -> np.ndarray:
        radius = self.uniform(0.09, 0.16)
        shape = str(self.rng.choice(SHAPES))
        size = {
            "sphere": (radius,),
            "box": (radius, radius * self.uniform(0.5, 1), radius * self.uniform(0.5, 1.6)),
            "cylinder": (radius * 0.7, radius),
            "capsule": (radius * 0.5, radius * 0.8),
            "ellipsoid": (radius, radius * 0.7, radius * 0.6),
        }[shape]
        return self.stage.set_shape(name, shape, size)


def roll(setting: Setting) -> Script:
    """The target rolls across the picture."""
    setting.target(("sphere", "cylinder"))
    setting.used.add("sides")
    way, speed = setting.side(), setting.uniform(0.6, 1.1)
    setting.x = -way * setting.uniform(0.28, 0.45)
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
        lambda track: way * track.shift()[0] > 0.4 and abs(track.shift()[2]) < 0.05,
        f"rolls across the floor to the {word}",
        velocity,
    )


def _push(setting: Setting, way: int, contact: float) -> Drive:
    """Drive the pusher against the target at a share ``contact`` of its half height."""
    setting.used |= {"pusher", "sides"}
    speed, height = setting.uniform(0.5, 0.8), setting.half[2] * contact
    gap = setting.half[0] + setting.pusher_length + 0.05 + setting.uniform(0.05, 0.15)
    first = setting.x - way * gap
    frame = 13 * 0.005  # seconds; the pusher's speed is in metres a second

    def drive(time: float) -> None:
        travelled = speed * frame * max(0.0, time - setting.start)
        setting.stage.lay_pusher((first + way * travelled, setting.y, height), way * 0.2)

    return drive


def _slide(setting: Setting, way: int) -> Script:
    setting.target(STEADY, friction=0.35)
    setting.x = -way * setting.uniform(0.0, 0.3)
    return Script(
        setting.pose(yaw=setting.uniform(-0.5, 0.5) if setting.shape == "box" else 0.0),
        lambda track: way * track.shift()[0] > 0.12 and track.tilt() < 20,
        f"is pushed from {'left to right' if way > 0 else 'right to left'}",
        drive=_push(setting, way, 0.9),
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
    return Script(
        setting.pose(),
        lambda track: track.tilt() > 60,
        "is pushed so that it falls over",
        drive=_push(setting, setting.side(), 1.55),
    )


def _drop(setting: Setting, aim: str) -> Script:
    """Drop the target from above with container, screen and block standing near.

    ``aim`` is the prop that the target meets, or "floor".
    """
    bouncy = aim == "floor" and setting.rng.random() < 0.5
    setting.target(STEADY if aim == "block" else SHAPES, largest=0.16, bounce=bouncy)
    reach = float(setting.half.max())
    x, y = setting.x, setting.y
    free = [s for s in (-1, 1) if abs(x + 0.42 * s) < 0.65]
    others = [name for name in ("container", "block") if name != aim]
    for side, name in zip(setting.rng.permutation(free), setting.rng.permutation(others)):
        if setting.rng.random() < 0.7:
            place = x + side * (0.27 + reach + setting.uniform(0.02, 0.08))
            setting.put(name, place, y + setting.uniform(0, 0.15), setting.rest_height(name))
    if aim == "occluder":
        front = y - reach - setting.uniform(0.1, 0.2)
        setting.put("occluder", x + setting.uniform(-0.05, 0.05), front, setting.occluder_half[2])
    elif aim != "floor":
        near = x + setting.uniform(-0.03, 0.03)
        setting.put(aim, near, y, setting.rest_height(aim), setting.uniform(-0.3, 0.3))
    height = setting.uniform(0.5, 0.68)
    pose = setting.pose(height) if aim == "block" else setting.random_pose(height)
    start = setting.start
    return Script(pose, lambda track: False, "", drive=lambda t: pose if t < start else None)


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
    setting.target(SHAPES, largest=0.16)
    setting.used.add("cover")
    speed, low = setting.uniform(0.05, 0.085), setting.cover_height  # metres a frame
    high = setting.uniform(0.62, 0.75)
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


def lift(setting: Setting) -> Script:
    """The target is lifted off the floor."""
    setting.target(SHAPES)
    pose = setting.pose()
    speed, sway = setting.uniform(0.035, 0.06), setting.uniform(-0.01, 0.01)  # metres a frame

    def drive(time: float) -> np.ndarray:
        moving = max(0.0, time - setting.start)
        return pose + np.array([sway * moving, 0, min(speed * moving, 0.5), 0, 0, 0, 0])

    return Script(pose, lambda track: track.shift()[2] > 0.3, "is lifted up", drive=drive)


def still(setting: Setting) -> Script:
    """Nothing moves but the camera; the target may stand in, behind or on something."""
    tall = setting.rng.random() < 0.3
    setting.target(STEADY if tall else SHAPES, tall=tall)
    place = str(setting.rng.choice(("floor", "container", "occluder", "block", "air")))
    height = setting.half[2] + 0.001
    if place == "air":
        height = setting.uniform(0.4, 0.65)
    elif place == "occluder":
        front = setting.y - setting.half[1] - setting.uniform(0.12, 0.25)
        setting.put("occluder", setting.x + setting.uniform(-0.3, 0.3), front,
                    setting.occluder_half[2])  # fmt: skip
    elif place != "floor":
        setting.put(place, setting.x, setting.y, setting.rest_height(place))
        height += 0.03 if place == "container" else 2 * setting.block_half[2]
    pose = setting.pose(height)
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
