"""Which process of a job does which task, agreed through the job's store: no lock is needed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vtcd_ops.storage.claims import PRESENCE, Claims
from vtcd_ops.storage.file_claims import FileClaims, NoLocksError
from vtcd_ops.storage.files import sha256_bytes
from vtcd_ops.storage.job_store import JobStore


class StoreClaims(Claims):
    """Which process of a job does which task, agreed through the job's store.

    A claim is the number of its process under the name of the task; the next one that wants it
    takes it over where that process is dead. So it works on machines that share no locks, and on a
    file system that has none.

    Args:
        path: a file of the folder, by the same name in every process of the job. Where it can be
            locked it keeps away processes that are none of the job.
        store: of the job.

    Raises:
        InputError: a process that is none of the job works in the folder.
    """

    def __init__(self, path: Path, store: JobStore) -> None:
        super().__init__(path.parent)
        self._store = store
        self._key = sha256_bytes(str(path).encode())[:16]
        self._me = str(store.rank)
        self._path = path
        self._sign: FileClaims | None = None
        with contextlib.suppress(NoLocksError):
            self._sign = FileClaims(path, job=True)
        self._shared = [PRESENCE]
        self._alone: list[int] = []
        store.count(self._shared_key(PRESENCE, store.rank), 1)

    def _shared_key(self, task: int, rank: int) -> str:
        return f"{self._key}/{task}/shared/{rank}"

    def _take(self, task: int) -> bool:
        key = f"{self._key}/{task}"
        holder = self._store.exchange(key, "", self._me)
        if holder != self._me and not self._store.is_alive(int(holder)):
            holder = self._store.exchange(key, holder, self._me)
        return holder == self._me

    def _take_shared(self, task: int) -> bool:
        if not self._take(task):
            return False
        self._shared.append(task)
        self._store.count(self._shared_key(task, self._store.rank), 1)
        self._give_back(task)
        return True

    def _give_back(self, task: int) -> None:
        self._store.exchange(f"{self._key}/{task}", self._me, "")

    def alone(self, task: int = PRESENCE) -> bool:
        """Whether no other process holds a task, or shares it; if so it is held from now on."""
        if not self._take(task):
            return False
        for rank in self._store.others:
            shares = self._store.count(self._shared_key(task, rank)) > 0
            if shares and self._store.is_alive(rank):
                self._give_back(task)
                return False
        self._alone.append(task)
        return True

    def _holder(self, task: int) -> str:
        return f"process {self._store.exchange(f'{self._key}/{task}', '', '') or 'none'} of the job"

    def close(self, *, remove: bool = False) -> None:
        """End the claims of this process.

        Args:
            remove: remove the file that keeps others away, unless another process uses it.
        """
        for task in self._shared:
            self._store.count(self._shared_key(task, self._store.rank), -1)
        for task in self._alone:
            self._give_back(task)
        self._shared, self._alone = [], []
        if self._sign is not None:
            self._sign.close(remove=remove)
        elif remove:
            self._path.unlink(missing_ok=True)
