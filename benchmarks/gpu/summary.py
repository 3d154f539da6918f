"""The short table that `make gpu` ends with."""

from __future__ import annotations

from typing import Any

COLUMNS = ("case", "as CPU", "call ms", "device ms", "aim ms", "GB/s", "of copy", "torch ms",
           "CPU ms")  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """Return the results of all steps in a few lines each."""
    lines = []
    for name, step in results["steps"].items():
        lines.append(f"{name}: {step['state']}{_counts(step)}, {step.get('seconds', 0)} s")
        lines += [f"    failed: {failure}" for failure in step.get("failed", [])[:25]]
    operators = results["steps"].get("operators", {}).get("items", {})
    rows = [COLUMNS, *(_row(name, item) for name, item in operators.items() if name != "copy")]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines += ["", *("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
                    for row in rows)]  # fmt: skip
    if "copy" in operators:
        lines.append(f"copy within the device: {operators['copy'].get('gb_per_s')} GB/s")
    for name in ("videomae", "videomae compiled"):
        for item, found in results["steps"].get(name, {}).get("items", {}).items():
            lines.append(f"{item}: {_figures(found)}")
    return "\n".join(lines)


def _counts(step: dict[str, Any]) -> str:
    counts = step.get("counts", {})
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f" ({told})" if told else ""


def _row(name: str, item: dict[str, Any]) -> tuple[str, ...]:
    if "ms" not in item:
        return (name, item.get("error", item["state"])[:60], *[""] * (len(COLUMNS) - 2))
    same = "bits" if item["equal_bits"] else f"{item['largest_difference']:.0e}"
    rivals = [rival["ms"] for rival in item["rivals"].values() if "ms" in rival]
    cells = (item["ms"], item.get("device_ms"), item["target_ms"], item["gb_per_s"],
             item["share_of_copy"], min(rivals, default=None), item["cpu"]["ours_ms"])  # fmt: skip
    wrong = "" if item["state"] == "passed" else " WRONG"
    return (name, same + wrong, *("–" if cell is None else f"{cell:.4g}" for cell in cells))


def _figures(found: dict[str, Any]) -> str:
    if "error" in found:
        return str(found["error"])[:300]
    shown = {key: value for key, value in found.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{key} {value}" for key, value in shown.items())
