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


def test_tensors_on_another_device_are_refused(cuda_device: torch.device) -> None:
    supports, videos, models = _arguments()
    with pytest.raises(RuntimeError, match="rosetta_search: videos expected on cpu, got cuda:0"):
        torch.ops.vtcd.rosetta_search(supports, videos.to(cuda_device), models)
    with pytest.raises(RuntimeError, match="rosetta_ratios: models expected on cpu, got cuda:0"):
        torch.ops.vtcd.rosetta_ratios(supports, videos, models.to(cuda_device), _random_tuples(3))
    with pytest.raises(RuntimeError, match="rosetta_ratios: tuples expected on cuda:0, got cpu"):
        torch.ops.vtcd.rosetta_ratios(supports.to(cuda_device), videos, models, _random_tuples(3))


def test_opcheck_of_ratios(cuda_device: torch.device) -> None:
    full = pack(random_supports(MODELS, [70, 500], seed=1, empty=0.0), MODELS)  # no NaN
    on_gpu = [tensor.to(cuda_device) for tensor in (*full, _random_tuples(20))]
    torch.library.opcheck(torch.ops.vtcd.rosetta_ratios.default, on_gpu)


SEARCHES = [
    # delta, orders, best of each, tuples held
    {"delta": 0.15},
    {"delta": 0.02, "max_order": 2},
    {"delta": 0.05, "max_order": 3},
    {"delta": 0.0, "top": 12},
    {"delta": 0.1, "top": 500},
    {"delta": 1.0},
]


def _expect_search_of_the_cpu(
    device: torch.device, arguments: tuple[torch.Tensor, ...], **settings: float
) -> int:
    delta = settings.pop("delta")
    expected = torch.ops.vtcd.rosetta_search(*arguments, delta, **settings)
    supports, videos, models = arguments
    found = torch.ops.vtcd.rosetta_search(
        supports.to(device), videos, models.to(device), delta, **settings
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device == device
        assert torch.equal(ours.cpu(), theirs)
    return len(expected[1])


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_search_equals_the_cpu(
    cuda_device: torch.device, settings: dict[str, float], seed: int
) -> None:
    _expect_search_of_the_cpu(cuda_device, _arguments(seed), **settings)


@pytest.mark.parametrize("settings", [{"delta": 0.1}, {"delta": 0.0, "top": 40}], ids=str)
def test_search_of_many_tiles(cuda_device: torch.device, settings: dict[str, float]) -> None:
    """Tiles that are cut, dropped at once, dropped on the way, and counted to the end."""
    models = [0, 150, 151, 290, 420]
    masks = random_supports(models, [900, 5_000, 64, 2_100, 700], seed=4, num_objects=6)
    for video in masks:
        video[:60] = np.random.default_rng(0).random(video[:60].shape) < 0.01  # overlap little
    assert _expect_search_of_the_cpu(cuda_device, pack(masks, models), **settings) > 100


def test_search_of_equal_and_of_random_supports(cuda_device: torch.device) -> None:
    """Ties, and supports that no bound parts."""
    models = [0, 60, 120, 180, 240]
    equal = pack([np.ones((240, 100), dtype=bool)], models)
    assert _expect_search_of_the_cpu(cuda_device, equal, delta=0.0, top=10) == 30
    models = [0, 20, 40, 60, 80]
    noise = np.random.default_rng(1).random((80, 500)) < 0.5
    assert _expect_search_of_the_cpu(cuda_device, pack([noise], models), delta=0.0, top=10) == 30


def test_search_twice_is_the_same(cuda_device: torch.device) -> None:
    supports, videos, models = _arguments()
    on_gpu = supports.to(cuda_device), videos, models
    first = torch.ops.vtcd.rosetta_search(*on_gpu, 0.05)
    again = torch.ops.vtcd.rosetta_search(*on_gpu, 0.05)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("case", [case for case in CASES if "rosetta_search" in case.ops], ids=str)
def test_search_refuses_in_the_words_of_the_cpu(cuda_device: torch.device, case: Case) -> None:
    good = GOOD["rosetta_search"]
    expect_same_words(cuda_device, "rosetta_search", **(good | case.arguments))
    on_gpu = {name: to_device(value, cuda_device) for name, value in good.items()}
    found = torch.ops.vtcd.rosetta_search(**on_gpu)  # the next call works
    assert torch.equal(found[1].cpu(), torch.ops.vtcd.rosetta_search(**good)[1])


@pytest.mark.parametrize("max_tuples", [1, 7, 20])
def test_too_many_tuples_are_told_in_the_words_of_the_cpu(
    cuda_device: torch.device, max_tuples: int
) -> None:
    arguments = _arguments()
    expect_same_words(cuda_device, "rosetta_search", *arguments, 0.01, max_tuples=max_tuples)
    expect_same_words(cuda_device, "rosetta_search", *arguments, 0.0, top=60, max_tuples=max_tuples)


def test_search_without_a_voxel_or_a_concept(cuda_device: torch.device) -> None:
    none = torch.zeros(0, dtype=torch.int64, device=cuda_device)
    for videos, models in (([0], [0, 2**30, 2**31 - 1]), ([0, 0, 0], [0, 2]), ([0, 3], [0, 0])):
        offsets = torch.tensor(videos), torch.tensor(models)
        for top in (0, 10):
            tuples, scores = torch.ops.vtcd.rosetta_search(none, *offsets, 0.0, top=top)
            assert tuples.shape == (0, len(models) - 1)
            assert scores.shape == (0,)


def test_opcheck_of_search(cuda_device: torch.device) -> None:
    on_gpu = [tensor.to(cuda_device) for tensor in _arguments()]
    torch.library.opcheck(torch.ops.vtcd.rosetta_search.default, (*on_gpu, 0.1))
