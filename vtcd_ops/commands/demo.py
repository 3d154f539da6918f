"""The whole pipeline on what is bundled: `vtcd demo`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.discover import discover
from vtcd_ops.reporting import report

DEMO_MODEL = "hf_videomae:mini-ssl"


def demo(out: str | Path, *, sanity: bool = True) -> Path:
    """Discover the concepts of the bundled miniature on its bundled clips, and report them.

    Args:
        out: the run directory.
        sanity: also discover those of a weight-randomised copy, to compare with.

    Returns:
        The report.

    Raises:
        InputError: the package with the miniature is not installed.
    """
    try:
        clips = Path(str(files("vtcd_hf_videomae") / "clips/manifest.csv"))
    except ModuleNotFoundError:
        raise InputError(
            "the demo needs the package with the miniature: pip install vtcd-hf-videomae"
        ) from None
    return report(discover(DEMO_MODEL, clips, out=out, sanity=sanity))
