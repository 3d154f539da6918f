"""rosetta_search and rosetta_ratios against trying every tuple."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops.shared_objects import as_concepts, pack, random_supports

import vtcd_ops
from vtcd_ops.ops import reference

MODELS = [0, 5, 9, 12, 16]
VOXELS = [640, 64, 1, 333, 100]


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    masks = random_supports(MODELS, VOXELS, seed=0, num_objects=2, noise=0.05)
    masks[3][:] = False  # a video without any concept
    masks[4][9:12] = False  # one without the third model's
    return masks


@pytest.mark.parametrize("delta", [0.02, 0.1, 0.15, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("max_order", [2, 3, 4])
def test_every_tuple(masks: list[np.ndarray], delta: float, max_order: int) -> None:
    found = vtcd_ops.rosetta_search(*pack(masks, MODELS), delta, max_order=max_order)
    expected = reference.rosetta_search(masks, MODELS, delta, max_order)
    assert as_concepts(found.tuples, MODELS) == [concepts for concepts, _ in expected]
    assert found.scores.tolist() == [score for _, score in expected]


def test_the_cases_above_have_tuples_of_every_order(masks: list[np.ndarray]) -> None:
    orders = {len(concepts) for concepts, _ in reference.rosetta_search(masks, MODELS, 0.1)}
    assert orders == {2, 3, 4}


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    voxels=st.lists(st.integers(0, 150), min_size=0, max_size=4),
    noise=st.sampled_from([0.0, 0.1, 0.5]),
    delta=st.sampled_from([0.05, 0.15, 1 / 3, 0.5, 1.0]),
)
def test_any_case(
    seed: int, sizes: list[int], voxels: list[int], noise: float, delta: float
) -> None:
    """Models without concepts, a single model, no video, empty videos, equal supports."""
    models = [0, *itertools.accumulate(sizes)]
    masks = random_supports(models, voxels, seed, noise=noise, empty=0.3)
    found = vtcd_ops.rosetta_search(*pack(masks, models), delta)
    expected = reference.rosetta_search(masks, models, delta)
    assert as_concepts(found.tuples, models) == [concepts for concepts, _ in expected]
    assert found.scores.tolist() == [score for _, score in expected]


@given(seed=st.integers(0, 10_000), top=st.integers(1, 12), delta=st.sampled_from([0.0, 0.2]))
def test_the_best_of_every_order(seed: int, top: int, delta: float) -> None:
    models = [0, 4, 7, 9]
    masks = random_supports(models, [200, 77, 130], seed, noise=0.2)
    found = vtcd_ops.rosetta_search(*pack(masks, models), delta, top=top)
    every = reference.rosetta_search(masks, models, max(delta, 5e-324))
    expected = [
        entry for order in (2, 3) for entry in [e for e in every if len(e[0]) == order][:top]
    ]
    assert as_concepts(found.tuples, models) == [concepts for concepts, _ in expected]
    assert found.scores.tolist() == [score for _, score in expected]


@given(
    seed=st.integers(0, 10_000),
    top=st.integers(1, 40),
    noise=st.sampled_from([0.0, 0.1, 0.5]),
    empty=st.sampled_from([0.0, 0.4]),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_the_best_of_any_models(
    seed: int, top: int, noise: float, empty: float, sizes: list[int]
) -> None:
    """Equal scores (noise 0), models without concepts, empty supports, more asked for than are."""
    models = [0, *itertools.accumulate(sizes)]
    masks = random_supports(models, [40, 0, 66], seed, noise=noise, empty=empty)
    found = vtcd_ops.rosetta_search(*pack(masks, models), 0.0, top=top)
    every = reference.rosetta_search(masks, models, 5e-324)
    expected = [
        entry
        for order in range(2, len(sizes) + 1)
        for entry in [e for e in every if len(e[0]) == order][:top]
    ]
    assert as_concepts(found.tuples, models) == [concepts for concepts, _ in expected]
    assert found.scores.tolist() == [score for _, score in expected]


def test_equal_supports_are_no_hard_case() -> None:
    """4 x 60 once took 12 s, and then failed."""
    arguments = pack([np.ones((240, 100), dtype=bool)], [0, 60, 120, 180, 240])
    began = time.process_time()
    found = vtcd_ops.rosetta_search(*arguments, 0.0, top=10)
    assert time.process_time() - began < 2
    assert found.scores.tolist() == [1.0] * 30
    assert found.tuples[:10].tolist() == [[0, concept, -1, -1] for concept in range(10)]
    assert found.tuples[20:].tolist() == [[0, 0, 0, concept] for concept in range(10)]


def test_random_supports_best_of_four_models() -> None:
    """No bound parts supports at random, so nearly all 4 x 30 have to be tried: by numbers."""
    models = [0, 30, 60, 90, 120]
    voxels = np.random.default_rng(3).random((120, 500)) < 0.5
    found = vtcd_ops.rosetta_search(*pack([voxels], models), 0.0, top=10)
    as_numbers = voxels.astype(np.float32)
    pairs = {}
    for first, second in ((0, 1), (2, 3)):
        a, b = (as_numbers[models[m] : models[m + 1]] for m in (first, second))
        pairs[first] = (
            (a[:, None] * b).reshape(900, 500),
            np.maximum(a[:, None], b).reshape(900, 500),
        )
    common = pairs[0][0] @ pairs[2][0].T
    empty = (1 - pairs[0][1]) @ (1 - pairs[2][1]).T
    scores = np.sort((common.astype(np.float64) / (500 - empty)).ravel())[::-1]
    assert found.scores[20:].tolist() == scores[:10].tolist()


@given(seed=st.integers(0, 10_000))
def test_a_tuple_scores_no_more_than_a_part_of_it(seed: int) -> None:
    """The theorem that the search rests on (docs/rosetta.md)."""
    models = [0, 2, 4, 6, 8]
    masks = random_supports(models, [90, 40, 64], seed, noise=0.2, empty=0.5)
    arguments = pack(masks, models)
    every = torch.tensor(list(itertools.product([-1, 0, 1], repeat=4)), dtype=torch.int32)[1:]
    ratios = vtcd_ops.rosetta_ratios(*arguments, every).numpy()
    scores = {
        tuple(row): reference.rosetta_score(list(of_row))
        for row, of_row in zip(every.tolist(), ratios, strict=True)
    }
    for row, score in scores.items():
        for left_out in range(4):
            part = tuple(-1 if m == left_out else concept for m, concept in enumerate(row))
            assert part not in scores or score <= scores[part]


@given(seed=st.integers(0, 10_000))
def test_the_order_of_models_videos_and_concepts_does_not_matter(seed: int) -> None:
    models = [0, 3, 6, 8]
    masks = random_supports(models, [130, 64, 99], seed, noise=0.2)
    random = np.random.default_rng(seed)
    order = random.permutation(3)
    concepts = [random.permutation(np.arange(models[m], models[m + 1])) for m in order]
    shuffled_models = [0, *itertools.accumulate(len(c) for c in concepts)]
    moved = np.concatenate(concepts)
    shuffled = [masks[video][moved] for video in random.permutation(3)]

    found = vtcd_ops.rosetta_search(*pack(masks, models), 0.05)
    again = vtcd_ops.rosetta_search(*pack(shuffled, shuffled_models), 0.05)
    before = dict(zip(as_concepts(found.tuples, models), found.scores.tolist(), strict=True))
    after = {
        tuple(sorted(int(moved[c]) for c in concepts)): score
        for concepts, score in zip(
            as_concepts(again.tuples, shuffled_models), again.scores.tolist(), strict=True
        )
    }
    assert before.keys() == after.keys()
    np.testing.assert_allclose([after[key] for key in before], list(before.values()), rtol=1e-14)


def test_ratios_of_each_video(masks: list[np.ndarray]) -> None:
    tuples = torch.tensor([[0, 0, 0, 0], [1, -1, 2, -1], [-1, -1, -1, 3]], dtype=torch.int32)
    found = vtcd_ops.rosetta_ratios(*pack(masks, MODELS), tuples).numpy()
    for row, concepts in zip(found, as_concepts(tuples, MODELS), strict=True):
        np.testing.assert_array_equal(row, reference.rosetta_ratios(masks, concepts))
    assert np.isnan(found[:, 3]).all()


def test_scores_are_means_of_ratios(masks: list[np.ndarray]) -> None:
    found = vtcd_ops.rosetta_search(*pack(masks, MODELS), 0.05)
    ratios = vtcd_ops.rosetta_ratios(*pack(masks, MODELS), found.tuples).numpy()
    np.testing.assert_allclose(np.nanmean(ratios, axis=1), found.scores, rtol=1e-14)


def test_threads_do_not_change_a_bit(num_threads: None) -> None:
    models = [0, 60, 130, 180]
    arguments = pack(random_supports(models, [900, 500, 777], seed=3, num_objects=6), models)
    torch.set_num_threads(1)
    alone = vtcd_ops.rosetta_search(*arguments, 0.1)
    assert len(alone.scores) > 500
    for count in (2, 3):
        torch.set_num_threads(count)
        found = vtcd_ops.rosetta_search(*arguments, 0.1)
        assert torch.equal(found.tuples, alone.tuples)
        assert torch.equal(found.scores, alone.scores)


def test_too_many_tuples_are_told_the_delta_that_would_do(masks: list[np.ndarray]) -> None:
    arguments = pack(masks, MODELS)
    every = [score for _, score in reference.rosetta_search(masks, MODELS, 0.01)]
    for most in (1, 7, 20):
        with pytest.raises(ValueError, match=rf"no more than {most} tuples \(max_tuples\)") as said:
            vtcd_ops.rosetta_search(*arguments, 0.01, max_tuples=most)
        delta = float(str(said.value).split("at least ")[1].split(",")[0])
        assert len(vtcd_ops.rosetta_search(*arguments, delta, max_tuples=most).scores) <= most
        lower = delta - 2e-6
        assert sum(score >= lower for score in every) > most
    enough = vtcd_ops.rosetta_search(*arguments, 0.01, max_tuples=len(every))
    assert len(enough.scores) == len(every)


def test_ties_that_no_delta_parts() -> None:
    arguments = pack([np.ones((4, 10), dtype=bool)], [0, 2, 4])
    with pytest.raises(ValueError, match=r"max_tuples expected more, got 3: so many tuples"):
        vtcd_ops.rosetta_search(*arguments, 0.5, max_tuples=3)


def test_top_says_when_max_tuples_is_too_small() -> None:
    models = [0, 4, 8, 12]
    arguments = pack([np.ones((12, 10), dtype=bool)], models)
    with pytest.raises(ValueError, match=r"max_tuples expected enough to find the 60 best"):
        vtcd_ops.rosetta_search(*arguments, 0.0, top=60, max_tuples=50)


def test_a_mapped_file_will_do(masks: list[np.ndarray], tmp_path_factory: object) -> None:
    supports, videos, models = pack(masks, MODELS)
    path = tmp_path_factory.mktemp("mapped") / "supports"
    path.write_bytes(supports.numpy().tobytes())
    mapped = torch.from_numpy(np.memmap(path, dtype=np.int64, mode="r+"))
    expected = vtcd_ops.rosetta_search(supports, videos, models)
    assert torch.equal(vtcd_ops.rosetta_search(mapped, videos, models).tuples, expected.tuples)


def test_strides_do_not_matter(masks: list[np.ndarray]) -> None:
    supports, videos, models = pack(masks, MODELS)
    spread = torch.stack([supports, supports * 0], dim=1)[:, 0]
    expected = vtcd_ops.rosetta_search(supports, videos, models)
    assert torch.equal(vtcd_ops.rosetta_search(spread, videos, models).tuples, expected.tuples)


def test_opcheck(masks: list[np.ndarray]) -> None:
    arguments = pack(masks, MODELS)
    torch.library.opcheck(torch.ops.vtcd.rosetta_search.default, (*arguments, 0.1))
    full = pack(random_supports(MODELS, VOXELS[:2], seed=1, empty=0.0), MODELS)  # NaN is not equal
    tuples = torch.tensor([[0, -1, 1, 2]], dtype=torch.int32)
    torch.library.opcheck(torch.ops.vtcd.rosetta_ratios.default, (*full, tuples))


def test_compile(masks: list[np.ndarray]) -> None:
    def best(supports: torch.Tensor, videos: torch.Tensor, models: torch.Tensor) -> torch.Tensor:
        return torch.ops.vtcd.rosetta_search(supports, videos, models, 0.1)[1].sum()

    arguments = pack(masks, MODELS)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(best, fullgraph=True, backend="aot_eager")
        assert compiled(*arguments) == best(*arguments)
