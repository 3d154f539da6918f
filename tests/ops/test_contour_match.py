"""contour_match: scikit-image's dilation, its own definition, any layout and any threads."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies
from skimage.morphology import dilation, disk
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import vtcd_ops
from vtcd_ops.ops import reference


def blobs(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random masks: contours of several objects, some cut by the frame's edge."""
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 9, 1, 4)[0] > 0.05


def by_scikit(prediction: np.ndarray, truth: np.ndarray, radius: int) -> list[int]:
    """The counts of one frame, by dilating the contours with scikit-image's disk."""
    ours, theirs = (reference.contour_of(mask) for mask in (prediction, truth))
    near = dilation(theirs, disk(radius)), dilation(ours, disk(radius))
    return [(ours & near[0]).sum(), ours.sum(), (theirs & near[1]).sum(), theirs.sum()]


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 8, 21])
@pytest.mark.parametrize("size", [(40, 63), (33, 64), (48, 65), (30, 200), (1, 90), (90, 1)])
def test_counts_are_those_of_a_dilation(size: tuple[int, int], radius: int) -> None:
    prediction, truth = blobs(3, *size, seed=1), blobs(3, *size, seed=2)
    expected = [
        by_scikit(ours, theirs, radius) for ours, theirs in zip(prediction.numpy(), truth.numpy())
    ]
    assert vtcd_ops.contour_match(prediction, truth, radius).tolist() == expected


@hypothesis.given(
    height=strategies.integers(1, 12),
    width=strategies.sampled_from([1, 2, 7, 8, 9, 63, 64, 65, 128, 130]),
    radius=strategies.integers(0, 9) | strategies.sampled_from([200, 2**31, 2**62]),
    seed=strategies.integers(0, 2**31),
    density=strategies.sampled_from([0.0, 0.02, 0.5, 1.0]),
)
def test_counts_are_those_of_the_definition(
    height: int, width: int, radius: int, seed: int, density: float
) -> None:
    random = np.random.default_rng(seed)
    prediction, truth = random.random((2, 2, height, width)) < density
    expected = reference.contour_match(prediction, truth, radius)
    found = vtcd_ops.contour_match(torch.from_numpy(prediction), torch.from_numpy(truth), radius)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("num_threads")
def test_alone_in_a_batch_and_any_threads() -> None:
    prediction, truth = blobs(7, 50, 70, seed=3), blobs(7, 50, 70, seed=4)
    torch.set_num_threads(1)
    expected = torch.cat(
        [vtcd_ops.contour_match(prediction[t, None], truth[t, None], 3) for t in range(7)]
    )
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        assert torch.equal(vtcd_ops.contour_match(prediction, truth, 3), expected)


@pytest.mark.parametrize(
    "arranged",
    [
        lambda mask: mask.movedim(0, -1).contiguous().movedim(-1, 0),
        lambda mask: torch.stack([mask, ~mask], -1)[..., 0],
        lambda mask: mask.flip(2).flip(2),
    ],
    ids=["frames last", "strided", "copied"],
)
def test_any_layout(arranged: Callable[[Tensor], Tensor]) -> None:
    prediction, truth = blobs(3, 20, 70, seed=5), blobs(3, 20, 70, seed=6)
    found = vtcd_ops.contour_match(arranged(prediction), arranged(truth), 2)
    assert torch.equal(found, vtcd_ops.contour_match(prediction, truth, 2))


def test_any_byte_but_zero_is_true() -> None:
    mask = blobs(1, 20, 70)
    odd = (mask.to(torch.uint8) * 254).view(torch.bool)
    expected = vtcd_ops.contour_match(mask, mask, 0)
    assert torch.equal(vtcd_ops.contour_match(odd, odd, 0), expected)


def test_no_frames() -> None:
    none = torch.zeros(0, 4, 5, dtype=torch.bool)
    assert vtcd_ops.contour_match(none, none, 1).shape == (0, 4)


def test_opcheck() -> None:
    arguments = (blobs(2, 20, 70), blobs(2, 20, 70, seed=1), 3)
    torch.library.opcheck(torch.ops.vtcd.contour_match, arguments)


MASK = torch.zeros(2, 3, 4, dtype=torch.bool)
WRONG = [
    ("prediction expected bool, got uint8", {"prediction": MASK.byte()}),
    ("truth expected bool, got float32", {"truth": MASK.float()}),
    ("prediction expected [T, H, W] with pixels, got [3, 4]", {"prediction": MASK[0]}),
    ("truth expected [T, H, W] with pixels, got [2, 3, 0]", {"truth": MASK[:, :, :0]}),
    ("truth expected [2, 3, 4], as prediction, got [1, 3, 4]", {"truth": MASK[:1]}),
    ("truth expected [2, 3, 4], as prediction, got [2, 3, 3]", {"truth": MASK[:, :, :3]}),
    ("radius expected at least 0, got -1", {"radius": -1}),
]


@pytest.mark.parametrize(("message", "wrong"), WRONG)
def test_wrong_calls_in_the_same_words(message: str, wrong: dict[str, object]) -> None:
    arguments = {"prediction": MASK, "truth": MASK, "radius": 1} | wrong
    with pytest.raises(RuntimeError) as kernel:
        torch.ops.vtcd.contour_match(**arguments)
    with pytest.raises((ValueError, TypeError)) as function:
        vtcd_ops.contour_match(**arguments)
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises((ValueError, TypeError)) as fake:
        torch.ops.vtcd.contour_match(**arguments)
    for caught in (kernel, function, fake):
        assert str(caught.value).splitlines()[0] == f"contour_match: {message}"


def test_on_another_device() -> None:
    with pytest.raises(ValueError, match="contour_match: truth expected on cpu, got meta"):
        vtcd_ops.contour_match(MASK, MASK.to("meta"), 1)
