"""Load synthetic checkpoints of published models at full size, strictly, and run each once.

    python examples/full_size_checkpoints.py [tcow | internvideo | videomae]

The names and shapes are those of the published checkpoints (integrations/*/tests/golden); the
numbers are random, so it shows that the files will load and what the models cost, no more. Takes
up to 6 GB of memory and 2 GB of disk, one model after the other.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import vtcd_ops
from vtcd_ops.adapters.adapter import Adapter

INTEGRATIONS = Path(__file__).parents[1] / "integrations"

#: A name, what the file holds, and the name that load_model takes, with the file's path in it.
Case = tuple[str, dict[str, Any], str]


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Random tensors of published names and shapes."""
    generator = torch.Generator().manual_seed(0)
    return {key: 0.02 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def published(family: str) -> dict[str, Any]:
    """The list of names and shapes that comes with an integration's tests."""
    path = INTEGRATIONS / family / "tests/golden/published_keys.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def tcow() -> Iterator[Case]:
    """The tracker."""
    entry = published("tcow")
    content = {"seeker_args": entry["seeker_args"], "net_seeker": weights(entry["keys"])}
    yield "TCOW", content, "tcow:{path}"


def internvideo() -> Iterator[Case]:
    """Both sizes, wrapped as published."""
    for name in ("B-16", "L-14"):
        state = weights(published("internvideo")[name]["keys"])
        content = {"state_dict": {f"clip.{key}": value for key, value in state.items()}}
        yield f"InternVideo-MM {name}", content, "internvideo:{path}"


def videomae() -> Iterator[Case]:
    """VideoMAE's own files, fine-tuned and pre-trained."""
    for name, entry in published("hf_videomae").items():
        if name != "origin":
            content = {entry["container"]: weights(entry["keys"])}
            yield f"VideoMAE {name}", content, "hf_videomae:{path}"


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "tcow": tcow,
    "internvideo": internvideo,
    "videomae": videomae,
}


def run(adapter: Adapter) -> dict[str, torch.Tensor]:
    """One forward on a random clip, of a tracker with a square to follow."""
    frames = torch.randint(0, 256, (adapter.num_frames, 240, 320, 3), dtype=torch.uint8)
    clips = adapter.preprocess(frames)[None]
    inputs = {}
    if "query_mask" in adapter.sample_fields:
        query = torch.zeros(1, 1, adapter.num_frames, *clips.shape[-2:])
        query[:, :, 0, 100:140, 100:160] = 1
        inputs["query"] = query
    with torch.inference_mode():
        return adapter.predict(clips, **inputs)


def show(case: Case) -> None:
    """Save, load and run one model."""
    name, content, template = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pth"
        torch.save(content, path)
        size = path.stat().st_size / 1e6
        content.clear()
        start = time.perf_counter()
        adapter = vtcd_ops.load_model(template.format(path=path))
        loaded = time.perf_counter()
        answer = run(adapter)
        done = time.perf_counter()
    millions = sum(parameter.numel() for parameter in adapter.model.parameters()) / 1e6
    shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in answer.items())
    assert all(bool(value.isfinite().all()) for value in answer.values())
    print(
        f"{name}: {millions:.1f} M parameters, {size:.0f} MB; strict load {loaded - start:.1f} s, "
        f"forward {done - loaded:.1f} s ({torch.get_num_threads()} threads): {shapes}",
        flush=True,
    )


def main() -> None:
    for family in sys.argv[1:] or FAMILIES:
        for case in FAMILIES[family]():
            show(case)


if __name__ == "__main__":
    main()
