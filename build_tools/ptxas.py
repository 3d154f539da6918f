"""What every CUDA kernel takes of a GPU, as the assembler says, and the table of docs/kernels.md.

The build keeps the words of ``ptxas -v`` beside the object files (``keep_output.sh``); nothing is
compiled again here. ``python build_tools/ptxas.py`` writes the table, with ``--check`` it writes
nothing; both fail where a kernel spills registers to memory.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "build/inplace/CMakeFiles/cuda_kernels.dir/vtcd_ops/cuda"
SOURCES = ROOT / "vtcd_ops/cuda"
PAGE = ROOT / "docs/kernels.md"
MARKED = re.compile(r"(<!-- kernels -->\n).*?(<!-- /kernels -->)", re.DOTALL)

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)a?'")
SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
BOUNDS = re.compile(r"__launch_bounds__\(([^,()]+)[^()]*\)\s*(\w+)\s*\(")
CONSTANT = re.compile(r"constexpr\s+\w+\s+(\w+)\s*=\s*([\w\s*/+]+);")

ARCHITECTURES = (80, 90, 100)
# a multiprocessor of an H100 (sm_90)
REGISTERS, THREADS, BLOCKS, SHARED_BYTES, RESERVED_BYTES = 65536, 2048, 32, 228 << 10, 1 << 10


@dataclass(frozen=True)
class Usage:
    """What one kernel takes on one architecture.

    Args:
        kernel: its name, demangled, with template arguments.
        architecture: 80, 90 or 100.
        registers: of a thread.
        shared_bytes: of a block, as declared; what a launch asks for comes on top.
        spilled_bytes: stores and loads of registers that did not suffice, its own and those of
            functions that it calls.
    """

    kernel: str
    architecture: int
    registers: int
    shared_bytes: int
    spilled_bytes: int

    @property
    def name(self) -> str:
        """The kernel's name without namespaces and arguments.

        >>> Usage("void vtcd::cuda::sum<float, 4>(float const*)", 90, 32, 0, 0).name
        'sum'
        """
        return re.split(r"[<(]", self.kernel)[0].split("::")[-1].split()[-1]


def usages(log: str) -> Iterator[Usage]:
    """Read the output of ``ptxas -v``, with mangled names.

    It tells of a kernel first, then of the functions that it calls, which spill by themselves.
    """
    kernel: Usage | None = None
    entry, spilled = None, 0
    for line in log.splitlines():
        if found := ENTRY.search(line):
            if kernel is not None:
                yield kernel
            kernel, entry, spilled = None, found, 0
        elif found := SPILL.search(line):
            spilled = int(found[1]) + int(found[2])
            if kernel is not None:
                kernel = replace(kernel, spilled_bytes=kernel.spilled_bytes + spilled)
        elif entry is not None and kernel is None and (found := USED.search(line)):
            shared = SHARED.search(line)
            shared_bytes = int(shared[1]) if shared else 0
            kernel = Usage(entry[1], int(entry[2]), int(found[1]), shared_bytes, spilled)
    if kernel is not None:
        yield kernel


def demangled(found: Iterable[Usage]) -> list[Usage]:
    """Return the same with readable names."""
    listed = list(found)
    names = "\n".join(usage.kernel for usage in listed)
    done = subprocess.run(["c++filt"], input=names, capture_output=True, text=True, check=True)
    readable = done.stdout.splitlines()
    return [replace(u, kernel=name) for name, u in zip(readable, listed, strict=True)]


def read_build() -> dict[str, list[Usage]]:
    """Return the kernels of every source file that the build has compiled, by the file's name."""
    return {
        log.name.removesuffix(".cu.o.log"): demangled(usages(log.read_text()))
        for log in sorted(LOGS.glob("*.cu.o.log"))
    }


def block_sizes() -> dict[str, int]:
    """Return the threads of a block of every kernel whose launch bounds are a number by name."""
    texts = [path.read_text() for path in sorted(SOURCES.glob("*.cuh"))]
    constants: dict[str, int] = {}
    for text in texts:
        for name, value in CONSTANT.findall(text):
            _keep(constants, name, value, constants)
    sizes: dict[str, int] = {}
    for text in texts:
        for bound, kernel in BOUNDS.findall(text):
            _keep(sizes, kernel, bound, constants)
    return sizes


