"""Say what `make gpu` runs on, and which operators have a kernel for it."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from record import Record

import vtcd_ops
from vtcd_ops.ops.library import PACKAGE_DIR, has_kernel

PACKAGES = ("numpy", "scipy", "scikit-image", "scikit-learn", "transformers", "triton", "av")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not there"
    return found


def software() -> dict[str, Any]:
    libraries = {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(PACKAGE_DIR.glob("_C_*.so"))
    }
    return {
        "versions": versions(),
        "libraries": libraries,
        "instruction_set": vtcd_ops.INSTRUCTION_SET,
        "cores": os.cpu_count(),
        "adapters": sorted(vtcd_ops.adapters.families()),
    }


def gpu() -> dict[str, Any]:
    device = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    return {
        "name": device.name,
        "compute_capability": f"{device.major}.{device.minor}",
        "multiprocessors": device.multi_processor_count,
        "l2_bytes": device.L2_cache_size,
        "memory_gb": round(total / 1e9, 1),
        "free_gb": round(free / 1e9, 1),
        "cuda": torch.version.cuda,
    }


def kernels() -> dict[str, Any]:
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("vtcd::")}
    # an operator without a tensor among its arguments makes one itself, where it is told to
    lacking = sorted(
        name
        for name in names
        if not has_kernel(name, "CUDA") and not has_kernel(name, "CompositeExplicitAutograd")
    )
    return {"passed": not lacking, "without_cuda_kernel": lacking}


def main() -> None:
    record = Record(Path(sys.argv[1]))
    record.run("software", software, 60)
    if "--without-gpu" not in sys.argv:
        record.run("kernels", kernels, 60)
        record.run("gpu", gpu, 60)
    sys.exit(any(found["state"] == "failed" for found in record.items.values()))


if __name__ == "__main__":
    main()
