"""How reliable an order is by now, told on the bar: at once, or beside a device that goes on."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vtcd_ops.importance.scoring import Scoring


class Bar:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def set_postfix(self, reliability: str) -> None:
        self.shown.append(reliability)


def scoring_on(device: str, check: Any, stop_at: float | None = None) -> Any:
    masked: Any = SimpleNamespace(device=torch.device(device))
    nothing: Any = SimpleNamespace()
    return Scoring(masked, [], nothing, nothing, progress=True, check=check, stop_at=stop_at)


@pytest.mark.parametrize(("device", "stop_at"), [("cpu", None), ("cpu", 0.9), ("cuda", 0.9)])
def test_what_decides_is_waited_for(device: str, stop_at: float | None) -> None:
    bar: Any = Bar()
    with scoring_on(device, lambda tensors: tensors["x"], stop_at)._checking(bar) as reliability:
        assert reliability({"x": 0.25}) == 0.25
        assert reliability({"x": 0.5}) == 0.5
    assert bar.shown == ["0.250", "0.500"]


def test_a_device_does_not_wait() -> None:
    """What is asked while the last answer is being worked out is not answered at all."""
    gate, bar = threading.Event(), Bar()

    def check(tensors: dict[str, float]) -> float:
        gate.wait(30)
        return tensors["x"]

    anything: Any = bar
    with scoring_on("cuda", check)._checking(anything) as reliability:
        assert reliability({"x": 0.25}) is None
        assert reliability({"x": 0.5}) is None
        assert bar.shown == []
        gate.set()
    assert bar.shown == ["0.250"]


def test_what_goes_wrong_beside_is_raised() -> None:
    def check(tensors: Any) -> float:
        raise ValueError("no such estimator")

    bar: Any = Bar()

    def work() -> None:
        with scoring_on("cuda", check)._checking(bar) as reliability:
            reliability({})

    with pytest.raises(ValueError, match="no such estimator"):
        work()
