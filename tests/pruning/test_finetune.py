"""Training what is left: any step, towards the whole model, in rounds; it goes on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pruning.test_bad_input import Ranked
from pruning.tiny_models import make
from torch.nn import functional

import vtcd_ops
from vtcd_ops.adapters import weights_sha256
from vtcd_ops.pruning.batches import ClipBatches
from vtcd_ops.pruning.rounds import share_of_round

ROOT = Path(__file__).parents[2]
HEADS = [(0, 1), (2, 2), *((1, head) for head in range(4))]


def samples(count: int = 6) -> list[vtcd_ops.Sample]:
    """Videos of two classes that are told by their brightness."""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        low = 160 * (number % 2)
        video = random.integers(low, low + 90, (4, 32, 32, 3)).astype(np.uint8)
        found.append(vtcd_ops.Sample(video, label=number % 2))
    return found


def smaller() -> Any:
    return vtcd_ops.prune(make("videomae"), heads=HEADS, neurons={0: range(40)})


def accuracy(adapter: Any) -> float:
    with torch.no_grad():
        clips = torch.stack([adapter.preprocess(one.video) for one in samples()])
        logits = adapter.predict(clips)["logits"]
    return float((logits.argmax(1) == torch.tensor([0, 1] * 3)).float().mean())


def test_labels_are_learned() -> None:
    adapter = smaller()
    assert accuracy(adapter) <= 0.5
    found = vtcd_ops.finetune(
        adapter, samples(), epochs=12, learning_rate=3e-3, batch_size=3, progress=False
    )
    assert found is adapter
    assert not adapter.model.training
    assert accuracy(adapter) == 1
    assert adapter.removed_heads == frozenset(HEADS)


def far_apart(adapter: Any, whole: Any, clips: torch.Tensor, name: str) -> float:
    with torch.no_grad():
        answers = [one.predict(clips)[name] for one in (adapter, whole)]
    return float(functional.mse_loss(*answers))


def test_answers_come_near_those_of_the_whole_model() -> None:
    """Without labels: distillation alone, of logits and of features."""
    plain = [vtcd_ops.Sample(one.video) for one in samples()]
    for family, name in (("videomae", "logits"), ("dinov2", "features")):
        whole = make(family)
        adapter: Any = vtcd_ops.prune(whole, heads=HEADS)
        before = weights_sha256(whole.model)
        clips = torch.stack([adapter.preprocess(one.video) for one in samples()])

        first = far_apart(adapter, whole, clips, name)
        vtcd_ops.finetune(
            adapter, plain, teacher=whole, epochs=20, learning_rate=2e-4, progress=False
        )
        assert far_apart(adapter, whole, clips, name) < 0.8 * first, family
        assert weights_sha256(whole.model) == before
        assert not whole.model.training


def test_any_step_and_any_batches() -> None:
    """A loader of one's own, a loss of one's own; the first step is that of AdamW by hand."""
    adapter, other = smaller(), smaller()
    clips = torch.stack([adapter.preprocess(one.video) for one in samples()])
    loader: Any = torch.utils.data.DataLoader(clips, batch_size=6)

    def step(model: Any, batch: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.predict(batch)["logits"].square().mean()
        return found

    vtcd_ops.finetune(
        adapter, loader, step=step, epochs=1, learning_rate=1e-3, weight_decay=0.1, progress=False
    )
    other.model.train()
    optimiser = torch.optim.AdamW(other.model.parameters(), lr=1e-3, weight_decay=0.1)
    step(other, clips).backward()
    optimiser.step()
    assert weights_sha256(adapter.model) == weights_sha256(other.model)


class StoppedError(Exception):
    """What a step raises in place of a kill."""


def stopping_after(count: int) -> Any:
    left = [count]

    def step(adapter: Any, batch: Any) -> torch.Tensor:
        if left[0] == 0:
            raise StoppedError
        left[0] -= 1
        dropped = functional.dropout(adapter.predict(batch.clips)["logits"], 0.3)
        return functional.cross_entropy(dropped, batch.labels)

    return step


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_it_goes_on_bit_for_bit(steps: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "epochs": 2, "batch_size": 2, "checkpoint_every": 2, "progress": False,
    }  # fmt: skip
    through = vtcd_ops.finetune(smaller(), samples(), step=stopping_after(99), **settings)
    with pytest.raises(StoppedError):
        vtcd_ops.finetune(
            smaller(), samples(), step=stopping_after(steps), out=tmp_path, **settings
        )
    assert (tmp_path / "finetune.pt").is_file() == (steps >= 2)
    resumed = vtcd_ops.finetune(
        smaller(), samples(), step=stopping_after(99), out=tmp_path, **settings
    )
    assert weights_sha256(resumed.model) == weights_sha256(through.model)
    again = vtcd_ops.finetune(
        smaller(), samples(), step=stopping_after(0), out=tmp_path, **settings
    )
    assert weights_sha256(again.model) == weights_sha256(through.model)
    with pytest.raises(vtcd_ops.InputError, match="begun with other settings, another model or"):
        vtcd_ops.finetune(smaller(), samples(), out=tmp_path, **{**settings, "epochs": 3})
    content = (tmp_path / "finetune.pt").read_bytes()
    (tmp_path / "finetune.pt").write_bytes(content[:-100])
    with pytest.raises(vtcd_ops.InputError, match="is damaged: it is no checkpoint"):
        vtcd_ops.finetune(smaller(), samples(), out=tmp_path, **settings)


def test_rounds_go_on(tmp_path: Path) -> None:
    """In three rounds, interrupted in the second; the ranking is asked once a round."""
    asked: list[int] = []

    def ranked(model: Any, number: int) -> Ranked:
        asked.append(number)
        return Ranked(settings={"model": "videomae"})

    settings: dict[str, Any] = {"rounds": 3, "epochs": 1, "batch_size": 3, "progress": False}
    through: Any = vtcd_ops.prune_and_finetune(
        make("videomae"), ranked, samples(), 0.5, step=stopping_after(99), **settings
    )
    assert asked == [0, 1, 2]
    assert len(through.removed_heads) == 6
    asked.clear()
    with pytest.raises(StoppedError):
        vtcd_ops.prune_and_finetune(
            make("videomae"), ranked, samples(), 0.5, step=stopping_after(3), out=tmp_path,
            **settings,
        )  # fmt: skip
    assert asked == [0, 1]
    resumed: Any = vtcd_ops.prune_and_finetune(
        make("videomae"), ranked, samples(), 0.5, step=stopping_after(99), out=tmp_path, **settings
    )
    assert asked == [0, 1, 2]
    assert resumed.removed_heads == through.removed_heads
    assert resumed.name == through.name == "videomae (6 of 12 heads removed)"
    assert weights_sha256(resumed.model) == weights_sha256(through.model)
    with pytest.raises(vtcd_ops.InputError, match="holds rounds of another model or other"):
        vtcd_ops.prune_and_finetune(
            make("videomae"), ranked, samples(), 0.4, out=tmp_path, **settings
        )


def test_the_example_goes_through_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A third of the cost goes, and what is left is written."""
    spec: Any = importlib.util.spec_from_file_location(
        "prune_and_finetune", ROOT / "examples" / "prune_and_finetune.py"
    )
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path, per_class=1, masks=8, epochs=1)
    _, pruned, trained = capsys.readouterr().out.splitlines()
    assert pruned.partition(" right, ")[2] == trained.partition(" right, ")[2]
    loaded = vtcd_ops.load_model(tmp_path / "smaller")
    share = (
        vtcd_ops.count_cost(loaded).macs
        / vtcd_ops.count_cost(vtcd_ops.load_model("hf_videomae:mini")).macs
    )
    assert 0.6 < share <= 2 / 3


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_shares_of_rounds(rounds: int) -> None:
    left = 1.0
    for number in range(rounds):
        left *= 1 - share_of_round(0.6, number, rounds)
    assert left == pytest.approx(0.4)


