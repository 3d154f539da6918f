"""A preprocessor configuration that leaves bytes as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vtcd_ops.video.frames import FrameTransform

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("do_rescale", [True, False])
@pytest.mark.parametrize("family", ["VideoMAEImageProcessor", "VivitImageProcessor"])
def test_rescaling_is_that_of_transformers(
    family: str, do_rescale: bool, do_normalize: bool
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    config = {
        "do_resize": False,
        "do_center_crop": False,
        "do_rescale": do_rescale,
        "do_normalize": do_normalize,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    }
    extra = {"offset": do_rescale, "rescale_factor": 1 / 127.5} if "Vivit" in family else {}
    processor = getattr(transformers, family)(**config, **extra)
    expected = processor(list(frames), return_tensors="pt")["pixel_values"][0].float()
    transform = FrameTransform.from_config({**config, **extra}, size=(32, 32))
    torch.testing.assert_close(transform(frames), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(transform.display(transform(frames)), frames)
