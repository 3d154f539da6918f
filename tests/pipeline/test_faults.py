"""A few of the faults, kills and damages that `benchmarks/faults` tries by the thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parents[2] / "benchmarks/faults"


def test_faults_and_damage_are_told_and_lose_nothing() -> None:
    """Another seed than the table's in docs/faults.md, the same verbs and files."""
    sample = ["--share", "0.002", "--signals", "1", "--flips", "4", "--damage-share", "0.025"]
    tried = subprocess.run(
        [sys.executable, str(FAULTS), "--sample", "--seed", "7", *sample],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert tried.stdout.count("'task':") == 7
    assert "traceback': 0" in tried.stdout