def test_a_model_is_learned_to_keep_what_it_needs() -> None:
    """Heads and neurons that add nothing are kept least; the weights stay."""
    adapter: Any = make("videomae")
    idle = {(0, 2), (1, 0), (2, 3)}
    with torch.no_grad():
        for layer, head in idle:
            output = adapter.model.get_submodule(
                f"videomae.encoder.layer.{layer}.attention.output.dense"
            )
            output.weight[:, 12 * head : 12 * (head + 1)] = 0
        behind = adapter.model.get_submodule("videomae.encoder.layer.1.output.dense")
        behind.weight[:, 16:48] = 0
    vtcd_ops.finetune(adapter, samples(), epochs=8, learning_rate=2e-3, progress=False)
    with torch.no_grad():  # training moved them from zero
        for layer, head in idle:
            output = adapter.model.get_submodule(
                f"videomae.encoder.layer.{layer}.attention.output.dense"
            )
            output.weight[:, 12 * head : 12 * (head + 1)] = 0
        behind.weight[:, 16:48] = 0
    before = weights_sha256(adapter.model)
    keep = vtcd_ops.learn_keep(
        adapter, samples(), units="heads+neurons", epochs=30, penalty=0.3, learning_rate=0.2,
        progress=False,
    )  # fmt: skip
    assert weights_sha256(adapter.model) == before
    assert all(parameter.requires_grad for parameter in adapter.model.parameters())
    useless = [(layer, head, -1) for layer, head in idle] + [(1, -1, 1), (1, -1, 2)]
    value = {tuple(unit): float(one) for unit, one in zip(keep.units.tolist(), keep.value)}
    assert len(value) == 24
    assert all(value[unit] < np.median(keep.value) for unit in useless)
    pruned: Any = vtcd_ops.prune(adapter, keep, 0.25)
    assert len(pruned.removed_heads) + len(pruned.removed_neurons.get(1, ())) / 16 >= 3


