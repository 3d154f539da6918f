"""The Rosetta operators on a GPU: the CPU's bits, the CPU's words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ops.cuda import expect_same_words, to_device
from ops.shared_objects import pack, random_supports
from ops.test_rosetta_errors import CASES, GOOD, Case

MODELS = [0, 5, 9, 9, 12, 16]
VOXELS = [640, 64, 1, 20_000, 0, 333]
RATIOS = [case for case in CASES if "rosetta_ratios" in case.ops]


def _random_tuples(count: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    sizes = np.diff(MODELS)
    rows = random.integers(-1, sizes, (2 * count, len(sizes)))
    return torch.from_numpy(rows[(rows >= 0).any(1)][:count].astype(np.int32))


def _arguments(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    masks = random_supports(MODELS, VOXELS, seed)
    masks[1][:] = False  # a video without any concept: NaN
    return pack(masks, MODELS)


@pytest.mark.parametrize("offsets_on_device", [False, True])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_ratios_equal_the_cpu(
    cuda_device: torch.device, count: int, offsets_on_device: bool
) -> None:
    supports, videos, models = _arguments()
    tuples = _random_tuples(count)
    expected = torch.ops.vtcd.rosetta_ratios(supports, videos, models, tuples)
    offsets = [t.to(cuda_device) if offsets_on_device else t for t in (videos, models)]
    on_gpu = supports.to(cuda_device), *offsets, tuples.to(cuda_device)
    found = torch.ops.vtcd.rosetta_ratios(*on_gpu)
    assert found.device == cuda_device
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0, equal_nan=True)
    again = torch.ops.vtcd.rosetta_ratios(*on_gpu)
    torch.testing.assert_close(again, found, rtol=0, atol=0, equal_nan=True)


def test_ratios_of_other_layouts(cuda_device: torch.device) -> None:
    supports, videos, models = _arguments()
    tuples = _random_tuples(50)
    expected = torch.ops.vtcd.rosetta_ratios(supports, videos, models, tuples)
    spread = torch.stack([supports, ~supports], 1).to(cuda_device)[:, 0]
    transposed = tuples.to(cuda_device).t().contiguous().t()
    found = torch.ops.vtcd.rosetta_ratios(spread, videos, models, transposed)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", RATIOS, ids=str)
def test_ratios_refuse_in_the_words_of_the_cpu(cuda_device: torch.device, case: Case) -> None:
    good = GOOD["rosetta_ratios"]
    expect_same_words(cuda_device, "rosetta_ratios", **(good | case.arguments))
    on_gpu = {name: to_device(value, cuda_device) for name, value in good.items()}
    found = torch.ops.vtcd.rosetta_ratios(**on_gpu)  # the next call works
    torch.testing.assert_close(found.cpu(), torch.ops.vtcd.rosetta_ratios(**good))


@pytest.mark.parametrize("place", [(0, 0), (17, 3), (49, 4)])
def test_the_first_of_several_faults_is_told(
    cuda_device: torch.device, place: tuple[int, int]
) -> None:
    arguments, tuples = _arguments(), _random_tuples(50)
    tuples[place] = 100
    tuples[49, 4] = -2
    expect_same_words(cuda_device, "rosetta_ratios", *arguments, tuples)
    tuples[1] = -1  # a row without a concept
    expect_same_words(cuda_device, "rosetta_ratios", *arguments, tuples)


def test_tuples_on_another_device_are_refused(cuda_device: torch.device) -> None:
    supports, videos, models = _arguments()
    with pytest.raises(RuntimeError, match="rosetta_ratios: tuples expected on cuda:0, got cpu"):
        torch.ops.vtcd.rosetta_ratios(supports.to(cuda_device), videos, models, _random_tuples(3))


def test_opcheck_of_ratios(cuda_device: torch.device) -> None:
    full = pack(random_supports(MODELS, [70, 500], seed=1, empty=0.0), MODELS)  # no NaN
    on_gpu = [tensor.to(cuda_device) for tensor in (*full, _random_tuples(20))]
    torch.library.opcheck(torch.ops.vtcd.rosetta_ratios.default, on_gpu)
