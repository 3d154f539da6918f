# SPDX-License-Identifier: MIT
"""One MuJoCo model per process, re-dressed for every clip: shapes, textures, light, camera.

Compiling a model takes longer than simulating a clip, so the bodies are declared once and
their shapes, places and textures are written into the compiled model.
"""

from __future__ import annotations

import mujoco
import numpy as np

from zoo.textures import PATTERNS, PatternBank, palette

# Instance ids in every rendered frame; 0 is the background.
INSTANCE_IDS = {
    "target": 1,
    "container": 2,
    "occluder": 3,
    "cover": 4,
    "pusher": 5,
    "block": 6,
    "distractor0": 7,
    "distractor1": 8,
    "distractor2": 9,
    "bar": 10,
}
DISTRACTORS = ("distractor0", "distractor1", "distractor2")
NUM_INSTANCES = len(INSTANCE_IDS)
PROPS = tuple(name for name in INSTANCE_IDS if name != "target")
SURFACES = (*INSTANCE_IDS, "floor", "wall")
SOLID = ("container", "occluder", "cover", "pusher", "block")  # props that the target may hit
WALLED = ("container", "cover")  # five boxes each: a base and four sides
TIMESTEP = 0.005  # seconds
TEXTURE_SIZE = 64
SHADOW_SIZE = 512
TARGET_GROUP = 1  # geom group that the amodal rendering shows alone
HIDDEN = (0.0, 0.0, -9.0)  # below the floor, out of every view


def _body(name: str) -> str:
    geom = f'type="box" size=".1 .1 .1" material="{name}"'
    if name == "target":
        return (
            f'<body name="{name}"><freejoint/><geom name="{name}" {geom} mass=".3" '
            f'priority="1" group="{TARGET_GROUP}"/></body>'
        )
    if name in WALLED:
        geoms = "".join(f'<geom name="{name}_{side}" {geom}/>' for side in range(5))
    elif name not in SOLID:
        geoms = f'<geom name="{name}" {geom} contype="0" conaffinity="0"/>'
    else:
        geoms = f'<geom name="{name}" {geom}/>'
    return f'<body name="{name}" mocap="true">{geoms}</body>'


def _model_xml(resolution: int) -> str:
    size = f'builtin="flat" width="{TEXTURE_SIZE}" height="{TEXTURE_SIZE}"'
    assets = "".join(
        f'<texture name="{name}" type="2d" {size}/><material name="{name}" texture="{name}" '
        f'texuniform="true" texrepeat="1.4 1.4" specular=".1"/>'
        if name in ("floor", "wall")
        else f'<texture name="{name}" type="cube" {size}/>'
        f'<material name="{name}" texture="{name}" specular=".2"/>'
        for name in SURFACES
    )
    return f"""<mujoco>
      <option timestep="{TIMESTEP}" iterations="10"/>
      <visual>
        <global offwidth="{resolution}" offheight="{resolution}"/>
        <quality shadowsize="{SHADOW_SIZE}" offsamples="0"/>
        <headlight ambient=".4 .4 .4" diffuse=".3 .3 .3"/>
      </visual>
      <asset>{assets}</asset>
      <worldbody>
        <light name="lamp" pos="0 -1 3" dir="0 .3 -1" castshadow="true"/>
        <geom name="floor" type="plane" size="6 6 .1" material="floor"/>
        <geom name="wall" type="box" size="6 .1 3" pos="0 2.2 2" material="wall"
              contype="0" conaffinity="0"/>
        {"".join(_body(name) for name in INSTANCE_IDS)}
      </worldbody>
    </mujoco>"""


def half_extents(shape: str, size: tuple[float, ...]) -> np.ndarray:
    """Half sides of the box around a MuJoCo shape, [3]."""
    if shape == "sphere":
        return np.full(3, size[0])
    if shape == "capsule":
        return np.array([size[0], size[0], size[0] + size[1]])
    if shape == "cylinder":
        return np.array([size[0], size[0], size[1]])
    return np.array(size, dtype=float)


def yaw_quaternion(yaw: float) -> np.ndarray:
    """Rotation by ``yaw`` radians about the vertical, [4], scalar first."""
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def lying_quaternion(tilt: float) -> np.ndarray:
    """Rotation by ``tilt`` radians about the depth axis: pi / 2 lays an upright thing along x."""
    return np.array([np.cos(tilt / 2), 0.0, np.sin(tilt / 2), 0.0])


