"""Videos and a model small enough that a discovery takes a second."""

from __future__ import annotations

import numpy as np
import pytest
from pipeline.videos import moving_square

from vtcd_ops.adapters import example_adapter
from vtcd_ops.adapters.projections import ProjectionAdapter


@pytest.fixture
def videos() -> list[np.ndarray]:
    return [moving_square(seed=seed) for seed in range(4)]


@pytest.fixture
def adapter() -> ProjectionAdapter:
    return example_adapter()
