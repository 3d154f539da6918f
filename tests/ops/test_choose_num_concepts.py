"""choose_num_concepts against scikit-learn's k-means under the plain rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

import vtcd_ops
from vtcd_ops.ops import reference
from vtcd_ops.ops.choose_num_concepts import CRITERIA

CLUSTERS = (5, 4, 7)


def separated(k: int, num_rows: int = 30, num_channels: int = 32) -> np.ndarray:
    """Well separated clusters in so many channels that splitting one hardly helps."""
    random = np.random.default_rng(k)
    centers = 6 * np.eye(k, num_channels)
    return centers.repeat(num_rows, 0) + 0.5 * random.normal(size=(k * num_rows, num_channels))


@pytest.mark.parametrize("k", CLUSTERS)
def test_true_clusters(k: int) -> None:
    """The rule of the authors' code finds one too many, as it does on the real thing."""
    data = torch.from_numpy(separated(k))
    chosen = {
        criterion: int(vtcd_ops.choose_num_concepts(data, criterion=criterion))
        for criterion in CRITERIA
    }
    assert chosen["elbow"] == chosen["silhouette"] == k
    assert chosen["elbow_released"] == k + 1


@pytest.mark.parametrize("seed", range(3))
def test_elbow_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    data = separated(4, 15) + random.normal(size=(60, 32))
    inertia = [KMeans(k, n_init=5, random_state=0).fit(data).inertia_ for k in range(1, 9)]
    for threshold in (0.5, 0.75, 0.9):  # no ratio of two inertias is near these
        chosen = vtcd_ops.choose_num_concepts(torch.from_numpy(data), threshold=threshold)
        assert chosen == reference.elbow(inertia, threshold)
        assert max(chosen.objective) == reference.elbow(inertia, threshold, released=True)
        for k, value in chosen.objective.items():
            np.testing.assert_allclose(60 * value, inertia[k - 1], rtol=0.03)


@pytest.mark.parametrize("k", CLUSTERS)
def test_silhouettes_are_those_of_scikit_learn(k: int) -> None:
    data = separated(k)
    expected = {
        number: silhouette_score(data, KMeans(number, n_init=3, random_state=0).fit_predict(data))
        for number in range(2, k + 1)
    }
    by_silhouette = vtcd_ops.choose_num_concepts(torch.from_numpy(data), criterion="silhouette")
    assert sorted(by_silhouette.objective) == list(range(2, 16))
    assert by_silhouette == max(by_silhouette.objective, key=by_silhouette.objective.get)
    for number in (k - 1, k):  # fewer clusters have many equally good ways to be merged
        np.testing.assert_allclose(by_silhouette.objective[number], expected[number], atol=0.02)
    np.testing.assert_allclose(by_silhouette.silhouette, expected[k], rtol=1e-6)


@pytest.mark.parametrize("k", CLUSTERS)
def test_elbow_silhouette_is_the_elbow_of_one_minus_silhouette(k: int) -> None:
    data = torch.from_numpy(separated(k))
    silhouettes = vtcd_ops.choose_num_concepts(data, criterion="silhouette").objective
    objective = [1 - silhouettes[number] for number in range(2, 16)]
    chosen = vtcd_ops.choose_num_concepts(data, criterion="elbow_silhouette")
    assert chosen == reference.elbow(objective, 0.9) + 1
    assert chosen.silhouette == silhouettes[int(chosen)]


def test_silhouette_of_the_elbow() -> None:
    data = torch.from_numpy(separated(4))
    chosen = vtcd_ops.choose_num_concepts(data)
    labels = vtcd_ops.kmeans(data, int(chosen)).labels
    np.testing.assert_allclose(chosen.silhouette, silhouette_score(data, labels), rtol=1e-10)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("num_rows", [1, 2])
def test_one_or_two_rows_are_one_concept(num_rows: int, criterion: str) -> None:
    chosen = vtcd_ops.choose_num_concepts(torch.rand(num_rows, 3), criterion=criterion)
    assert chosen == 1
    assert chosen.silhouette == 0


def test_no_more_than_rows_less_one_and_fifteen() -> None:
    assert vtcd_ops.choose_num_concepts(10 * torch.eye(5), threshold=1.0) == 4
    many = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 2)))
    assert vtcd_ops.choose_num_concepts(many, threshold=1.0) == 15


@pytest.mark.parametrize("criterion", ["elbow", "elbow_released"])
def test_nothing_left_to_explain_ends_the_search(criterion: str) -> None:
    same = torch.ones(9, 3)
    assert vtcd_ops.choose_num_concepts(same, criterion=criterion) == 1
    three = torch.eye(3).repeat(4, 1)
    assert vtcd_ops.choose_num_concepts(three, criterion=criterion) == 3


@pytest.mark.parametrize("criterion", CRITERIA)
def test_alone_and_in_a_list(criterion: str) -> None:
    data = [torch.from_numpy(separated(k, 12)) for k in CLUSTERS] + [torch.rand(2, 32).double()]
    alone = [vtcd_ops.choose_num_concepts(d, criterion=criterion) for d in data]
    together = vtcd_ops.choose_num_concepts(data, criterion=criterion)
    assert alone == together
    assert [a.objective for a in alone] == [b.objective for b in together]
    assert [a.silhouette for a in alone] == [b.silhouette for b in together]
    assert vtcd_ops.choose_num_concepts([], criterion=criterion) == []


def test_is_an_integer_that_cnmf_takes() -> None:
    data = [torch.from_numpy(separated(k, 12)) for k in CLUSTERS]
    found = vtcd_ops.cnmf(data, vtcd_ops.choose_num_concepts(data))
    assert [result.centers.shape[0] for result in found] == list(CLUSTERS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "knee"}, "criterion expected elbow, .*, got knee"),
        ({"threshold": 0.0}, "threshold expected above 0 and at most 1, got 0"),
        ({"threshold": 1.5}, "threshold expected above 0 and at most 1, got 1.5"),
        ({"threshold": float("nan")}, "threshold expected above 0 and at most 1, got nan"),
        ({"num_restarts": 0}, "num_restarts expected at least 1, got 0"),
        ({"data": torch.zeros(0, 3)}, r"data expected at least 1 row, got \[0, 3\]"),
        ({"data": torch.zeros(3)}, r"data expected \[N, C\], got \[3\]"),
        ({"data": torch.full((3, 2), torch.nan)}, "data expected finite values, got NaN or Inf"),
    ],
)
def test_bad_input(arguments: dict, message: str) -> None:
    data = arguments.pop("data", torch.rand(5, 3))
    with pytest.raises(ValueError, match=f"^choose_num_concepts: {message}$"):
        vtcd_ops.choose_num_concepts(data, **arguments)
