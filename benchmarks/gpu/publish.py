"""Make the results of ``make gpu`` those of this repository: ``publish.py build/gpu/results.json``.

Writes ``benchmarks/results/gpu/visit.json`` (all of it), and of that ``gpu_operators.json`` and
``gpu_videomae.json``, from which ``make tables`` fills the documents.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
Columns = list[list[str]]

OPERATOR_COLUMNS: Columns = [
    ["case", "case", "{}"],
    ["agreement", "as the CPU", "{}"],
    ["ms", "call, ms", "{:.3f}"],
    ["device_ms", "on the device, ms", "{:.3f}"],
    ["target_ms", "aim, ms", "{:.3g}"],
    ["gb_per_s", "GB/s", "{:,.0f}"],
    ["torch_ms", "plain PyTorch there, ms", "{:.2f}"],
    ["cpu_ms", "our CPU kernel, ms", "{:,.1f}"],
    ["rival_ms", "scikit on the CPU, ms", "{:,.0f}"],
]
MODEL_COLUMNS: Columns = [
    ["step", "step", "{}"],
    ["amount", "of", "{}"],
    ["seconds", "seconds", "{:.2f}"],
    ["rate", "a second", "{:,.1f}"],
    ["peak_gpu_gb", "peak GPU memory, GB", "{:.1f}"],
]


def machine(results: dict[str, Any]) -> dict[str, Any]:
    """Describe what the numbers were measured on, for `tables.py`."""
    items = results["steps"]["machine"]["items"]
    software, gpu = items["software"], items.get("gpu", {"name": "no GPU"})
    return {
        "gpu": gpu["name"],
        "cores": software["cores"],
        "instruction_set": software["instruction_set"],
        "date": results["date"],
        "versions": software["versions"],
    }


def operator_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for every case that was measured; a wrong result is no result."""
    rows = []
    for name, item in results["steps"]["operators"]["items"].items():
        if "ms" not in item or item["state"] != "passed":
            continue
        rivals = [rival["ms"] for rival in item["rivals"].values() if "ms" in rival]
        rows.append(
            {
                "case": name,
                "agreement": "bits" if item["equal_bits"] else f"{item['largest_difference']:.0e}",
                "torch_ms": min(rivals, default=None),
                "cpu_ms": item["cpu"]["ours_ms"],
                "rival_ms": item["cpu"].get("rival_ms"),
                "device_ms": item.get("device_ms"),
                **{key: item[key] for key in ("ms", "target_ms", "gb_per_s")},
            }
        )
    return rows


def model_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of VideoMAE-B."""
    rows = []
    for step in ("videomae", "videomae compiled"):
        for name, item in results["steps"].get(step, {}).get("items", {}).items():
            if item["state"] != "passed" or "wall_seconds" not in item:
                continue
            row = {"seconds": item["wall_seconds"], "peak_gpu_gb": item["peak_gpu_gb"]}
            if "masks" in item:
                label = f"{name.removesuffix(' float32')}, {item['dtype']}"
                row |= {"amount": f"{item['masks']:,} masks", "rate": item["masks_per_s"]}
            else:
                label = name
                row |= {"amount": f"{item['clips']} clips", "rate": item["clips_per_s"]}
            rows.append({"step": label, **row})
    return rows


def publish(results: dict[str, Any], folder: Path) -> None:
    """Write the three files."""
    told = machine(results)
    copy = results["steps"]["operators"]["items"]["copy"]["gb_per_s"]
    tables = {
        "gpu_operators": (
            operator_rows(results), OPERATOR_COLUMNS,
            "Medians of single calls between two CUDA events, inputs in turn so that the cache "
            "does not hold them; on the device: what the profiler counts of kernels and copies. "
            "GB/s: inputs and outputs once, by that time; a copy within the device reaches "
            f"{copy:,.0f}. CPU columns: {told['cores']} cores, one call; scikit-image and "
            "scikit-learn by one head of as many.",
        ),
        "gpu_videomae": (
            model_rows(results), MODEL_COLUMNS,
            "VideoMAE-B with random weights, keys of 12 layers x 12 heads, clips of 16 x 224 x 224 "
            "in memory, drawn; to a verified run, and to a finished ranking on one clip.",
        ),
    }  # fmt: skip
    (folder / "gpu").mkdir(exist_ok=True)
    (folder / "gpu/visit.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, (rows, columns, note) in tables.items():
        table = {"note": note, "machine": told, "columns": columns, "rows": rows, "details": {}}
        (folder / f"{name}.json").write_text(json.dumps(table, indent=1) + "\n")


def main() -> int:
    results = json.loads(Path(sys.argv[1]).read_text())
    if results["dry_run"]:
        print("a dry run measures nothing of a GPU: not published")
        return 1
    publish(results, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