def test_a_keep_goes_on(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 2, "progress": False}
    through = vtcd_ops.learn_keep(smaller(), samples(), step=stopping_after(99), **settings)
    with pytest.raises(StoppedError):
        vtcd_ops.learn_keep(smaller(), samples(), step=stopping_after(4), out=tmp_path, **settings)
    resumed = vtcd_ops.learn_keep(
        smaller(), samples(), step=stopping_after(99), out=tmp_path, **settings
    )
    np.testing.assert_array_equal(resumed.value, through.value)
    assert {(int(n), int(a)) for n, a, _ in resumed.units} == {
        (n, a) for n in range(3) for a in range(4)
    } - set(HEADS)


def test_batches_of_clips() -> None:
    """Every clip once a pass, with its label; a longer video gives a clip for each window."""
    adapter = make("videomae")
    long = np.repeat(np.arange(8, dtype=np.uint8), 32 * 32 * 3).reshape(8, 32, 32, 3)
    batches = ClipBatches(adapter, [*samples(4), vtcd_ops.Sample(long[:4], label=1)], batch_size=2)
    assert len(batches) == 3
    seen = list(batches)
    assert [len(batch.clips) for batch in seen] == [2, 2, 1]
    labels = torch.cat([batch.labels for batch in seen if batch.labels is not None])
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 1]
    bright = torch.cat([batch.clips.mean((1, 2, 3, 4)) for batch in seen])
    assert len(bright.unique()) == 5


BAD: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "epochs expected"),
    ({"learning_rate": 0}, "learning_rate expected a number above 0, got 0"),
    ({"learning_rate": float("nan")}, "learning_rate expected a number above 0"),
    ({"distillation": 1.5}, "distillation expected a number from 0 to 1, got 1.5"),
    ({"temperature": 0}, "temperature expected a number above 0, got 0"),
    ({"data": []}, "data expected batches with a length above 0"),
    ({"data": [vtcd_ops.Sample(samples()[0].video)]}, "expected labels and a model that gives"),
    (
        {"data": [vtcd_ops.Sample(samples()[0].video, label="jump")]},
        "label expected one of the numbers of classes, got 'jump'",
    ),
    (
        {"data": [*samples(1), vtcd_ops.Sample(samples()[0].video)]},
        "a label for every video, or for none",
    ),
    ({"step": lambda adapter, batch: 3.0}, "the step expected to return the loss"),
    (
        {"step": lambda adapter, batch: adapter.predict(batch.clips)["logits"]},
        r"one number with a gradient, got Tensor \[6, 5\]",
    ),
    (
        {"step": lambda adapter, batch: adapter.predict(batch.clips)["logits"].mean() * np.inf},
        "the loss of step 0 is",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_requests(arguments: dict[str, Any], message: str) -> None:
    adapter = smaller()
    before = weights_sha256(adapter.model)
    with pytest.raises(vtcd_ops.InputError, match=message):
        vtcd_ops.finetune(adapter, **{"data": samples(), "progress": False, **arguments})
    assert weights_sha256(adapter.model) == before
    assert not adapter.model.training
