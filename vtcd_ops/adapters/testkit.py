"""Tests that every adapter should pass; derive a class from `AdapterTests` in a test module.

`check_adapter` says in one call whether an adapter works; these tests go further, and compare with
features taken by plain hooks, written down independently of the adapter.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from vtcd_ops.adapters.adapter import PARTS, Adapter, Site
from vtcd_ops.adapters.capture import capture
from vtcd_ops.adapters.check import (
    check_adapter,
    output_difference,
    random_inputs,
    tensors,
    traces,
)
from vtcd_ops.adapters.edit import edit
from vtcd_ops.adapters.weights import randomize_weights, weights_sha256
from vtcd_ops.common.errors import InputError

__all__ = ["AdapterTests", "record"]


def record(model: nn.Module, run: Callable[[], Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the input and output of every `nn.Linear` by name, taken by plain hooks.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> seen = record(model, lambda: model(torch.rand(5, 2)))
    >>> [tuple(tensor.shape) for tensor in seen["0"]]
    [(5, 2), (5, 3)]
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):

            def hook(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                seen[name] = (args[0], output)

            handles.append(module.register_forward_hook(hook))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _identity(part: str, layer: int, features: Tensor) -> Tensor:
    return features


class AdapterTests(abc.ABC):
    """What holds for every adapter. A subclass named `Test...` says how to make one.

    `plain_features` must be written without the adapter's own code: it is the oracle.
    """

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        """In models this small, threads cost more than they save."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @abc.abstractmethod
    def make_adapter(self) -> Adapter:
        """Return a fresh adapter of a small random model in evaluation mode."""

    @abc.abstractmethod
    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        """Return [B, A, t*h*w, C] of one (part, layer) from what `record` saw of the model."""

    def clips(self, adapter: Adapter, batch: int = 2) -> Tensor:
        """Return random clips [B, T, 3, H', W']."""
        frames = torch.randint(0, 256, (batch, adapter.num_frames, 48, 64, 3), dtype=torch.uint8)
        return torch.stack([adapter.preprocess(clip) for clip in frames])

    def inputs(self, adapter: Adapter, clips: Tensor) -> dict[str, Tensor]:
        """Return what the model needs beside the clips, the same for every clip."""
        return random_inputs(adapter, len(clips))

    def _capture(self, adapter: Adapter, clips: Tensor, **options: Any) -> Any:
        return capture(adapter, clips, inputs=self.inputs(adapter, clips), **options)

    def _forward(self, adapter: Adapter, clips: Tensor) -> Any:
        return adapter.forward(clips, **self.inputs(adapter, clips))

    def test_check_adapter(self) -> None:
        """The test kit for users finds nothing wrong."""
        assert check_adapter(self.make_adapter())[-1] == "traces: none"

    def test_features_are_what_plain_hooks_see(self) -> None:
        """Every part of every layer, bit for bit."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        linears = record(adapter.model, lambda: self._forward(adapter, clips))
        features = self._capture(adapter, clips, parts=PARTS)
        for part in PARTS:
            for layer in range(adapter.num_layers):
                expected = self.plain_features(adapter, linears, (part, layer))
                torch.testing.assert_close(features[part][layer], expected, rtol=0, atol=0)

    def test_output_is_that_of_the_bare_model(self) -> None:
        """Before, while and after something is captured or edited."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        assert output_difference(adapter, clips, self.inputs(adapter, clips)) == 0.0
        before = self._outputs(adapter, clips)
        self._capture(adapter, clips, parts=PARTS)
        for old, new in zip(before, self._outputs(adapter, clips), strict=True):
            assert torch.equal(old, new)

    def test_subsets(self) -> None:
        """Any layers and heads, in any order, are the same numbers as all of them."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        everything = self._capture(adapter, clips, parts=("values", "keys"))
        layers, heads = [adapter.num_layers - 1, 0], [adapter.num_heads - 1, 0]
        some = self._capture(adapter, clips, layers=layers, parts=["values"], heads=heads)
        assert list(some) == ["values"]
        assert list(some["values"]) == sorted(set(layers))
        for layer in layers:
            assert torch.equal(some["values"][layer], everything["values"][layer][:, heads])

    def test_forward_stops_at_the_last_layer_needed(self) -> None:
        """Nothing after the first layer's keys is computed when only they are asked for."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        run: list[Site] = []

        def count(part: str, layer: int, features: Tensor) -> Tensor:
            run.append((part, layer))
            return features

        with edit(adapter, count, parts=PARTS):
            self._capture(adapter, clips, layers=[0], parts=("keys",))
        assert {layer for _, layer in run} == {0}
        assert ("outputs", 0) not in run

    def test_nothing_stays_hooked(self) -> None:
        """After success, after an exception in the function, and after one in the model."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        before, weights = traces(adapter.model), weights_sha256(adapter.model)

        def fail(*args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError

        self._capture(adapter, clips)
        with edit(adapter, _identity, parts=PARTS):
            self._forward(adapter, clips)
        assert traces(adapter.model) == before
        with pytest.raises(ZeroDivisionError), edit(adapter, fail, parts=PARTS):
            self._forward(adapter, clips)
        assert traces(adapter.model) == before
        handle = next(adapter.model.children()).register_forward_pre_hook(fail)
        with pytest.raises(ZeroDivisionError):
            self._capture(adapter, clips, parts=PARTS)
        handle.remove()
        assert traces(adapter.model) == before
        assert weights_sha256(adapter.model) == weights

    def test_capture_keeps_the_training_mode(self) -> None:
        """A model in training is captured without dropout, and trains on."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        expected = self._capture(adapter, clips)["keys"]
        adapter.model.train()
        before = traces(adapter.model)
        for layer, keys in self._capture(adapter, clips)["keys"].items():
            assert torch.equal(keys, expected[layer])
        assert traces(adapter.model) == before

    def test_bfloat16(self) -> None:
        """A model in half precision gives float32 features and keeps its parity."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        single = self._capture(adapter, clips, layers=[0])["keys"][0]
        adapter.model.bfloat16()
        keys = self._capture(adapter, clips, layers=[0])["keys"][0]
        assert keys.dtype == torch.float32
        assert torch.equal(keys, keys.bfloat16().float())
        torch.testing.assert_close(keys, single, rtol=0.1, atol=0.1 * float(single.abs().max()))
        assert output_difference(adapter, clips, self.inputs(adapter, clips)) == 0.0

    def test_batch(self) -> None:
        """Clips do not mix: each is what it is alone, up to the rounding of matrix products."""
        adapter = self.make_adapter()
        clips = self.clips(adapter, batch=3)
        together = self._capture(adapter, clips, parts=PARTS)
        alone = self._capture(adapter, clips[1:2], parts=PARTS)
        for part in PARTS:
            for layer, features in alone[part].items():
                torch.testing.assert_close(together[part][layer][1:2], features)

    def test_edited_features_are_what_the_attention_uses(self) -> None:
        """Without values, a head's outputs are zero; other heads do not notice."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        plain = self._capture(adapter, clips, layers=[0], parts=("outputs",))["outputs"][0]
        keep = torch.ones(1, adapter.num_heads, 1, 1)
        keep[:, 0] = 0

        def silence(part: str, layer: int, features: Tensor) -> Tensor:
            return features * keep

        with edit(adapter, silence, layers=[0], parts=("values",)):
            edited = self._capture(adapter, clips, layers=[0], parts=("outputs",))["outputs"][0]
        assert not edited[:, 0].any()
        assert plain[:, 0].any()
        torch.testing.assert_close(edited[:, 1:], plain[:, 1:])

    def test_edits_reach_the_token_they_name(self) -> None:
        """A change of one token of the outputs is seen at that token alone, prefix tokens apart."""
        adapter = self.make_adapter()
        clips = self.clips(adapter, batch=1)
        token = 5

        def mark(part: str, layer: int, features: Tensor) -> Tensor:
            marked = features.clone()
            marked[:, :, adapter.num_prefix_tokens + token] += 1
            return marked

        plain = self._capture(adapter, clips, layers=[0], parts=("outputs",))["outputs"][0]
        with edit(adapter, mark, layers=[0], parts=("outputs",)):
            marked = self._capture(adapter, clips, layers=[0], parts=("outputs",))["outputs"][0]
        changed = (marked != plain).any(dim=-1).any(dim=1)[0].nonzero().flatten().tolist()
        assert changed == [token]

    def test_gradients_flow_through_edits(self) -> None:
        """The gradient with respect to a mask arrives."""
        adapter = self.make_adapter()
        keep = torch.ones(1, adapter.num_heads, 1, 1, requires_grad=True)
        with edit(adapter, lambda part, layer, features: features * keep, layers=[0]):
            outputs = self._outputs(adapter, self.clips(adapter), grad=True)
        sum(output.square().sum() for output in outputs).backward()  # type: ignore[union-attr]
        assert keep.grad is not None
        assert bool(keep.grad.any())

    def test_nested_edits(self) -> None:
        """The outer edit comes first; when the inner one closes, the outer one stays."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        plain = self._capture(adapter, clips, layers=[0])["keys"][0]
        with edit(adapter, lambda part, layer, features: features + 1):
            with edit(adapter, lambda part, layer, features: features * 2):
                both = self._capture(adapter, clips, layers=[0])["keys"][0]
            outer = self._capture(adapter, clips, layers=[0])["keys"][0]
        torch.testing.assert_close(both, (plain + 1) * 2)
        torch.testing.assert_close(outer, plain + 1)

    def test_predictions(self) -> None:
        """One row a clip, which does not depend on the others; gradients arrive at the clips."""
        adapter = self.make_adapter()
        if not adapter.metrics:
            return
        clips = self.clips(adapter, batch=3).requires_grad_()
        together = adapter.predict(clips, **self.inputs(adapter, clips))
        alone = adapter.predict(clips[1:2], **self.inputs(adapter, clips[1:2]))
        assert together.keys() == alone.keys()
        for name, values in together.items():
            assert len(values) == 3
            torch.testing.assert_close(values[1:2], alone[name])
        assert adapter.metrics[0] != "probability" or together["logits"].dim() == 2
        sum(values.square().sum() for values in together.values()).backward()  # type: ignore[union-attr]
        assert clips.grad is not None
        assert all(bool(clip.any()) for clip in clips.grad)

    def test_randomized_weights(self) -> None:
        """Another model of the same shape, the same for the same seed; the first is left alone."""
        adapter = self.make_adapter()
        before = weights_sha256(adapter.model)
        hashes = [weights_sha256(randomize_weights(adapter, seed).model) for seed in (1, 1, 2)]
        assert hashes[0] == hashes[1]
        assert len({before, *hashes}) == 3
        assert weights_sha256(adapter.model) == before
        control = randomize_weights(adapter, seed=1)
        features = self._capture(control, self.clips(adapter))["keys"]
        assert all(bool(keys.any()) and bool(keys.isfinite().all()) for keys in features.values())

    def test_display_undoes_preprocess(self) -> None:
        """Frames of the model's own size come back as they were."""
        adapter = self.make_adapter()
        height, width = self.clips(adapter).shape[-2:]
        frames = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8)
        shown = adapter.display(adapter.preprocess(frames))
        if getattr(cast(Any, adapter).frames, "shortest_edge", None) in (None, height):
            assert (torch.from_numpy(shown) == frames).all()
        assert shown.shape == frames.shape

    def test_bad_requests(self) -> None:
        """One sentence each."""
        adapter = self.make_adapter()
        clips = self.clips(adapter)
        cases: list[tuple[dict[str, Any], str]] = [
            (
                {"layers": [adapter.num_layers]},
                f"layer expected 0 to {adapter.num_layers - 1}, got",
            ),
            ({"layers": [-1]}, "layer expected 0 to"),
            ({"layers": []}, "layers expected at least one, got none"),
            ({"heads": [adapter.num_heads]}, f"head expected 0 to {adapter.num_heads - 1}, got"),
            ({"parts": ["key"]}, "part expected one of queries, keys, values, outputs, got 'key'"),
            ({"clips": clips[0]}, r"clips expected floating point \[B, T, 3, H, W\]"),
            ({"clips": clips[:, :, :1]}, r"clips expected floating point \[B, T, 3, H, W\]"),
            ({"clips": clips[..., :-1]}, "clips expected"),
            ({"clips": clips[:0]}, "clips expected at least one clip"),
        ]
        before = traces(adapter.model)
        for change, message in cases:
            with pytest.raises(InputError, match=message):
                self._capture(adapter, **{"clips": clips, **change})
        assert traces(adapter.model) == before

    def _outputs(self, adapter: Adapter, clips: Tensor, grad: bool = False) -> list[Tensor]:
        with torch.set_grad_enabled(grad):
            output = self._forward(adapter, clips)
        return list(tensors(output))
