"""Discovery by torchrun on two nodes, one of which is killed: how long, and the same bytes?

The nodes are two network namespaces of this machine that share its files and reach each other by a
cable of their own (root and `ip` are needed). Each has one process of one thread.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from _harness import Column, write
from dask_workers import contents

NODES = ("vtcd-first", "vtcd-second")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CLIPS = 24
COLUMNS = [
    Column("case", "nodes"),
    Column("seconds", "seconds until the run is complete", "{:.1f}"),
    Column("same", "the bytes of one process"),
    Column("kilobytes", "kB between them", "{:.0f}"),
]


def ip(*words: str) -> str:
    """Run `ip`, and return what it says."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def two_nodes() -> Iterator[None]:
    """While open, two network namespaces are there, and a cable between them."""
    try:
        for node in NODES:
            ip("netns", "add", node)
        ip("link", "add", NODES[0], "netns", NODES[0], "type", "veth", "peer", NODES[1])
        ip("link", "set", NODES[1], "netns", NODES[1])
        for node, address in zip(NODES, ADDRESSES, strict=True):
            ip("-n", node, "address", "add", f"{address}/24", "dev", node)
            ip("-n", node, "link", "set", node, "up")
            ip("-n", node, "link", "set", "lo", "up")
        yield
    finally:
        for node in NODES:
            subprocess.run(["ip", "netns", "delete", node], check=False)


def sent() -> int:
    """Bytes that came to the first node by the cable, and went from it."""
    counts = json.loads(ip("-j", "-s", "-n", NODES[0], "link", "show", NODES[0]))[0]["stats64"]
    both: int = counts["rx"]["bytes"] + counts["tx"]["bytes"]
    return both


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("wb") as said:
        return subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, start_new_session=True
        )


def discover(out: Path) -> list[str]:
    """The words of the command."""
    folder = Path(str(files("vtcd_hf_videomae") / "clips/evaluation"))
    clips = [str(path) for path in sorted(folder.glob("*.mp4"))[:CLIPS]]
    return ["-m", "vtcd_ops.cli", "discover", "hf_videomae:mini", *clips, "--out", str(out)]


def on_nodes(out: Path) -> list[subprocess.Popen[bytes]]:
    """Start torchrun on both nodes."""
    running = []
    for node, address in zip(NODES, ADDRESSES, strict=True):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1:2"]
        torchrun += ["--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-id={out.name}"]
        torchrun += [f"--rdzv-endpoint={ADDRESSES[0]}:29400", f"--local-addr={address}"]
        torchrun += [f"--rdzv-conf=is_host={int(node == NODES[0])}"]  # no name leads to an address
        command = ["ip", "netns", "exec", node, *torchrun, *discover(out)]
        running.append(started(command, out.with_name(f"{out.name}-{node}.log")))
    return running


def wait_for(
    what: str, done: Callable[[], bool], processes: list[subprocess.Popen[bytes]], said: Path
) -> None:
    """Wait until something is so; raise where all processes have ended before."""
    while not done():
        if all(process.poll() is not None for process in processes) and not done():
            raise SystemExit(f"two_nodes: all processes ended before {what}: {said}")
        time.sleep(0.1)


def measure(case: str, out: Path, nodes: int, kill: bool) -> dict[str, Any]:
    """Discover, and say how long it took."""
    before, begin = sent(), time.perf_counter()
    log = out.with_name(f"{out.name}.log")
    running = on_nodes(out) if nodes == 2 else [started([sys.executable, *discover(out)], log)]
    if kill:
        stored = out / "videos"
        wait_for("a third was done", lambda: len(list(stored.glob("*"))) > CLIPS // 3, running, out)
        os.killpg(running[1].pid, signal.SIGKILL)
    wait_for("the run was complete", (out / "run.json").is_file, running, out)
    seconds, kilobytes = time.perf_counter() - begin, (sent() - before) / 1e3
    for process in running:  # what is left waits for the killed one, up to five minutes
        if kill and process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait()
    return {"case": case, "seconds": seconds, "kilobytes": kilobytes if nodes == 2 else None}


def main() -> None:
    """One process, two nodes, and two of which one is killed."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, two_nodes():
        folder = Path(name)
        for case, nodes, kill in (
            ("one process", 1, False), ("two", 2, False), ("two, one killed", 2, True),
        ):  # fmt: skip
            out = folder / case.replace(", ", "-").replace(" ", "-")
            row = measure(case, out, nodes, kill)
            row["same"] = "yes" if contents(out) == contents(folder / "one-process") else "no"
            print(row, flush=True)
            rows.append(row)
    write(
        "two_nodes",
        rows,
        COLUMNS,
        note=f"`vtcd discover hf_videomae:mini` on {CLIPS} bundled clips, from starting Python to "
        "the finished run, one thread a process; a node is a network namespace of this machine, "
        "with one process under torchrun, and is killed (SIGKILL, all of it) when a third of the "
        "videos are begun. Its video goes to the other one after 20 seconds.",
    )


if __name__ == "__main__":
    main()
