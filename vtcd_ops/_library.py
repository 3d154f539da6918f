"""Load the operator library built for this machine's instruction set."""

from __future__ import annotations

import os
from pathlib import Path

import torch

INSTRUCTION_SETS = ("default", "avx2", "avx512")
REBUILD_COMMAND = "pip install --force-reinstall --no-deps vtcd-ops"
PACKAGE_DIR = Path(__file__).parent


def built_instruction_sets() -> list[str]:
    """Return the instruction sets that libraries were built for, the slowest first."""
    return [name for name in INSTRUCTION_SETS if library_path(name).is_file()]


def library_path(instruction_set: str) -> Path:
    """Return where the library of an instruction set is, or would be."""
    return PACKAGE_DIR / f"_C_{instruction_set}.so"


def select_instruction_set() -> str:
    """Return the instruction set asked for by ``VTCD_CPU``, else the best the CPU has."""
    wanted = os.environ.get("VTCD_CPU", "")
    if wanted:
        if wanted not in INSTRUCTION_SETS:
            raise ImportError(
                f"VTCD_CPU expected one of {', '.join(INSTRUCTION_SETS)}, got {wanted}"
            )
        return wanted
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in INSTRUCTION_SETS else "default"


def load() -> str:
    """Load one library into the process and return its instruction set.

    Raises:
        ImportError: the library is missing or does not fit this torch; there is no silent
            fallback to slower code.
    """
    instruction_set = select_instruction_set()
    path = library_path(instruction_set)
    if not path.is_file():
        raise ImportError(
            f"vtcd_ops: the operator library {path} does not exist, it was not built. "
            "From a checkout run: pip install -e .   Else run: " + REBUILD_COMMAND
        )
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise ImportError(
            f"vtcd_ops: the operator library {path} cannot be loaded into torch "
            f"{torch.__version__} ({error}). It needs torch >= 2.10; rebuild it with: "
            + REBUILD_COMMAND
        ) from error
    return instruction_set
