"""silhouette against scikit-learn, the definition, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops.ragged import batch, blobs, planted
from sklearn.metrics import silhouette_samples

import vtcd_ops
from vtcd_ops.ops import reference
from vtcd_ops.ops.silhouette import silhouettes_of_many


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_rows", "k"), [(30, 2), (100, 5), (333, 15)])
def test_scikit_learn(num_rows: int, k: int, dtype: torch.dtype) -> None:
    data = torch.from_numpy(blobs(num_rows, 12, k, seed=k)).to(dtype)
    labels = torch.arange(num_rows) % k
    found = vtcd_ops.silhouette(data, labels)
    assert found.dtype == dtype
    expected = silhouette_samples(data.double().numpy(), labels.numpy())
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-10
    )


def test_far_from_the_origin() -> None:
    """A large common offset must not drown the distances."""
    data = blobs(60, 8, 3, seed=0) + 1e4
    labels = np.arange(60) % 3
    found = vtcd_ops.silhouette(torch.from_numpy(data), torch.from_numpy(labels))
    np.testing.assert_allclose(found, reference.silhouette(data, labels), rtol=0, atol=1e-9)


def test_labels_may_skip_numbers_and_be_int32() -> None:
    data = torch.from_numpy(blobs(40, 4, 3, seed=1))
    labels = torch.arange(40) % 3
    expected = vtcd_ops.silhouette(data, labels)
    assert torch.equal(vtcd_ops.silhouette(data, labels * 1000 + 7), expected)
    assert torch.equal(vtcd_ops.silhouette(data, labels.int()), expected)


@given(seed=st.integers(0, 10_000), num_rows=st.integers(1, 25), k=st.integers(1, 6))
def test_definition(seed: int, num_rows: int, k: int) -> None:
    """Duplicates, clusters of one, a single cluster."""
    random = np.random.default_rng(seed)
    data = random.integers(-2, 3, size=(num_rows, 3)).astype(float)
    labels = random.integers(k, size=num_rows)
    found = vtcd_ops.silhouette(torch.from_numpy(data), torch.from_numpy(labels))
    np.testing.assert_allclose(found, reference.silhouette(data, labels), rtol=0, atol=1e-6)
    assert (found.abs() <= 1).all()


def test_one_cluster_is_zero() -> None:
    assert not vtcd_ops.silhouette(torch.rand(5, 2), torch.zeros(5, dtype=torch.int64)).any()


def test_alone_and_in_a_batch_and_any_threads(num_threads: None) -> None:
    data = [torch.from_numpy(planted(n, 9, 3, seed=n)) for n in (40, 1, 133, 2500, 7)]
    labels = [torch.arange(len(d)) % 4 for d in data]
    torch.set_num_threads(1)
    alone = [vtcd_ops.silhouette(d, one) for d, one in zip(data, labels, strict=True)]
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        assert torch.equal(vtcd_ops.silhouette(data[2], labels[2]), alone[2])  # all threads inside
        together = vtcd_ops.silhouette(data, labels)
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_empty_batch() -> None:
    assert vtcd_ops.silhouette([], []) == []
    no_labels = torch.zeros(0, dtype=torch.int64)
    found = torch.ops.vtcd.silhouette(torch.zeros(0, 5), torch.tensor([0]), no_labels)
    assert found.shape == (0,)


def test_opcheck() -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    torch.library.opcheck(torch.ops.vtcd.silhouette.default, (data, offsets, torch.arange(29) % 3))


def test_compile_and_export() -> None:
    class Mean(torch.nn.Module):
        def forward(
            self, data: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            return torch.ops.vtcd.silhouette(data * 1.0, offsets, labels).mean()

    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    arguments = (data, offsets, torch.arange(29) % 3)
    expected = Mean()(*arguments)
    compiled = torch.compile(Mean(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), expected)
    exported = torch.export.export(Mean(), arguments).module()
    torch.testing.assert_close(exported(*arguments), expected)


def test_many_rows_are_compared_with_a_share_of_them() -> None:
    """Close to scikit-learn's among all rows; the same where all fit."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], [700, 400, 250, 50])
    data = rng.normal(size=(1400, 5)) + 1.5 * rng.normal(size=(4, 5))[labels]
    expected = silhouette_samples(data, labels)
    tensors = [torch.from_numpy(data)], [torch.from_numpy(labels)]
    np.testing.assert_allclose(silhouettes_of_many(*tensors)[0], expected, atol=1e-9)
    found = silhouettes_of_many(*tensors, most=300)[0].numpy()
    assert np.abs(found - expected).mean() < 0.04
    assert np.corrcoef(found, expected)[0, 1] > 0.97
    assert not np.array_equal(found, expected)
    for cluster in range(4):
        mine = labels == cluster
        assert abs(found[mine].mean() - expected[mine].mean()) < 0.01
