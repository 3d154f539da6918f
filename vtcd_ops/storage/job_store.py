"""The store that torchrun keeps for the processes of a job, and which of them are alive."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # not in its stubs

from vtcd_ops.common.errors import InputError

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 20.0  # without a beat, after which a process is taken for dead
_TIMEOUT = timedelta(seconds=60)


class JobStore:
    """What the processes of a job tell each other; each shows by beats that it is alive.

    A process that is killed, or whose machine is, beats no more. One that is stopped does not
    either: what it held is given to others, and when it goes on it finishes what it was at, which
    gives the same files.

    Args:
        host, port: of the store.
        rank: of this process, from 0.
        num_processes: how many there are.
        name: of the job, and of its attempt: stores outlive those.
        silence: seconds without a beat, after which a process is taken for dead.
    """

    def __init__(
        self,
        host: str,
        port: int,
        rank: int,
        num_processes: int,
        name: str,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.rank = rank
        self.num_processes = num_processes
        self._where = f"{host}:{port}"
        self._silence = silence
        self._left = threading.Event()
        self._heard: dict[int, tuple[int, float]] = {}  # of a process: its last beat, and when
        with self._reaching():
            self._store, self._heart = (
                PrefixStore(
                    f"vtcd/{name}",
                    TCPStore(host, port, is_master=False, timeout=_TIMEOUT),
                )
                for _ in range(2)  # a call that takes long must not keep the heart waiting
            )
            self._heart.add(f"beat/{rank}", 1)
        threading.Thread(target=self._beat, name="vtcd-beat", daemon=True).start()

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's own have this as their base
            raise InputError(
                f"the store of the job at {self._where} cannot be reached: torchrun ended, or "
                f"the network failed; the same command goes on ({str(error).splitlines()[0]})"
            ) from error

    def _beat(self) -> None:
        with contextlib.suppress(RuntimeError):  # the job is over
            while not self._left.wait(BEAT_SECONDS):
                self._heart.add(f"beat/{self.rank}", 1)

    def leave(self) -> None:
        """Beat no more: what this process holds goes to others."""
        self._left.set()

    def exchange(self, key: str, expected: str, value: str) -> str:
        """Set a key to a value if it is as expected (empty: or not set); return what it is then."""
        with self._reaching():
            return str(self._store.compare_set(key, expected, value).decode())

    def count(self, key: str, by: int = 0) -> int:
        """Add to a number, and return it."""
        with self._reaching():
            return int(self._store.add(key, by))

    def is_alive(self, rank: int) -> bool:
        """Whether a process has beaten of late; one that was never asked after gets time for it."""
        if rank == self.rank:
            return True
        beat, now = self.count(f"beat/{rank}"), time.monotonic()
        known, since = self._heard.get(rank, (-1, now))
        if beat != known:
            self._heard[rank] = beat, now
            return True
        return now - since < self._silence

    @property
    def others(self) -> list[int]:
        """The other processes."""
        return [rank for rank in range(self.num_processes) if rank != self.rank]


@lru_cache(maxsize=1)
def job_store() -> JobStore | None:
    """Return the store of the job that this process is one of; None: it is alone, or by hand."""
    environment = os.environ
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    num_processes = int(environment["WORLD_SIZE"])
    if num_processes == 1:
        return None
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    return JobStore(
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        int(environment["RANK"]),
        num_processes,
        f"{environment.get('TORCHELASTIC_RUN_ID', '')}/{attempt}",
    )
