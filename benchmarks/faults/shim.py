"""The preloaded library that makes file operations fail, and its controls."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_KINDS = ("open", "read", "write", "fsync", "rename", "link", "unlink", "mkdir", "map")
_BIT = {kind: 1 << place for place, kind in enumerate(_KINDS)}
CHANGING = _BIT["write"] | _BIT["fsync"] | _BIT["rename"] | _BIT["link"] | _BIT["unlink"]


def preload() -> ctypes.CDLL:
    """Return the library; a process that began without it is begun again with it."""
    library = os.environ.get("VTCD_FAULT_SHIM")
    if library is None:
        library = str(Path(tempfile.mkdtemp(prefix="vtcd-faults-")) / "shim.so")
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", library, str(_SOURCE), "-ldl"], check=True
        )
        more = {"VTCD_FAULT_SHIM": library, "LD_PRELOAD": library, "OMP_NUM_THREADS": "1",
                "TQDM_DISABLE": "1"}  # fmt: skip
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **more})
    os.environ.pop("LD_PRELOAD", None)  # not for what is started from here
    return ctypes.CDLL(library)


@dataclass(frozen=True)
class Fault:
    """What the operating system does wrong.

    Attributes:
        kind: of the operation; "change": any that changes the folder; "any": every one.
        error: what it answers; 0: half of a write or read is done; below 0: the signal -error.
        lasting: every later operation of the kind fails as well, as on a full disk.
    """

    kind: str
    error: int
    lasting: bool = False

    def __str__(self) -> str:
        if self.error < 0:
            return f"signal {-self.error}"
        what = errno.errorcode[self.error] if self.error else "short"
        return f"{self.kind} {what}{', all later too' if self.lasting else ''}"

    @property
    def bits(self) -> int:
        """The operations that are counted."""
        every = sum(_BIT.values())
        return {"change": CHANGING, "any": every, **_BIT}[self.kind]


#: What is tried at the n-th operation, n = 1 to all.
FAULTS = [
    Fault("open", errno.EIO),
    Fault("open", errno.EMFILE),
    Fault("read", errno.EIO),
    Fault("read", errno.EINTR),
    Fault("read", 0),
    Fault("map", errno.ENOMEM),
    Fault("write", errno.ENOSPC, lasting=True),
    Fault("write", errno.EIO),
    Fault("write", errno.EINTR),
    Fault("write", 0),
    Fault("fsync", errno.EIO),
    Fault("fsync", errno.ENOSPC),
    Fault("rename", errno.EIO),
    Fault("rename", errno.ENOSPC),
    Fault("rename", errno.EINTR),
    Fault("link", errno.EIO),
    Fault("link", errno.ENOSPC),
    Fault("link", errno.EPERM, lasting=True),
    Fault("unlink", errno.EIO),
    Fault("mkdir", errno.ENOSPC),
]


class Shim:
    """The controls of the library.

    Args:
        library: see :func:`preload`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.fault_disarm.restype = library.fault_count.restype = ctypes.c_long

    def counts(self, folder: Path, do: Callable[[], object]) -> dict[str, int]:
        """Return how many operations of each kind there are below a folder while a call lasts."""
        with self.armed(folder, Fault("any", 0), 0):
            do()
        counts = {kind: self._library.fault_count(bit) for kind, bit in _BIT.items()}
        changing = sum(counts[kind] for kind, bit in _BIT.items() if bit & CHANGING)
        return {**counts, "change": changing}

    @contextmanager
    def armed(self, folder: Path, fault: Fault, number: int) -> Iterator[None]:
        """Let the operation of that number below a folder fail."""
        self._library.fault_arm(
            os.fsencode(folder), fault.bits, ctypes.c_long(number), fault.error, int(fault.lasting)
        )
        try:
            yield
        finally:
            self._library.fault_disarm()
