# SPDX-License-Identifier: MIT
"""Where things stand in a clip, so that no single frame tells which of them will move, or did.

Two rows, one behind the other. A row is either two *stations* (container, screen, block, cover,
bare floor) or one *lane* (an object between two bars, or alone). The target acts at one of these
places; the others hold *decoys*: objects of the same kinds in the states in which actions begin
and end, e.g. held in the air, lying in the container, half under the cover, fallen over. Decoys
do not move.

Lengths are metres, x points right in the picture, y away from the camera, z up.
"""

from __future__ import annotations

import numpy as np

from zoo.stage import DISTRACTORS, Stage, lying_quaternion, yaw_quaternion

ROUND = ("sphere", "ellipsoid")
STEADY = ("box", "cylinder")  # shapes that stand without rolling
SHAPES = ("sphere", "box", "cylinder", "capsule", "ellipsoid")
STATIONS = ("container", "occluder", "block", "cover", "floor")
ROWS = (-0.16, 0.40)  # y of the two rows
LANE_SHARE = 0.5  # of the rows that the target is not in
BAR_TILT = 0.2  # radians by which a bar's far end is lifted
SMALLEST_RADIUS, LARGEST_RADIUS = 0.105, 0.145


def object_size(rng: np.random.Generator, shape: str, tall: bool) -> tuple[float, ...]:
    """MuJoCo size of a random object; only boxes and cylinders can be tall."""
    radius = rng.uniform(SMALLEST_RADIUS, LARGEST_RADIUS)
    if tall:
        width, height = radius * rng.uniform(0.45, 0.6), radius * rng.uniform(1.5, 2.0)
        return (width, radius * 0.6, height) if shape == "box" else (width, height)
    sizes: dict[str, tuple[float, ...]] = {
        "sphere": (radius,),
        "box": (radius, radius * rng.uniform(0.7, 1), radius * rng.uniform(0.6, 1)),
        "cylinder": (radius * 0.9, radius * rng.uniform(0.6, 1)),
        "capsule": (radius * 0.6, radius * 0.7),
        "ellipsoid": (radius, radius * 0.8, radius * 0.7),
    }
    return sizes[shape]


