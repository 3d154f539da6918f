"""contour_match on a GPU: the CPU's counts, the CPU's words."""

from __future__ import annotations

import pytest
import torch
from ops.cuda import expect_same_words
from ops.test_contour_match import MASK, WRONG, blobs


@pytest.mark.parametrize("radius", [0, 1, 5, 21, 300, 2**62])
@pytest.mark.parametrize("size", [(1, 1), (33, 31), (48, 64), (120, 215), (1, 90), (90, 1)])
def test_equals_the_cpu(cuda_device: torch.device, size: tuple[int, int], radius: int) -> None:
    prediction, truth = blobs(5, *size, seed=1), blobs(5, *size, seed=2)
    truth[3] = False  # a frame without contour
    truth[4] = torch.rand(size) > 0.5
    expected = torch.ops.vtcd.contour_match(prediction, truth, radius)
    on_gpu = prediction.to(cuda_device), truth.to(cuda_device)
    found = torch.ops.vtcd.contour_match(*on_gpu, radius)
    assert found.device == cuda_device
    assert found.tolist() == expected.tolist()
    alone = [torch.ops.vtcd.contour_match(*(m[t, None] for m in on_gpu), radius) for t in range(5)]
    assert torch.equal(torch.cat(alone), found)


def test_any_layout_and_any_byte_but_zero(cuda_device: torch.device) -> None:
    prediction, truth = blobs(3, 20, 70, seed=5), blobs(3, 20, 70, seed=6)
    expected = torch.ops.vtcd.contour_match(prediction, truth, 2)
    prediction, truth = prediction.to(cuda_device), truth.to(cuda_device)
    moved = prediction.movedim(0, -1).contiguous().movedim(-1, 0)
    odd = (truth.to(torch.uint8) * 254).view(torch.bool)
    strided = torch.stack([odd, ~truth], -1)[..., 0]
    for ours, theirs in ((moved, truth), (prediction, odd), (moved, strided)):
        assert torch.equal(torch.ops.vtcd.contour_match(ours, theirs, 2).cpu(), expected)


def test_no_frames(cuda_device: torch.device) -> None:
    none = torch.zeros(0, 4, 5, dtype=torch.bool, device=cuda_device)
    assert torch.ops.vtcd.contour_match(none, none, 1).shape == (0, 4)


@pytest.mark.parametrize(("message", "wrong"), WRONG)
def test_refuses_in_the_words_of_the_cpu(
    cuda_device: torch.device, message: str, wrong: dict[str, object]
) -> None:
    arguments = {"prediction": MASK, "truth": MASK, "radius": 1} | wrong
    expect_same_words(cuda_device, "contour_match", **arguments)


def test_a_mask_on_another_device_is_refused(cuda_device: torch.device) -> None:
    with pytest.raises(RuntimeError, match="contour_match: truth expected on cuda:0, got cpu"):
        torch.ops.vtcd.contour_match(MASK.to(cuda_device), MASK, 1)
    with pytest.raises(RuntimeError, match="contour_match: truth expected on cpu, got cuda:0"):
        torch.ops.vtcd.contour_match(MASK, MASK.to(cuda_device), 1)


def test_is_recorded_into_a_graph(cuda_device: torch.device) -> None:
    masks = [blobs(2, 40, 50, seed=seed).to(cuda_device) for seed in (1, 2, 3)]
    prediction = masks[0].clone()
    torch.ops.vtcd.contour_match(prediction, masks[1], 3)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = torch.ops.vtcd.contour_match(prediction, masks[1], 3)
    prediction.copy_(masks[2])
    graph.replay()
    assert torch.equal(found, torch.ops.vtcd.contour_match(masks[2], masks[1], 3))


def test_opcheck(cuda_device: torch.device) -> None:
    arguments = (blobs(2, 20, 70).to(cuda_device), blobs(2, 20, 70, seed=1).to(cuda_device), 3)
    torch.library.opcheck(torch.ops.vtcd.contour_match, arguments)
