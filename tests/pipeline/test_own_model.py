"""The example of wrapping one's own model, and every test an adapter should pass, on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests

EXAMPLE = Path(__file__).parents[2] / "examples/own_model.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_model", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestOwnModel(AdapterTests):
    def make_adapter(self) -> Adapter:
        example = load_example()
        return example.wrap(example.OwnModel().eval())

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        role = {"queries": "to_q", "keys": "to_k", "values": "to_v", "outputs": "to_out"}[part]
        flat = linears[f"blocks.{layer}.{role}"][0 if part == "outputs" else 1]
        return flat[:, 1:].reshape(len(flat), 256, 4, 12).permute(0, 2, 1, 3)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    load_example().main()
    printed = capsys.readouterr().out
    assert "parity: output equal bit for bit" in printed
    assert "keys of layer 3: [1, 4, 256, 12]" in printed


def test_wrapping_takes_about_thirty_lines() -> None:
    lines = EXAMPLE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def wrap"))
    stop = next(number for number, line in enumerate(lines) if line.startswith("def main"))
    assert stop - start <= 30


def test_weights_outside_modules_are_redrawn() -> None:
    """A class token and a position table have no `reset_parameters` of their own."""
    adapter = load_example().wrap(load_example().OwnModel().eval())
    trained = {name: p.clone() for name, p in adapter.model.named_parameters()}
    torch.manual_seed(1)
    fresh = dict(adapter.untrained_model().named_parameters())
    constant = {name for name, p in trained.items() if p.unique().numel() == 1}  # layer norms
    assert {name for name in trained if torch.equal(fresh[name], trained[name])} == constant
    ratio = fresh["positions"].detach().std() / trained["positions"].detach().std()
    assert 0.8 < float(ratio) < 1.2