class Setting:
    """The stage with the target's place, and the places that are left for decoys."""

    def __init__(self, stage: Stage, rng: np.random.Generator) -> None:
        self.stage = stage
        self.rng = rng
        self.shape = ""
        self.half = np.zeros(3)
        self.start = rng.uniform(0, 4)  # frame in which things begin
        self.x = 0.0
        self.y, self.other_row = rng.permutation(np.array(ROWS) + rng.normal(0, 0.02, 2))
        self.free: list[tuple[float, float]] = []  # stations left in the target's row
        self.used: set[str] = set()
        self._distractors = list(DISTRACTORS)  # not yet placed
        self._last = ""  # the distractor that was shaped last
        self._set_props()

    def _set_props(self) -> None:
        rng, stage = self.rng, self.stage
        self.container_side, self.container_height = rng.uniform((0.19, 0.08), (0.22, 0.12))
        self.cover_side, self.cover_height = rng.uniform((0.19, 0.17), (0.22, 0.21))
        stage.set_walls("container", self.container_side, self.container_height, +1)
        stage.set_walls("cover", self.cover_side, self.cover_height, -1)
        self.occluder_half = stage.set_shape(
            "occluder", "box", rng.uniform((0.18, 0.02, 0.17), (0.25, 0.05, 0.22))
        )
        self.block_half = stage.set_shape(
            "block", "box", rng.uniform((0.15, 0.13, 0.06), (0.19, 0.17, 0.12))
        )
        self.bar_length = rng.uniform(0.15, 0.25)  # half, without the round ends
        for name in ("pusher", "bar"):
            stage.set_shape(name, "capsule", (rng.uniform(0.025, 0.045), self.bar_length))

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def side(self) -> int:
        return int(self.rng.choice((-1, 1)))

    def target(
        self, shapes: tuple[str, ...], *, friction: float = 0.9, tall: bool = False,
        bounce: bool = False,
    ) -> None:  # fmt: skip
        """Draw the target's shape and size."""
        self.shape = str(self.rng.choice(shapes))
        size = object_size(self.rng, self.shape, tall)
        self.half = self.stage.set_target(self.shape, size, friction, bounce)

    def at_station(self, kind: str) -> None:
        """Put the target's place at one of two stations of its row, the prop with it."""
        side = self.side()
        self.x = side * self.uniform(0.22, 0.34)
        self.free = [(-side * self.uniform(0.22, 0.34), self.y)]
        self.used.add(kind)
        if kind not in ("floor", "cover"):
            x, y = self.prop_place(kind, self.x, self.y)
            self.stage.place(kind, (x, y, self.rest_height(kind)), self.uniform(-0.3, 0.3))

    def in_lane(self, kind: str, reach: float = 0.15) -> None:
        """Put the target's place into a lane, ``kind`` being "bars" or "lone"."""
        self.x = self.uniform(-reach, reach)
        self.used.add(kind)

    def prop_place(self, kind: str, x: float, y: float) -> tuple[float, float]:
        """Where the prop of a station stands whose object is at x, y."""
        if kind == "occluder":
            return x + self.uniform(-0.05, 0.05), y - self.uniform(0.17, 0.22)
        return x + self.uniform(-0.03, 0.03), y

    def pose(self, height: float | None = None, yaw: float = 0.0) -> np.ndarray:
        """Target above its place, by default standing on the floor, [7]."""
        z = self.half[2] if height is None else height
        return np.array([self.x, self.y, z, *yaw_quaternion(yaw)])

    def air_pose(self, height: float) -> np.ndarray:
        """Target in the air: upright if it could stand, else turned anyhow, [7]."""
        pose = self.pose(height, self.uniform(-0.5, 0.5))
        if self.shape not in STEADY:
            pose[3:] = self._any_quaternion()
        return pose

    def _any_quaternion(self) -> np.ndarray:
        quaternion = self.rng.normal(size=4)
        return quaternion / np.linalg.norm(quaternion)

    def rest_height(self, name: str) -> float:
        """Height of a prop's centre when it stands on the floor."""
        return {
            "container": self.container_height,
            "cover": self.cover_height,
            "occluder": float(self.occluder_half[2]),
            "block": float(self.block_half[2]),
        }[name]

    def support(self, kind: str) -> float:
        """Height on which an object rests at a station."""
        return {"container": 0.03, "block": 2 * float(self.block_half[2])}.get(kind, 0.0)

    def bar_gaps(self, half_width: float) -> tuple[float, float]:
        """Distances of the bars' centres from an object's that they do not touch."""
        near = half_width + self.bar_length + 0.045
        return near + self.uniform(0.10, 0.24), near + self.uniform(0.10, 0.24)

    def lay_bars(self, x: tuple[float, float], y: float, z: float, first: str) -> None:
        """Lay the two bars along x, the one named ``first`` on the left."""
        second = "bar" if first == "pusher" else "pusher"
        self.stage.lay_bar(first, (x[0], y, z), BAR_TILT)
        self.stage.lay_bar(second, (x[1], y, z), -BAR_TILT)

    def dress(self) -> None:
        """Fill the places that the motion left with decoys."""
        if self.rng.random() < LANE_SHARE:
            if "bars" not in self.used and self.rng.random() < 0.6:
                self._decoy_between_bars()
            else:
                self._decoy(self.uniform(-0.4, 0.4), self.other_row, 0.0, in_air=0.25)
        else:
            self.free += [(side * self.uniform(0.25, 0.42), self.other_row) for side in (-1, 1)]
        kinds = [str(kind) for kind in self.rng.permutation(STATIONS) if kind not in self.used]
        for (x, y), kind in zip(self.free, kinds):
            self._decoy_station(kind, x, y)

    def _decoy_station(self, kind: str, x: float, y: float) -> None:
        if kind == "cover":
            self._decoy(x, y, 0.0, in_air=0.0)
            low = self.cover_height
            heights = (low, self.uniform(low, 0.5), self.uniform(0.5, 0.62))
            height = float(self.rng.choice(heights, p=(0.4, 0.15, 0.45)))
            self.stage.place("cover", (x, y, height), 0.2)
            return
        if kind != "floor":
            place = (*self.prop_place(kind, x, y), self.rest_height(kind))
            self.stage.place(kind, place, self.uniform(-0.3, 0.3))
        if self.rng.random() < 0.9:
            self._decoy(x, y, self.support(kind), in_air=0.4)

    def _decoy(self, x: float, y: float, support: float, *, in_air: float) -> None:
        """Stand or lay an object somewhere, or hold it in the air with probability ``in_air``."""
        if self.rng.random() < in_air:
            shape, half = self._next_distractor(tall=False)
            turn = yaw_quaternion(self.uniform(-0.5, 0.5))
            if shape not in STEADY:
                turn = self._any_quaternion()
            x, y = x + self.uniform(-0.2, 0.2), y + self.uniform(-0.1, 0.1)
            self._place_last((x, y, self.uniform(0.38, 0.62)), turn)
            return
        tall = self.rng.random() < 0.25
        shape, half = self._next_distractor(tall)
        lies = shape in ("cylinder", "capsule") or tall
        if lies and self.rng.random() < 0.6:
            turn = lying_quaternion(self.side() * self.uniform(1.2, 1.9))
            self._place_last((x, y, support + half[0]), turn)
        else:
            turn = yaw_quaternion(self.uniform(-0.5, 0.5))
            self._place_last((x, y, support + half[2]), turn)

    def _decoy_between_bars(self) -> None:
        """Bars beside an object before a push, after it, or after it fell over."""
        tall = self.rng.random() < 0.6
        _, half = self._next_distractor(tall, STEADY)
        x, y = self.uniform(-0.15, 0.15), self.other_row
        left, right = self.bar_gaps(half[0])
        ends = [x - left, x + right]
        height = half[2] * self.uniform(0.7, 1.5 if tall else 1.0)
        turn, rest = yaw_quaternion(self.uniform(-0.5, 0.5)), half[2]
        if self.rng.random() < 0.5:  # afterwards
            way, moved = self.side(), self.uniform(0.1, 0.25)
            ends[way < 0] += way * (
                moved + (left if way > 0 else right) - half[0] - self.bar_length
            )
            x += way * moved
            if tall and self.rng.random() < 0.6:
                turn, rest = lying_quaternion(way * np.pi / 2), half[0]
        self._place_last((x, y, rest), turn)
        self.lay_bars((ends[0], ends[1]), y, height, str(self.rng.choice(("pusher", "bar"))))

    def _next_distractor(
        self, tall: bool, shapes: tuple[str, ...] = SHAPES
    ) -> tuple[str, np.ndarray]:
        self._last = self._distractors.pop()
        shape = str(self.rng.choice(STEADY if tall else shapes))
        size = object_size(self.rng, shape, tall)
        return shape, self.stage.set_shape(self._last, shape, size)

    def _place_last(self, position: tuple[float, float, float], turn: np.ndarray) -> None:
        self.stage.place(self._last, position, quaternion=turn)
