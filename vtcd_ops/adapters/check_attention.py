"""What the parts of attention do, by which an adapter that names them wrongly is found out.

The queries, keys and values of one layer are replaced by random numbers, so that nothing depends on
what the model has learnt; then one part is changed, and the heads' outputs say what it was:

- a query decides what its own token takes from the others: all channels of its head change, at that
  token and nowhere else;
- a key decides what every token takes from its own: all channels of its head change, also at tokens
  that were left alone;
- a value is what is taken: the channels change that were changed, at every token.

In each case no other head changes, and nothing in an earlier layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.capture import capture
from vtcd_ops.adapters.edit import edit
from vtcd_ops.common.errors import InputError

__all__ = ["check_attention"]

# Of the root mean square change where one is expected. Not zero: a model that normalises queries
# over all heads together lets a change of one reach the others a little.
_LEAK = 0.5
_CHANGED = 0.02

# Share of channels that must change where all should: by chance one may hardly do so.
_MOST = 0.75

_ATTENTION = ("queries", "keys", "values")

_ORDER = "the order expected is queries, keys, values"
_FUSED = (
    "a fused projection expected as (3, heads, channels), queries, keys, values; is it "
    "(heads, 3, channels) or (heads, channels, 3)?"
)
_OUTPUTS = "is the module named outputs the one that takes the heads' outputs of this layer, as is?"


def check_attention(adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor]) -> str:
    """Check by function that heads, parts and layers are what the adapter says.

    >>> from vtcd_ops.adapters import example_adapter
    >>> check_attention(example_adapter(), torch.rand(1, 4, 3, 32, 32), {})
    'attention: heads, queries, keys, values and layers act as such'

    Raises:
        InputError: what does not act as it should, and the likely cause.
    """
    one, first = clips[:1], {name: value[:1] for name, value in inputs.items()}
    plain = capture(adapter, one, parts=("outputs",), inputs=first)["outputs"]
    for layer in range(adapter.num_layers):
        probe = _Probe(adapter, one, first, layer)
        probe.check_earlier_layers(plain)
        probe.check_queries()
        probe.check_keys()
        probe.check_values()
    return "attention: heads, queries, keys, values and layers act as such"


class _Probe:
    """One layer that runs on random queries, keys and values."""

    def __init__(
        self, adapter: Adapter, clips: Tensor, inputs: Mapping[str, Tensor], layer: int
    ) -> None:
        self.adapter, self.layer = adapter, layer
        self._clips, self._inputs = clips, inputs
        self._random = torch.Generator().manual_seed(layer)
        self._num_tokens = 0  # with the prefix; of one frame in an image model
        self._plain = self._run({})

    def check_earlier_layers(self, plain: Mapping[int, Tensor]) -> None:
        """A layer cannot change what ran before it."""
        for earlier in range(self.layer):
            if not torch.equal(plain[earlier], self._plain["outputs"][earlier]):
                raise InputError(
                    f"check_adapter: a change in layer {self.layer} of {self.adapter.name} changes "
                    f"layer {earlier}, so it runs before it; layers expected in the order in which "
                    "they run"
                )

    def check_queries(self) -> None:
        """One channel of every head, each head at tokens of its own, in one forward."""
        heads, tokens = self.adapter.num_heads, self._num_tokens
        numbers = torch.arange(max(heads, tokens))
        owned = torch.zeros(heads, tokens, 1, dtype=torch.bool)
        shuffled = torch.randperm(tokens, generator=self._random)
        owned[numbers % heads, shuffled[numbers % tokens]] = True
        moved, size = self._change("queries", owned & self._first_channel())
        owned = moved.any(dim=-1)  # [A, N], without prefix tokens
        changed = _rms(size[owned])
        missing = False
        for head, own in enumerate(owned):
            if bool(own.any()):  # there may be fewer tokens than heads
                missing |= _share(_rms(size[head][own], 0), changed) < _MOST
        leak = _rms(size, -1) > _LEAK * changed
        if changed == 0.0 or missing or bool((leak & ~owned).any()):
            raise InputError(self._what_queries_do())

    def check_keys(self) -> None:
        """One channel of some heads, at half of the tokens."""
        heads = self._some(self.adapter.num_heads).view(-1, 1, 1)
        tokens = self._some(self._num_tokens).view(1, -1, 1)
        moved, size = self._change("keys", heads & tokens & self._first_channel())
        inside = heads.flatten()
        elsewhere = _rms(size[inside][:, ~moved.any(dim=-1).any(dim=0)], 1)  # [heads, C]
        changed = _rms(elsewhere)
        told = f"a change of one channel of the keys of some heads in layer {self.layer}"
        if changed <= _CHANGED * _rms(size[inside]):
            self._refuse(told, "the changed tokens alone", "all tokens of these heads", _ORDER)
        if self.adapter.head_dim > 1 and min(_share(each, changed) for each in elsewhere) < _MOST:
            self._refuse(told, "some channels alone", "all channels of these heads", _ORDER)
        if bool((_rms(size[~inside], (1, 2)) > _LEAK * changed).any()):
            self._refuse(told, "other heads", "these heads alone", f"num_heads, or {_FUSED}")

    def check_values(self) -> None:
        """Half of the channels of every head, others in each, at half of the tokens."""
        heads, channels = self.adapter.num_heads, self.adapter.head_dim
        chosen = torch.stack([self._some(channels) for _ in range(heads)]).view(heads, 1, channels)
        tokens = self._some(self._num_tokens).view(1, -1, 1)
        moved, size = self._change("values", chosen & tokens)
        elsewhere = _rms(size[:, ~moved.any(dim=-1).any(dim=0)], 1)  # [A, C]
        chosen = chosen[:, 0]
        changed = _rms(elsewhere[chosen])
        told = f"a change of some channels of the values in layer {self.layer}"
        if changed == 0.0 or bool((elsewhere[chosen] < _CHANGED * changed).any()):
            self._refuse(told, "not all of them at all tokens", "all of them", _OUTPUTS)
        if bool((elsewhere[~chosen] > _LEAK * changed).any()):
            self._refuse(told, "other channels too", "these alone", f"{_ORDER}; {_OUTPUTS}")

    def _run(self, changes: Mapping[str, Tensor]) -> dict[str, dict[int, Tensor]]:
        """Capture everything up to the layer while its attention gets random numbers."""

        def replace(part: str, layer: int, features: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(_ATTENTION.index(part))
            random = torch.randn(features.shape[1:], generator=generator)
            self._num_tokens = features.shape[2]
            if part in changes:
                random = random + changes[part]
            return random.to(features).expand_as(features).clone()

        layers, parts = range(self.layer + 1), (*_ATTENTION, "outputs")
        with edit(self.adapter, replace, layers=[self.layer], parts=_ATTENTION):
            return capture(self.adapter, self._clips, layers, parts, inputs=self._inputs)

    def _change(self, part: str, where: Tensor) -> tuple[Tensor, Tensor]:
        """Change a part where [A, P+N, C] says.

        Returns:
            Where it was, of the tokens that are captured, bool [A, N, C]; and the root mean square
            change of the outputs over the clips, [A, N, C].
        """
        # A quarter as much as the scores vary, whatever the number of channels.
        after = self._run({part: where * (0.25 * self.adapter.head_dim**0.5)})
        at = self.layer
        moved = (after[part][at] != self._plain[part][at]).any(dim=0)
        return moved, _rms(after["outputs"][at] - self._plain["outputs"][at], 0)

    def _first_channel(self) -> Tensor:
        return torch.arange(self.adapter.head_dim) == 0

    def _some(self, count: int) -> Tensor:
        """Choose about half of some, at least one and, of more than one, not all."""
        order = torch.randperm(count, generator=self._random)
        return order < max(1, count // 2)

    def _what_queries_do(self) -> str:
        """Change one head after the other, and say what is wrong."""
        heads = self.adapter.num_heads
        tokens = (torch.arange(self._num_tokens) % 2 == 0).view(1, -1, 1)
        to_tokens, to_heads, share = [], [], []
        for head in range(heads):
            only = (torch.arange(heads) == head).view(-1, 1, 1)
            moved, size = self._change("queries", only & tokens & self._first_channel())
            here = moved.any(dim=-1).any(dim=0)  # [N]
            changed = float(_rms(size[:, here], (1, 2)).max())
            others = _rms(size[~only.flatten()][:, here], (1, 2))
            to_tokens.append(float(_rms(size[:, ~here])) > _CHANGED * changed)
            to_heads.append(bool((others > _LEAK * changed).any()))
            share.append(_share(_rms(size[head][here], 0), changed))
        told = f"a change of one channel of the queries of a head in layer {self.layer}"
        if any(to_tokens):
            cause = _ORDER if all(to_tokens) and not any(to_heads) else f"{_FUSED} Or: {_ORDER}"
            return self._sentence(told, "other tokens", "the changed tokens alone", cause)
        if any(to_heads):
            cause = f"num_heads ({heads}) may be too large; or {_OUTPUTS}"
            if min(share) == 0.0:  # some head is not changed by what should be its own queries
                cause = _FUSED
            return self._sentence(told, "other heads", "that head alone", cause)
        if 0.0 < min(share) < _MOST:
            cause = f"num_heads ({heads}) may be too small"
            return self._sentence(
                told, f"{min(share):.0%} of its channels", "all channels of that head", cause
            )
        return self._sentence(told, "nothing", "all channels of that head", _OUTPUTS)

    def _sentence(self, told: str, got: str, expected: str, cause: str) -> str:
        return (
            f"check_adapter: {told} of {self.adapter.name} expected to change {expected} in the "
            f"outputs, got {got}: {cause}"
        )

    def _refuse(self, told: str, got: str, expected: str, cause: str) -> None:
        raise InputError(self._sentence(told, got, expected, cause))


def _share(sizes: Tensor, changed: Tensor | float) -> float:
    """Return how many of some channels changed."""
    return float((sizes > _CHANGED * changed).float().mean())


def _rms(values: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Root mean square; 0 of nothing."""
    if values.numel() == 0 and dim is None:
        return values.new_zeros(())
    return values.square().mean(dim=dim).nan_to_num().sqrt()
