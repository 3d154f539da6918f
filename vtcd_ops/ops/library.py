"""Load the operator library built for this machine's instruction set."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

import torch

DEVICES = ("CPU", "CUDA")  #: dispatch keys that operators have kernels for
INSTRUCTION_SETS = ("default", "avx2", "avx512")
PACKAGE_DIR = Path(__file__).parents[1]


@dataclass(frozen=True)
class Library:
    """The operator library of this process."""

    instruction_set: str
    sha256: str  #: of its file, so that another build is noticed


def library_path(name: str) -> Path:
    """Return where the library of an instruction set, or of ``"cuda"``, is or would be."""
    return PACKAGE_DIR / f"_C_{name}.so"


def built_instruction_sets() -> list[str]:
    """Return the instruction sets that libraries were built for, the slowest first."""
    return [name for name in INSTRUCTION_SETS if library_path(name).is_file()]


def checkout() -> Path | None:
    """Return the source folder that this package was installed from, where pip noted one."""
    try:
        noted = distribution("vtcd-ops").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    url = urlparse(json.loads(noted)["url"]) if noted else None
    if url is None or url.scheme != "file" or not Path(unquote(url.path)).is_dir():
        return None
    return Path(unquote(url.path))


def rebuild_command() -> str:
    """Return the command that builds and installs the libraries again."""
    source = checkout()
    if source is not None and source == PACKAGE_DIR.parent:
        return f"pip install -e {source}"
    return f"pip install --force-reinstall --no-deps {source or 'vtcd-ops'}"


def select_instruction_set() -> str:
    """Return the instruction set asked for by ``VTCD_CPU``, else the best the CPU has."""
    wanted = os.environ.get("VTCD_CPU", "")
    if wanted:
        if wanted not in INSTRUCTION_SETS:
            known = ", ".join(INSTRUCTION_SETS)
            raise ImportError(f"vtcd_ops: VTCD_CPU expected one of {known}, got {wanted!r}")
        return wanted
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in INSTRUCTION_SETS else "default"


def cuda_architectures() -> list[str]:
    """Return what the CUDA library was compiled for, such as ``sm_90``; the last also as PTX.

    Nothing where there is no such library, or one of an older version that does not say.
    """
    path = library_path("cuda")
    if not path.is_file():
        return []
    try:
        said = (ctypes.c_char * 128).in_dll(ctypes.CDLL(str(path)), "vtcd_cuda_architectures")
    except ValueError:
        return []
    return [f"sm_{entry.removesuffix('-real')}" for entry in said.value.decode().split(",")]


def has_kernel(operator: str, key: str) -> bool:
    """Whether an operator, such as ``vtcd::cnmf``, has a kernel for a dispatch key."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator, key))


def device_with_kernels(device: torch.device, *operators: str) -> torch.device:
    """Return a device if all of some operators have a kernel for it, else the CPU, where all have.

    >>> device_with_kernels(torch.device("cpu"), "cnmf", "kmeans")
    device(type='cpu')
    """
    key = device.type.upper()
    able = key in DEVICES and all(has_kernel(f"vtcd::{name}", key) for name in operators)
    return device if able else torch.device("cpu")


def load() -> Library:
    """Load one library into the process.

    Raises:
        ImportError: the library is missing or does not fit this torch; there is no silent
            fallback to slower code.
    """
    instruction_set = select_instruction_set()
    path = library_path(instruction_set)
    if not path.is_file():
        raise ImportError(
            f"vtcd_ops: the operator library {path} does not exist: it was not built. "
            f"Build it with: {rebuild_command()}"
        )
    # before it is loaded: a build that goes on meanwhile replaces the file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _load(path)
    return Library(instruction_set, digest)


def load_cuda() -> bool:
    """Load the CUDA kernels, after `load`, and return whether they were built.

    They load under a torch without CUDA and on a machine without a GPU too.

    Raises:
        ImportError: the library does not fit this torch.
    """
    path = library_path("cuda")
    if not path.is_file():
        return False
    _load(path)
    return True


def _load(path: Path) -> None:
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        raise ImportError(
            f"vtcd_ops: the operator library {path} cannot be loaded into torch "
            f"{torch.__version__}, it needs torch >= 2.10 ({error.__cause__ or error}). "
            f"Rebuild it with: {rebuild_command()}"
        ) from error
