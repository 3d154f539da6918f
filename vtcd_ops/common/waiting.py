"""How OpenMP's threads wait for each other, which must be settled before torch is imported.

Torch's threads spin while they wait. Beside other processes that is most of the processor time:
what spins is taken from what works. On an idle machine sleeping costs nothing that can be measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["sleep_while_waiting"]


def sleep_while_waiting() -> None:
    """Let the threads of the command line sleep, unless the user says how they wait.

    In a program of the user's own it is the user's choice: `OMP_WAIT_POLICY=PASSIVE`.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys()
    if _is_command_line(sys.orig_argv) and "torch" not in sys.modules and not chosen:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _is_command_line(arguments: list[str]) -> bool:
    """Say whether Python was started as `vtcd` or `python -m vtcd_ops.cli`.

    >>> _is_command_line(["python3", "/usr/bin/vtcd", "rank"])
    True
    >>> _is_command_line(["python3", "-X", "dev", "-m", "vtcd_ops.cli", "rank"])
    True
    >>> _is_command_line(["python3", "mine.py", "vtcd"])
    False
    """
    for position, argument in enumerate(arguments[1:], start=1):
        if argument == "-m":
            return arguments[position + 1 : position + 2] == ["vtcd_ops.cli"]
        if not argument.startswith("-") and arguments[position - 1] not in ("-X", "-W"):
            return Path(argument).name == "vtcd"
    return False
