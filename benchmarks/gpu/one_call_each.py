"""Call every operator once on small inputs, for a tool that watches its kernels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from bench_operators import compare, copies, tensors, to
from cases import TINY, Case, all_cases
from record import Record

CALL_LIMIT_S = 60


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
    for name, case in all_cases(TINY, device).items():
        record.run(name, lambda case=case: call(case, device), CALL_LIMIT_S)
    sys.exit(any(found["state"] == "failed" for found in record.items.values()))


if __name__ == "__main__":
    main()
