# SPDX-License-Identifier: MIT
"""Miniature video models and the rendered scenes they are trained on (development only)."""