def _keep(sizes: dict[str, int], name: str, product: str, constants: dict[str, int]) -> None:
    """Keep the value of a product of numbers and known constants; of another one nothing."""
    factors = [constants.get(f.strip(), f.strip()) for f in product.split("*")]
    if all(str(factor).isdecimal() for factor in factors):
        sizes[name] = math.prod(map(int, factors))


def occupancy(usage: Usage, threads: int) -> float:
    """Return the share of a multiprocessor's threads that may be there at a time, on sm_90.

    Registers are given to warps in units of 256. Shared memory that a launch asks for is not known
    here.

    >>> occupancy(Usage("k", 90, 32, 0, 0), 256), occupancy(Usage("k", 90, 128, 0, 0), 256)
    (1.0, 0.25)
    """
    warps = -(-threads // 32)
    of_warp = -(-usage.registers * 32 // 256) * 256
    limits = [BLOCKS, THREADS // (warps * 32), REGISTERS // max(of_warp, 1) // warps]
    if usage.shared_bytes:
        limits.append(SHARED_BYTES // (usage.shared_bytes + RESERVED_BYTES))
    return min(limits) * warps * 32 / THREADS


def table(build: dict[str, list[Usage]]) -> str:
    """Return a line for every kernel: the most that any of its instantiations takes."""
    lines = [
        f"| source | kernel | instantiations | registers, sm_{' / '.join(map(str, ARCHITECTURES))} "
        "| shared, bytes | "
        "spilled, bytes | threads of a block | occupancy, sm_90 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    sizes = block_sizes()
    for source, found in build.items():
        kernels: dict[str, list[Usage]] = defaultdict(list)
        for usage in found:
            kernels[usage.name].append(usage)
        for name, instances in kernels.items():
            lines.append(_row(source, name, instances, sizes.get(name)))
    return "\n".join([*lines, ""])


def _row(source: str, name: str, instances: list[Usage], threads: int | None) -> str:
    registers = [
        max((u.registers for u in instances if u.architecture == architecture), default=None)
        for architecture in ARCHITECTURES
    ]
    on_hopper = [usage for usage in instances if usage.architecture == 90]
    share = min((occupancy(u, threads) for u in on_hopper), default=None) if threads else None
    cells = [
        source,
        f"`{name}`",
        len({usage.kernel for usage in instances}),
        " / ".join("–" if most is None else str(most) for most in registers),
        max(usage.shared_bytes for usage in instances),
        max(usage.spilled_bytes for usage in instances),
        threads or "chosen at launch",
        f"{share:.0%}" if share is not None else "–",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def designs() -> str:
    """Return what the sources say at their top: the work of a block, and what bounds it."""
    parts = []
    for path in sorted(SOURCES.glob("*.cuh")):
        lines = []
        for line in path.read_text().splitlines()[1:]:  # after the licence
            if not line.startswith("//"):
                break
            lines.append(line.removeprefix("//").strip())
        text = " ".join(lines).replace("<", "&lt;")
        parts.append(f"**`{path.name}`** {text}\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the table, or look for spills; 1 where there are any."""
    build = read_build()
    if not build:
        print(
            f"no CUDA kernel was compiled: {LOGS} holds no log; `make build` with nvcc makes them"
        )
        return 1
    if "--check" not in arguments:
        page = PAGE.read_text()
        found = f"{table(build)}\n{designs()}"
        PAGE.write_text(MARKED.sub(lambda m: f"{m[1]}{found}{m[2]}", page))
    usages = [usage for found in build.values() for usage in found]
    spilling = [usage for usage in usages if usage.spilled_bytes > 0]
    for usage in spilling:
        print(f"sm_{usage.architecture}: {usage.kernel} spills {usage.spilled_bytes} bytes")
    return int(bool(spilling))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
