"""Whether what a directory was begun with is what is asked for now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.keeping import keeps_less

#: Settings on which tubelets do not depend: a run that differs in these alone can reuse them.
CONCEPT_SETTINGS = ("criterion", "threshold", "assign")


def expect_same(
    path: Path,
    begun: dict[str, Any],
    now: dict[str, Any],
    what: str = "a run",
    *,
    ignoring: tuple[str, ...] = (),
) -> None:
    """Raise at the first difference between what was begun and what is asked for now."""
    for group in sorted(begun.keys() | now.keys()):
        before, after = begun.get(group), now.get(group)
        if before == after or group in ignoring:
            continue
        if group == "operators" and before and after:
            raise InputError(f"{path} holds a run made by {_other_operators(before, after)}")
        advice = "choose another " + ("directory" if what == "a run" else "name, or overwrite it")
        if isinstance(before, dict) and isinstance(after, dict):
            keys = [
                key
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key) and key not in ignoring
            ]
            if not keys:
                continue
            if group == "settings" and set(keys) <= set(CONCEPT_SETTINGS):
                advice += f" and give reuse={str(path)!r} (--reuse {path}) to keep the tubelets"
            group, before, after = f"{group} {keys[0]}", before.get(keys[0]), after.get(keys[0])
        if group == "keep" and keeps_less(str(after), str(before)):
            advice += f" and give reuse={str(path)!r} (--reuse {path}) to take the tubelets over"
        raise InputError(f"{path} holds {what} with {group} {before!r}, not {after!r}: {advice}")


def _other_operators(before: dict[str, str], now: dict[str, str]) -> str:
    """Say which build of the operators made a run, which is loaded now, and how to go on."""
    made, loaded = before["instruction_set"], now["instruction_set"]
    if made != loaded:
        return (
            f"the {made} operators, this process has loaded the {loaded} ones, whose concepts "
            f"differ in their last digits: set VTCD_CPU={made}, or, where the CPU lacks it, choose "
            f"another directory and set VTCD_CPU={loaded} for every process"
        )
    return (
        f"another build of the operators (SHA-256 {before['sha256'][:12]}..., now "
        f"{now['sha256'][:12]}...): install that build again, or choose another directory; what "
        "is finished can be loaded all the same"
    )