class Stage:
    """The compiled model with what a clip may change about it, and its renderer."""

    def __init__(self, frame_size: int = 64, supersampling: int = 2) -> None:
        self.frame_size = frame_size
        self.supersampling = supersampling
        resolution = frame_size * supersampling
        self.model = mujoco.MjModel.from_xml_string(_model_xml(resolution))
        self.data = mujoco.MjData(self.model)
        self.bank = PatternBank(TEXTURE_SIZE)
        self.patterns: dict[str, str] = {}
        # A geom declared at its body's origin is marked as sharing the body's frame, and MuJoCo
        # then ignores geom_pos: clear the mark, the sides of walled props are moved below.
        self.model.geom_sameframe[:] = 0
        self._open_renderer(resolution)
        self._map_instances()

    def _open_renderer(self, resolution: int) -> None:
        self._gl = mujoco.GLContext(resolution, resolution)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self.model, 60)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = True
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self.camera = mujoco.MjvCamera()
        self._show_all = mujoco.MjvOption()
        self._show_target = mujoco.MjvOption()
        self._show_target.geomgroup[:] = 0
        self._show_target.geomgroup[TARGET_GROUP] = 1

    def _map_instances(self) -> None:
        self._geoms: dict[str, list[int]] = {name: [] for name in SURFACES}
        self._instance = np.zeros(self.model.ngeom, np.uint8)
        for geom in range(self.model.ngeom):
            surface = self.model.geom(geom).name.split("_")[0]
            self._geoms[surface].append(geom)
            self._instance[geom] = INSTANCE_IDS.get(surface, 0)
        self._mocap = {name: int(self.model.body(name).mocapid[0]) for name in PROPS}

    def reset(self, rng: np.random.Generator) -> None:
        """Clear the stage and draw new textures, light and camera."""
        self._gl.make_current()  # another stage of this process may have taken its place
        mujoco.mj_resetData(self.model, self.data)
        for name in PROPS:
            self.place(name, HIDDEN)
        self._draw_textures(rng)
        self._draw_light(rng)
        self._draw_camera(rng)

    def _draw_textures(self, rng: np.random.Generator) -> None:
        colours = palette(rng)
        for name in SURFACES:
            self.patterns[name] = PATTERNS[rng.integers(len(PATTERNS))]
            image = self.bank.draw(rng, colours, self.patterns[name])
            texture = self.model.texture(name).id
            start = self.model.tex_adr[texture]
            faces = self.model.tex_height[texture] // TEXTURE_SIZE  # 6 for a cube, 1 for 2d
            pixels = np.tile(image, (faces, 1, 1)).reshape(-1)
            self.model.tex_data[start : start + pixels.size] = pixels
            mujoco.mjr_uploadTexture(self.model, self._context, texture)

    def _draw_light(self, rng: np.random.Generator) -> None:
        self.model.light_pos[0] = rng.uniform((-2, -2, 2), (2, -0.5, 4))
        self.model.light_dir[0] = (rng.uniform(-0.4, 0.4), 0.3, -1)
        self.model.light_diffuse[0] = rng.uniform(0.5, 0.9) * rng.uniform(0.85, 1, 3)
        self.model.vis.headlight.ambient[:] = rng.uniform(0.35, 0.55)

    def _draw_camera(self, rng: np.random.Generator) -> None:
        self.camera.lookat[:] = (rng.uniform(-0.06, 0.06), 0.1, rng.uniform(0.16, 0.24))
        self.camera.distance = rng.uniform(1.5, 1.75)
        self.camera.azimuth = 90 + rng.uniform(-12, 12)
        self.camera.elevation = -rng.uniform(20, 34)

    def set_shape(self, name: str, shape: str, size: tuple[float, ...]) -> np.ndarray:
        """Give a one-geom body a shape; returns its half extents [3]."""
        return self._set_geom(self._geoms[name][0], shape, size)

    def _set_geom(self, geom: int, shape: str, size: tuple[float, ...]) -> np.ndarray:
        half = half_extents(shape, size)
        self.model.geom_type[geom] = getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")
        self.model.geom_size[geom] = np.pad(np.array(size, dtype=float), (0, 3 - len(size)))
        self.model.geom_rbound[geom] = np.linalg.norm(half)
        self.model.geom_aabb[geom] = (0, 0, 0, *half)
        return half

    def set_walls(self, name: str, side: float, height: float, opening: int) -> None:
        """Shape an open box of half side and half height; opening +1 upwards, -1 downwards."""
        thin = 0.015
        parts = (
            ((0, 0, (thin - height) * opening), (side, side, thin)),
            ((side, 0, 0), (thin, side, height)),
            ((-side, 0, 0), (thin, side, height)),
            ((0, side, 0), (side, thin, height)),
            ((0, -side, 0), (side, thin, height)),
        )
        for geom, (position, half) in zip(self._geoms[name], parts, strict=True):
            self.model.geom_pos[geom] = position
            self._set_geom(geom, "box", half)

    def set_target(
        self, shape: str, size: tuple[float, ...], friction: float, bounce: bool = False
    ) -> np.ndarray:
        """Shape the target and give it the mass, inertia and friction; returns half extents [3]."""
        half = self.set_shape("target", shape, size)
        body, geom = self.model.body("target").id, self._geoms["target"][0]
        mass = self.model.body_mass[body]
        others = np.array([half[[1, 2]], half[[0, 2]], half[[0, 1]]])  # [3, 2]
        # Between a solid ellipsoid (1/5) and a solid box (1/3) of these half extents.
        self.model.body_inertia[body] = 0.25 * mass * (others**2).sum(1)
        self.model.geom_friction[geom] = (friction, 0.01, 0.001)
        self.model.geom_solref[geom] = (-2500.0, -3.0) if bounce else (0.02, 1.0)
        return half

    def place(
        self,
        name: str,
        position: tuple[float, ...] | np.ndarray,
        yaw: float = 0.0,
        quaternion: np.ndarray | None = None,
    ) -> None:
        """Put a prop somewhere, turned about the vertical by ``yaw`` radians or in any way."""
        self.data.mocap_pos[self._mocap[name]] = position
        turn = yaw_quaternion(yaw) if quaternion is None else quaternion
        self.data.mocap_quat[self._mocap[name]] = turn

    def lay_bar(self, name: str, position: tuple[float, float, float], tilt: float) -> None:
        """Lay the pusher or the bar along x, its end lifted by ``tilt`` radians."""
        self.place(name, position, quaternion=lying_quaternion(np.pi / 2 + tilt))

    def mocap_index(self, name: str) -> int:
        """Row of a prop in ``data.mocap_pos``."""
        return self._mocap[name]

    def render_colour(self) -> np.ndarray:
        """What the camera sees, uint8 [S, S, 3], averaged over the supersampled pixels."""
        resolution = self.frame_size * self.supersampling
        image = self._render(self._show_all, resolution, instances=False)
        shape = (self.frame_size, self.supersampling, self.frame_size, self.supersampling, 3)
        return image.reshape(shape).mean((1, 3)).round().astype(np.uint8)

    def render_instances(self) -> np.ndarray:
        """Instance id of every pixel, uint8 [S, S]."""
        return self._instances(self._show_all)

    def render_amodal_target(self) -> np.ndarray:
        """The target as if nothing stood before it, bool [S, S]."""
        return self._instances(self._show_target) == INSTANCE_IDS["target"]

    def _instances(self, option: mujoco.MjvOption) -> np.ndarray:
        image = self._render(option, self.frame_size, instances=True)
        lookup = np.zeros(256, np.uint8)
        for index in range(self._scene.ngeom):
            geom = self._scene.geoms[index]
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                lookup[geom.segid + 1] = self._instance[geom.objid]
        return lookup[image[..., 0]]

    def _render(self, option: mujoco.MjvOption, resolution: int, *, instances: bool) -> np.ndarray:
        mujoco.mjv_updateScene(
            self.model,
            self.data,
            option,
            None,
            self.camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = instances
        self._scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = instances
        viewport = mujoco.MjrRect(0, 0, resolution, resolution)
        image = np.empty((resolution, resolution, 3), np.uint8)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return image[::-1]  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()
