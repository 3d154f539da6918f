"""Times of calls on a device: as their caller sees them, and of the kernels alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]
PROFILED_CALLS = 5


@dataclass(frozen=True)
class Clock:
    """Times calls that use one device.

    Args:
        device: ``cuda`` or, for a dry run, ``cpu``.
        budget_s: seconds of timed calls.
        repeats: timed calls at most.
    """

    device: torch.device
    budget_s: float
    repeats: int

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def measure(self, calls: Sequence[Call]) -> dict[str, Any]:
        """Time calls in turn, so that the data of one is not in the cache of the next.

        Returns:
            Milliseconds between two events of the stream before and after a call (``ms``: the
            median); what the host does in between, and waits for, counts.
        """
        for call in calls[:3]:
            call()
        self.synchronize()
        before = time.perf_counter()
        calls[0]()
        self.synchronize()
        one_s = max(time.perf_counter() - before, 1e-6)
        repeats = max(3, min(self.repeats, int(self.budget_s / one_s)))
        times = [self._time(calls[i % len(calls)]) for i in range(repeats)]
        return {
            "ms": round(statistics.median(times), 5),
            "fastest_ms": round(min(times), 5),
            "slowest_ms": round(max(times), 5),
            "repeats": repeats,
        }

    def _time(self, call: Call) -> float:
        if self.device.type != "cuda":
            before = time.perf_counter()
            call()
            return 1e3 * (time.perf_counter() - before)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def kernels(self, calls: Sequence[Call], count: int = PROFILED_CALLS) -> dict[str, Any]:
        """Return what runs on the device during a call, and how long (``device_ms``), as traced."""
        if self.device.type != "cuda":
            return {}
        self.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as trace:
            for i in range(count):
                calls[i % len(calls)]()
            self.synchronize()
        events = [event for event in trace.key_averages() if event.self_device_time_total > 0]
        events.sort(key=lambda event: -event.self_device_time_total)
        total_us = sum(event.self_device_time_total for event in events)
        return {
            "device_ms": round(total_us / 1e3 / count, 5),
            "kernels": [
                {
                    "name": event.key[:120],
                    "launches": event.count / count,
                    "ms": round(event.self_device_time_total / 1e3 / count, 5),
                }
                for event in events[:12]
            ],
        }


def copy_gb_per_s(clock: Clock, num_bytes: int) -> float:
    """Return what a copy within the device's memory reads and writes a second, in GB."""
    source = torch.randint(0, 256, (num_bytes,), dtype=torch.uint8, device=clock.device)
    target = torch.empty_like(source)
    fastest = clock.measure([lambda: target.copy_(source)])["fastest_ms"]
    return round(2 * num_bytes / (1e6 * fastest), 1)
