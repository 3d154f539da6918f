"""Time every operator on a device beside its rivals, after comparing it with its CPU kernel."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from cases import TINY, Arguments, Case, Sizes, all_cases
from device_clock import Clock, copy_gb_per_s
from record import Record
from torch import Tensor

CASE_LIMIT_S = 45
CACHES = 3  # inputs take so many times the L2 cache, or as many copies of them as MOST_COPIES
MOST_COPIES = 32


def to(device: torch.device, values: Arguments) -> Arguments:
    return tuple(value.to(device) if isinstance(value, Tensor) else value for value in values)


def copies(values: Arguments) -> Arguments:
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in values)


def tensors(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else list(values)


def num_bytes(values: Any) -> int:
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor))


def compare(case: Case, expected: list[Tensor], found: list[Tensor]) -> dict[str, Any]:
    """Say how far the device's outputs are from the CPU's."""
    chosen = range(len(expected)) if case.compared is None else case.compared
    bitwise, largest = True, 0.0
    for i in chosen:
        a, b = expected[i], found[i].cpu()
        if a.shape != b.shape or a.dtype != b.dtype:
            return {"passed": False, "error": f"output {i} is {b.dtype} {list(b.shape)}, the CPU's "
                    f"{a.dtype} {list(a.shape)}"}  # fmt: skip
        bitwise &= torch.equal(a.nan_to_num(7.25), b.nan_to_num(7.25))
        scale = a.double().nan_to_num().abs().max().item() if a.numel() else 0.0
        apart = (a.double() - b.double()).nan_to_num().abs().max().item() if a.numel() else 0.0
        largest = max(largest, apart / scale if scale else apart)
    whole = all(torch.equal(a, b.cpu()) for a, b in zip(expected, found, strict=True))
    return {
        "passed": bool(bitwise or 0 < largest <= case.tolerance),
        "equal_bits": bool(bitwise),
        "all_outputs_equal": whole,
        "largest_difference": largest,
        "tolerance": case.tolerance,
    }


def l2_bytes(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else 1


def rivals_of(case: Case, clock: Clock, inputs: list[Arguments]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, rival in case.rivals.items():
        try:
            calls = [lambda a=arguments, r=rival: r(*a) for arguments in inputs]
            found[name] = clock.measure(calls) | clock.kernels(calls)
        except RuntimeError as error:  # of a rival: no result of ours
            found[name] = {"error": str(error)[:300]}
    return found


def on_cpu(case: Case, arguments: Arguments) -> dict[str, Any]:
    """Time our CPU kernel, and the rival on the CPU on a part of the work, once each."""
    before = time.perf_counter()
    case.call(*copies(arguments))
    found: dict[str, Any] = {
        "ours_ms": round(1e3 * (time.perf_counter() - before), 3),
        "threads": torch.get_num_threads(),
    }
    if case.on_cpu is not None:
        name, rival, times = case.on_cpu
        before = time.perf_counter()
        rival(*arguments)
        found["rival"] = name
        found["rival_ms"] = round(1e3 * (time.perf_counter() - before) * times, 3)
    return found


def examine(case: Case, clock: Clock, copy_speed: float) -> dict[str, Any]:
    """Compare with the CPU, then time."""
    device = clock.device
    first = case.make(0)
    expected = tensors(case.call(*copies(first)))
    arguments = to(device, copies(first))
    outputs = tensors(case.call(*arguments))
    found = compare(case, expected, outputs)
    again = tensors(case.call(*to(device, copies(first))))
    found["repeatable"] = all(map(torch.equal, outputs, again))
    found["passed"] = found["passed"] and found["repeatable"]
    moved = num_bytes(first) + num_bytes(outputs)
    count = min(MOST_COPIES, max(1, -(-CACHES * l2_bytes(device) // max(moved, 1))))
    inputs = [to(device, copies(first)) for _ in range(count)]
    calls = [lambda a=arguments: case.call(*a) for arguments in inputs]
    found |= clock.measure(calls) | clock.kernels(calls)
    busy_ms = found.get("device_ms") or found["ms"]
    found |= {
        "floor_ms": case.floor_ms,
        "target_ms": case.target_ms,
        "bytes": moved,
        "rotated_inputs": count,
        "gb_per_s": round(moved / (1e6 * busy_ms), 1),
        "share_of_copy": round(moved / (1e6 * busy_ms) / copy_speed, 3) if copy_speed else None,
        "rivals": rivals_of(case, clock, inputs),
        "cpu": on_cpu(case, first),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    sizes = TINY if arguments.tiny else Sizes()
    clock = Clock(device, 0.02 if arguments.tiny else 0.4, 5 if arguments.tiny else 200)
    record = Record(arguments.record)
    record.run(
        "copy",
        lambda: {"gb_per_s": copy_gb_per_s(clock, 10**6 if arguments.tiny else 2**31)},
        CASE_LIMIT_S,
    )
    copy_speed = record.items["copy"].get("gb_per_s", 0.0)
    for name, case in all_cases(sizes, device).items():
        record.run(name, lambda case=case: examine(case, clock, copy_speed), CASE_LIMIT_S)
    sys.exit(any(found["state"] == "failed" for found in record.items.values()))


if __name__ == "__main__":
    main()
