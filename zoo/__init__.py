# SPDX-License-Identifier: MIT
"""Miniature video models and the rendered scenes they are trained on (development only)."""

import os

# MuJoCo chooses its OpenGL when it is first imported: off screen, on the CPU, one thread a process.
os.environ.setdefault("MUJOCO_GL", "osmesa")
os.environ.setdefault("PYOPENGL_PLATFORM", "osmesa")
os.environ.setdefault("LP_NUM_THREADS", "1")
