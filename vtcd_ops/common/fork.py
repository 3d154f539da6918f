"""A forked process has none of its parent's threads: it must not wait for them."""

from __future__ import annotations

import os

import torch


def _one_thread() -> None:
    torch.set_num_threads(1)


def register() -> None:
    """Give processes forked from this one a single thread, as DataLoader does with its workers.

    GNU OpenMP, on which torch's CPU operators run, keeps its threads between parallel regions. They
    do not survive a fork, but the library waits for them at the next region, for ever.
    """
    os.register_at_fork(after_in_child=_one_thread)
