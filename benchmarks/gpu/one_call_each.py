"""Call every operator once on small inputs, for a tool that watches its kernels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from bench_operators import compare, copies, tensors, to
from cases import TINY, Arguments, Case, all_cases
from record import Record
from torch import Tensor

CALL_LIMIT_S = 60


def ragged(tubelets: int, concepts: int, seed: int) -> Arguments:
    """Data [N, 64] of one problem, offsets, k, and labels to begin from."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.rand(tubelets, 64, generator=generator)
    labels = torch.arange(tubelets) % concepts
    return data, torch.tensor([0, tubelets]), torch.tensor([concepts]), labels


def cases_of_other_kernels() -> dict[str, Case]:
    """Calls whose kernels, or places of their tables, no case of the benchmarks reaches."""

    def volume(seed: int) -> Arguments:
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(2, 3, 3, 6, 7, generator=generator),)

    def factorise(data: Tensor, offsets: Tensor, k: Tensor, init: Tensor) -> Any:
        return torch.ops.vtcd.cnmf(data, offsets, k, init=init, max_num_iter=3)

    def draw(like: Tensor) -> Tensor:
        return torch.ops.vtcd._cris_sample_like(like, 40, 50, 0.5, 0, 0, "balanced")

    def cluster(data: Tensor, offsets: Tensor, k: Tensor) -> Any:
        return torch.ops.vtcd.kmeans(data, offsets, k, num_restarts=2, max_num_iter=2)

    errors_alone = {"tolerance": 1e-6, "compared": [3]}
    return {
        "slic3d, voxel by voxel": Case(
            lambda features: torch.ops.vtcd.slic3d(features, features.shape[2:]), volume
        ),
        "cnmf, twelve concepts": Case(factorise, lambda seed: ragged(50, 12, seed), **errors_alone),
        "cnmf, twenty concepts": Case(factorise, lambda seed: ragged(50, 20, seed), **errors_alone),
        "cnmf, in device memory": Case(
            factorise, lambda seed: ragged(1000, 3, seed), **errors_alone
        ),
        "kmeans, points in device memory": Case(
            cluster, lambda seed: ragged(700, 3, seed)[:3], tolerance=1e-5, compared=[2]
        ),
        "kmeans, in device memory": Case(
            cluster, lambda seed: ragged(5000, 3, seed)[:3], tolerance=1e-5, compared=[2]
        ),
        "cris_sample, balanced": Case(draw, lambda seed: (torch.zeros(1),)),
    }


def call(case: Case, device: torch.device) -> dict[str, Any]:
    """Call on the device, and compare with the CPU."""
    arguments = case.make(0)
    expected = tensors(case.call(*copies(arguments)))
    return compare(case, expected, tensors(case.call(*to(device, copies(arguments)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    record = Record(arguments.record)
    for name, case in (all_cases(TINY, device) | cases_of_other_kernels()).items():
        record.run(name, lambda case=case: call(case, device), CALL_LIMIT_S)
    sys.exit(any(found["state"] == "failed" for found in record.items.values()))


if __name__ == "__main__":
    main()
