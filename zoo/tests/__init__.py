# SPDX-License-Identifier: MIT
"""Tests of the zoo; they need mujoco and an off-screen OpenGL."""
