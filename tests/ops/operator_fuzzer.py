"""Random calls of every operator: shapes, types, strides and values that nobody would give.

Each call differs in up to four arguments from a good one. They are made in a process of its own,
which is begun anew where it dies or takes longer than ten seconds for a call:
`python tests/ops/operator_fuzzer.py --calls 10000 --seed 0`.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from ops.test_wrong_calls import ENDLESS, KERNELS
from torch import Tensor

import vtcd_ops  # noqa: F401  # registers the operators

SECONDS = 10  # of its processor, after which a call hangs
WAITING = 60  # seconds by the clock after which it hangs, whatever it waits for
MEMORY = 6 << 30  # bytes of addresses that the process may take more
INTEGERS = (0, 1, 2, 3, 7, -1, -2, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
NUMBERS = (0.0, -0.0, 1.0, 0.5, -1.0, 1e300, -1e300, 1e-300, 5e-324, float("inf"), float("nan"))
TEXTS = ("", "cd", "mu", "trilinear", "nearest", "simple", "balanced", "\0", "x" * 5000, "é")
DTYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8,
    torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64,
)  # fmt: skip
MOST_REPEATS = 20  # of what is done as often as it is asked for
MOST_MASKS = 1 << 16


@dataclass(frozen=True)
class Found:
    """What came of one call.

    Attributes:
        number: of the call.
        op: the operator.
        outcome: "result", "error" (names operator and argument), "memory" (more than there is),
            "nameless", "crash" or "hang".
        words: of the error, or the signal.
    """

    number: int
    op: str
    outcome: str
    words: str = ""


def call_of(seed: int, number: int) -> tuple[str, dict[str, Any]]:
    """Return the operator and the arguments of a call; they depend on seed and number alone."""
    draw = random.Random(f"{seed}/{number}")
    op = draw.choice(sorted(KERNELS))
    arguments = KERNELS[op]()
    for name in draw.sample(sorted(arguments), min(len(arguments), draw.randint(0, 4))):
        arguments[name] = _other(draw, arguments[name])
        if name in ENDLESS and isinstance(arguments[name], int):
            arguments[name] = min(arguments[name], MOST_REPEATS)
        if name == "num_masks" and arguments[name] < 2**40:  # gigabytes are no hang
            arguments[name] = min(arguments[name], MOST_MASKS)
    return op, arguments


def _other(draw: random.Random, good: Any) -> Any:
    if isinstance(good, Tensor):
        for _ in range(draw.randint(1, 2)):
            good = draw.choice(_CHANGES)(draw, good)
        return good
    if isinstance(good, bool):
        return not good
    if isinstance(good, int):
        return draw.choice(INTEGERS)
    if isinstance(good, float):
        return draw.choice(NUMBERS)
    if isinstance(good, str):
        return draw.choice(TEXTS)
    kind = NUMBERS if isinstance(good[0], float) else INTEGERS
    if draw.random() < 0.2:
        return [draw.choice(kind) for _ in range(draw.randint(0, 5))]
    return [draw.choice(kind) if draw.random() < 0.4 else value for value in good]


def _shape(draw: random.Random, good: Tensor) -> Tensor:
    shape = list(good.shape)
    for _ in range(draw.randint(1, 2)):
        change = draw.randrange(4)
        if change == 0:
            shape.insert(draw.randint(0, len(shape)), draw.choice((0, 1, 2)))
        elif shape and change == 1:
            shape.pop(draw.randrange(len(shape)))
        elif shape:
            shape[draw.randrange(len(shape))] = draw.choice((0, 1, 2, 3, 5, 17, 64))
    flat = good.flatten()
    size = 1
    for edge in shape:
        size *= edge
    if size > 1 << 22 or not len(flat):
        return good
    return flat[torch.arange(size) % len(flat)].reshape(shape)


def _dtype(draw: random.Random, good: Tensor) -> Tensor:
    return good.to(draw.choice(DTYPES))


def _strides(draw: random.Random, good: Tensor) -> Tensor:
    """The same values, or others of the same memory, that lie otherwise."""
    if good.dim() == 0 or not good.numel():
        return good
    change = draw.randrange(5)
    if change == 0:
        axes = list(range(good.dim()))
        draw.shuffle(axes)
        back = [axes.index(axis) for axis in range(good.dim())]
        return good.permute(axes).contiguous().permute(back)
    if change == 1:
        return good[:1].expand(good.shape)
    if change == 2:
        return torch.stack([good, good], -1)[..., 1]
    if change == 3:
        return torch.cat([good.new_zeros(good.shape[-1:]), good.flatten()])[
            good.shape[-1] :
        ].reshape(good.shape)
    return good.transpose(0, -1)


def _values(draw: random.Random, good: Tensor) -> Tensor:
    """Hostile values in some places, or in all."""
    if not good.numel() or good.dtype == torch.bool or good.is_complex():
        return good
    other = good.clone(memory_format=torch.contiguous_format)
    flat = other.view(-1)
    places = range(len(flat)) if draw.random() < 0.3 else [draw.randrange(len(flat))]
    hostile = (*NUMBERS, 2.0**31, 2.0**62) if good.is_floating_point() else INTEGERS
    value: Any = draw.choice(hostile)
    if good.is_floating_point():
        value = torch.tensor(value, dtype=torch.float64).to(good.dtype)
    else:
        limits = torch.iinfo(good.dtype)
        value = max(limits.min, min(limits.max, value))
    for place in places:
        flat[place] = value
    return other


def _elsewhere(draw: random.Random, good: Tensor) -> Tensor:
    """Without memory, or waiting for a gradient."""
    if good.is_floating_point() and draw.random() < 0.7:
        return good.detach().clone().requires_grad_()
    return good.to("meta")


_CHANGES = (_shape, _shape, _dtype, _strides, _strides, _values, _values, _values, _elsewhere)


def one(seed: int, number: int) -> Found:
    """Make one call."""
    op, arguments = call_of(seed, number)
    try:
        getattr(torch.ops.vtcd, op)(**arguments)
    except (Exception, MemoryError) as error:
        words = str(error)
        named = op in words and any(argument in words for argument in arguments)
        memory = isinstance(error, MemoryError) or "memory" in words
        return Found(number, op, "error" if named else "memory" if memory else "nameless", words)
    return Found(number, op, "result")


def fuzz(seed: int, numbers: range) -> Iterator[Found]:
    """Yield what came of calls, which are made in a process of its own."""
    left = numbers
    while left:
        progress = mmap.mmap(-1, 8)  # calls that were begun
        with tempfile.NamedTemporaryFile("r") as results:
            child = os.fork()
            if not child:
                _work(seed, left, progress, results.name)
            died = _watch(child, progress)
            yield from (Found(**json.loads(line)) for line in results)
        begun = int.from_bytes(progress[:], "little")
        if died is not None:
            number = left[begun - 1]
            yield Found(number, call_of(seed, number)[0], *died)
        left = left[begun:]


def _work(seed: int, numbers: range, progress: mmap.mmap, results: str) -> None:
    """Make calls in a child, and write what came of each."""
    status = 1
    try:
        torch.set_num_threads(1)
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with Path(results).open("w", buffering=1) as file:
            for place, number in enumerate(numbers):
                progress[:] = (place + 1).to_bytes(8, "little")
                found = one(seed, number)
                file.write(json.dumps({**vars(found), "words": found.words[:600]}) + "\n")
        status = 0
    finally:
        os._exit(status)


def _watch(child: int, progress: mmap.mmap) -> tuple[str, str] | None:
    """Wait for a child; return how it failed, if it did."""
    begun, since, spent = b"", time.monotonic(), 0.0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return ("crash", f"status {status}") if status else None
        if progress[:] != begun:
            begun, since, spent = progress[:], time.monotonic(), _processor_seconds(child)
        # On a busy machine a call may wait longer for its processor than it works.
        elif _processor_seconds(child) - spent > SECONDS or time.monotonic() - since > WAITING:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", f"nothing after {SECONDS} s of work, or {WAITING} s"
        time.sleep(0.01)


def _processor_seconds(process: int) -> float:
    """What a process has worked so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Fuzz, print what is wrong and the counts; the status says whether nothing was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--call", type=int, help="make this call alone, here")
    arguments = parser.parse_args()
    if arguments.call is not None:
        print(call_of(arguments.seed, arguments.call))
        print(one(arguments.seed, arguments.call))
        return 0
    began, counts = time.monotonic(), Counter[str]()
    for found in fuzz(arguments.seed, range(arguments.calls)):
        counts[found.outcome] += 1
        if found.outcome not in ("result", "error"):
            print(found, flush=True)
    print(json.dumps({**counts, "seconds": round(time.monotonic() - began, 1)}))
    return int(any(counts[wrong] for wrong in ("crash", "hang", "nameless")))


if __name__ == "__main__":
    sys.exit(main())
