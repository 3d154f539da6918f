"""The command line lets torch's threads sleep while they wait; other programs are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = "import os, sys, vtcd_ops; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def policy(command: list[str], **environment: str) -> str:
    """What a process and its torch have been told."""
    given = {key: value for key, value in os.environ.items() if key not in POLICIES}
    done = subprocess.run(
        [sys.executable, *command],
        env=given | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def vtcd(tmp_path: Path) -> str:
    """A program of the command's name that shows what the command would find."""
    path = tmp_path / "vtcd"
    path.write_text(SHOW)
    return str(path)


def test_the_command(vtcd: str) -> None:
    assert policy([vtcd, "rank"]) == "PASSIVE True"


def test_the_module(tmp_path: Path) -> None:
    """`torchrun -m vtcd_ops.cli` starts it so."""
    code = tmp_path / "sitecustomize.py"
    code.write_text(
        "import atexit, os\natexit.register(lambda: print(os.environ.get('OMP_WAIT_POLICY')))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    shown = policy(["-m", "vtcd_ops.cli", "--help"], PYTHONPATH=path)
    assert shown.splitlines()[-1] == "PASSIVE"


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "9")]
)
def test_what_the_user_chose_stays(vtcd: str, name: str, value: str) -> None:
    expected = value if name == "OMP_WAIT_POLICY" else "None"
    assert policy([vtcd, "rank"], **{name: value}) == f"{expected} True"


def test_a_program_of_one_s_own() -> None:
    assert policy(["-c", SHOW]) == "None True"
