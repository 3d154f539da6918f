# SPDX-License-Identifier: MIT
"""Procedural surface patterns coloured from one palette per clip.

Every surface of a clip, objects and background alike, takes its colours from the same small
palette and mixes several of them, so that colour alone does not tell one surface from another.
"""

from __future__ import annotations

import colorsys

import numpy as np

PATTERNS = ("striped", "checkered", "spotted", "marbled", "patchy")
PALETTE_SIZE = 5
BANK_SIZE = 12  # variants of every pattern


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Periodic noise in [0, 1], bilinear between ``cells`` x ``cells`` random values."""
    values = rng.random((cells, cells))
    position = np.arange(size) * cells / size
    low = position.astype(int)
    weight = position - low
    high = (low + 1) % cells
    rows = values[low] * (1 - weight)[:, None] + values[high] * weight[:, None]
    return rows[:, low] * (1 - weight) + rows[:, high] * weight


def pattern(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """Levels of a pattern, float [size, size] in [0, PALETTE_SIZE - 1]; tiles seamlessly."""
    row, column = np.mgrid[0:size, 0:size] / size
    if name == "striped":
        count = rng.integers(1, 4)
        across = rng.choice([row, column, (row + column) % 1.0])
        levels = np.floor(across * count * 2) % 3
    elif name == "checkered":
        count = rng.integers(1, 3) * 2
        levels = (np.floor(row * count) + np.floor(column * count)) % 2
    elif name == "spotted":
        count = rng.integers(1, 4)
        offset = np.stack([(row * count) % 1 - 0.5, (column * count) % 1 - 0.5])
        levels = ((offset**2).sum(0) < rng.uniform(0.06, 0.14)).astype(float)
    elif name == "marbled":
        wave = smooth_noise(rng, size, 3) + 0.5 * smooth_noise(rng, size, 6)
        levels = wave / wave.max() * (PALETTE_SIZE - 1)
    elif name == "patchy":
        seeds = rng.random((int(rng.integers(4, 9)), 2))
        delta = np.abs(np.stack([row, column], -1)[:, :, None] - seeds)
        distance = (np.minimum(delta, 1 - delta) ** 2).sum(-1)  # on the torus: seamless
        levels = distance.argmin(-1) % PALETTE_SIZE
    else:
        raise ValueError(f"pattern: name expected one of {PATTERNS}, got {name!r}")
    return levels.astype(float)


def palette(rng: np.random.Generator) -> np.ndarray:
    """Colours of one clip, [PALETTE_SIZE, 3] in [0, 1], spread in hue and in brightness."""
    hues = (rng.random() + np.linspace(0, rng.uniform(0.4, 1.0), PALETTE_SIZE)) % 1.0
    values = rng.permutation(np.linspace(0.35, 1.0, PALETTE_SIZE))
    colours = [
        colorsys.hsv_to_rgb(hue, rng.uniform(0.2, 0.75), value)
        for hue, value in zip(hues, values, strict=True)
    ]
    return np.array(colours)


class PatternBank:
    """Pattern levels drawn once per process; a clip only colours them."""

    def __init__(self, size: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.size = size
        self.levels = {
            name: [pattern(rng, name, size) for _ in range(BANK_SIZE)] for name in PATTERNS
        }
        self.grain = [smooth_noise(rng, size, size // 4) - 0.5 for _ in range(BANK_SIZE)]

    def draw(self, rng: np.random.Generator, colours: np.ndarray, name: str) -> np.ndarray:
        """A coloured texture, uint8 [size, size, 3], with the palette in random order."""
        levels = self.levels[name][rng.integers(BANK_SIZE)]
        order = colours[rng.permutation(len(colours))]  # [PALETTE_SIZE, 3]
        low = levels.astype(int)
        weight = (levels - low)[..., None]
        image = order[low] * (1 - weight) + order[np.minimum(low + 1, len(order) - 1)] * weight
        image = image + 0.2 * self.grain[rng.integers(BANK_SIZE)][..., None]
        return (image.clip(0, 1) * 255).astype(np.uint8)
