"""The test kit refuses every adapter that is wrong, says why, and passes those that are right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vtcd_ops.adapters import (
    FrameTransform,
    ProjectionAdapter,
    Projections,
    TokenLayout,
    check_adapter,
)
from vtcd_ops.adapters.adapter import PARTS
from vtcd_ops.adapters.edit import edit
from vtcd_ops.common.errors import InputError

WIDTH, HEADS = 48, 4


class Block(nn.Module):
    """Attention of four heads whose projection is laid out in one of several ways."""

    def __init__(self, order: str = "qkv", fused: str = "(parts, heads, channels)") -> None:
        super().__init__()
        self.order, self.fused = order, fused
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(x)
        if self.fused == "(parts, heads, channels)":
            split = split.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        elif self.fused == "(heads, parts, channels)":
            split = split.unflatten(-1, (HEADS, 3, -1)).permute(3, 0, 2, 1, 4)
        else:  # (heads, channels, parts)
            split = split.unflatten(-1, (HEADS, -1, 3)).permute(4, 0, 2, 1, 3)
        q, k, v = (split[self.order.index(part)] for part in "qkv")
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(out.transpose(1, 2).flatten(2))


class Model(nn.Module):
    def __init__(self, make: Callable[[], nn.Module] = Block) -> None:
        super().__init__()
        self.patch = nn.Conv3d(3, WIDTH, (2, 8, 8), (2, 8, 8))
        self.position = nn.Parameter(torch.randn(1, 32, WIDTH))
        self.blocks = nn.ModuleList(make() for _ in range(3))

    def forward(self, clips: Tensor) -> Tensor:
        x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return x


def wrap(
    model: nn.Module, projections: Sequence[Projections] | None = None, **changes: Any
) -> ProjectionAdapter:
    projections = projections or [Projections(qkv=b.qkv, outputs=b.proj) for b in model.blocks]
    attributes: dict[str, Any] = {
        "name": "mine",
        "num_heads": HEADS,
        "num_frames": 4,
        "tubelet_size": 2,
        "token_grid": (2, 4, 4),
        "frames": FrameTransform(size=(32, 32)),
    }
    return ProjectionAdapter(model.eval(), projections=projections, **attributes | changes)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_right_adapter() -> None:
    lines = check_adapter(wrap(Model()))
    assert "attention: heads, queries, keys, values and layers act as such" in lines


@pytest.mark.parametrize("num_heads", [1, 2, 3, 6, 8, 12, 16, 24, 48])
def test_another_number_of_heads(num_heads: int) -> None:
    """Channels of a head that stay as they are, or heads that were not meant to change."""
    size = "small" if num_heads < HEADS else "large"
    cause = rf"check_adapter: .* num_heads \({num_heads}\) may be too {size}"
    if num_heads % HEADS and HEADS % num_heads:  # heads that cut across the model's
        cause = "check_adapter: .* num_heads"
    with pytest.raises(InputError, match=cause):
        check_adapter(wrap(Model(), num_heads=num_heads))


@pytest.mark.parametrize("fused", ["(heads, parts, channels)", "(heads, channels, parts)"])
def test_another_layout_of_a_fused_projection(fused: str) -> None:
    with pytest.raises(InputError, match=r"check_adapter: .* queries .*\(heads, 3, channels\)"):
        check_adapter(wrap(Model(lambda: Block(fused=fused))))


@pytest.mark.parametrize(
    "order", sorted(set(map("".join, itertools.permutations("qkv"))) - {"qkv"})
)
def test_another_order_of_queries_keys_and_values(order: str) -> None:
    with pytest.raises(InputError, match="the order expected is queries, keys, values"):
        check_adapter(wrap(Model(lambda: Block(order=order))))


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(range(3))) - {(0, 1, 2)}))
def test_layers_in_another_order(order: tuple[int, ...]) -> None:
    model = Model()
    entries = [Projections(qkv=model.blocks[i].qkv, outputs=model.blocks[i].proj) for i in order]
    with pytest.raises(InputError, match="layers expected in the order in which they run"):
        check_adapter(wrap(model, entries))


class Separate(nn.Module):
    """Attention with a projection for each part, and a norm in front of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (self.q, self.k, self.v)
        )
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(self.norm(out.transpose(1, 2).flatten(2)))


ROLES = {"queries": "q", "keys": "k", "values": "v", "outputs": "norm"}


def separate(**changes: str) -> ProjectionAdapter:
    model = Model(Separate)
    names = ROLES | changes
    entries = [
        Projections(**{role: getattr(block, name) for role, name in names.items()})
        for block in model.blocks
    ]
    return wrap(model, entries)


def test_separate_projections() -> None:
    assert "traces: none" in check_adapter(separate())


@pytest.mark.parametrize(
    "changes",
    [
        {"queries": "k", "keys": "q"},
        {"keys": "v", "values": "k"},
        {"queries": "v", "values": "q"},
        {"outputs": "out"},
    ],
)
def test_modules_that_play_another_part(changes: dict[str, str]) -> None:
    """Two exchanged, or a norm over all heads before what is taken as outputs."""
    cause = "outputs" if "outputs" in changes else "the order expected is queries, keys, values"
    with pytest.raises(InputError, match=f"check_adapter: a change of .*{cause}"):
        check_adapter(separate(**changes))


def test_a_module_that_is_named_twice() -> None:
    with pytest.raises(InputError, match="expected different modules, got one of them twice"):
        separate(keys="q")


def test_outputs_of_another_layer() -> None:
    model = Model()
    entries = [
        Projections(qkv=model.blocks[i].qkv, outputs=model.blocks[(i + 1) % 3].proj)
        for i in range(3)
    ]
    with pytest.raises(InputError, match="check_adapter: "):
        check_adapter(wrap(model, entries))


class WholeNorm(Separate):
    """Queries and keys normalised over all heads together, as in InternVideo2 and InternViT."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_q, self.norm_k = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.norm_q(self.q(x)), self.norm_k(self.k(x))
        q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in (q, k, self.v(x)))
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(self.norm(out.transpose(1, 2).flatten(2)))


def test_a_norm_over_all_heads_is_no_mistake() -> None:
    model = Model(WholeNorm)
    entries = [Projections(queries=b.q, keys=b.k, values=b.v, outputs=b.norm) for b in model.blocks]
    assert "traces: none" in check_adapter(wrap(model, entries))


class Linear(Separate):
    """Attention without a softmax, whose parts play the same roles."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (self.q, self.k, self.v)
        )
        out = q.softmax(-1) @ (k.softmax(-2).transpose(-2, -1) @ v)
        return x + self.out(self.norm(out.transpose(1, 2).flatten(2)))


def test_attention_without_a_softmax_is_no_mistake() -> None:
    model = Model(Linear)
    entries = [Projections(queries=b.q, keys=b.k, values=b.v, outputs=b.norm) for b in model.blocks]
    assert "traces: none" in check_adapter(wrap(model, entries))


def test_a_channel_without_a_use_is_no_mistake() -> None:
    """What the model has learnt plays no part: here head 1 has no queries and head 2 no values."""
    model = Model()
    with torch.no_grad():
        for block in model.blocks:
            block.qkv.weight[12:24] = 0
            block.qkv.bias[12:24] = 0
            block.qkv.weight[2 * WIDTH + 24 : 2 * WIDTH + 36] = 0
    assert "traces: none" in check_adapter(wrap(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types(dtype: torch.dtype) -> None:
    assert "traces: none" in check_adapter(wrap(Model().to(dtype)))
    with pytest.raises(InputError, match="num_heads"):
        check_adapter(wrap(Model().to(dtype), num_heads=8))


def test_the_check_runs_few_forwards() -> None:
    """Every layer costs a few forwards up to it, not one for every head."""
    adapter = wrap(Model())
    calls = []

    def count(part: str, layer: int, features: Tensor) -> Tensor:
        calls.append((part, layer))
        return features

    with edit(adapter, count, parts=PARTS):
        check_adapter(adapter)
    assert calls.count(("queries", 0)) <= 3 * (4 + 4) + 15


class Remembers(Block):
    """A block that keeps a map of its attention, as many do for plots."""

    def forward(self, x: Tensor) -> Tensor:
        self.attn_map = self.qkv(x)[..., :WIDTH] @ self.qkv(x)[..., WIDTH : 2 * WIDTH].mT
        return super().forward(x)


def test_a_model_that_remembers_its_attention() -> None:
    assert "traces: none" in check_adapter(wrap(Model(Remembers)))


@pytest.mark.parametrize("appended", [False, True])
def test_a_few_tokens_more_than_the_grid(appended: bool) -> None:
    """In front they are prefix tokens; behind, the kit finds that they are not."""

    class More(Model):
        def forward(self, clips: Tensor) -> Tensor:
            x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
            extra = x.new_ones(len(x), 5, WIDTH)
            x = torch.cat([x, extra] if appended else [extra, x], dim=1)
            for block in self.blocks:
                x = block(x)
            return x

    model = More()
    message = r"\[2, 4, 32, 12\], got \[2, 4, 37, 12\]: 5 tokens more; num_prefix_tokens=5\?"
    with pytest.raises(InputError, match=message):
        check_adapter(wrap(model))
    adapter = wrap(model, layout=TokenLayout(num_prefix_tokens=5))
    if appended:
        with pytest.raises(InputError, match="tokens expected in"):
            check_adapter(adapter)
    else:
        assert "traces: none" in check_adapter(adapter)


@pytest.mark.parametrize("layout", [TokenLayout("hw", "t"), TokenLayout("t", "hw"), TokenLayout()])
def test_layers_that_are_arranged_in_another_way(layout: TokenLayout) -> None:
    """Layers of two kinds, and windows: a sentence, not an error of `unflatten`."""

    class Windows(Model):
        def forward(self, clips: Tensor) -> Tensor:
            x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
            for block in self.blocks:
                x = block(x.unflatten(1, (8, 4)).flatten(0, 1)).unflatten(0, (-1, 8)).flatten(1, 2)
            return x

    with pytest.raises(InputError, match=r"need an adapter each|all its layers of one kind|got \["):
        check_adapter(wrap(Windows(), layout=layout))


def test_a_module_that_returns_something_else() -> None:
    model = Model()
    model.blocks[1].qkv = nn.Linear(WIDTH, 2 * WIDTH)
    model.blocks[1].forward = lambda x: x + model.blocks[1].qkv(x)[..., :WIDTH]
    message = r"queries, keys and values of layer 1 expected to hand on \[B, N, 144\], .* got \["
    with pytest.raises(InputError, match=message):
        check_adapter(wrap(model))
