"""`nn.MultiheadAttention` and `nn.TransformerEncoder`, opened: the same numbers, and an adapter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vtcd_ops
from vtcd_ops.adapters import (
    FrameTransform,
    ProjectionAdapter,
    Projections,
    check_adapter,
    open_attention,
)
from vtcd_ops.common.errors import InputError


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [{}, {"kdim": 10, "vdim": 12}])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("masks", ["none", "causal", "additive", "of heads", "padding", "both"])
def test_attention_is_the_same(
    bias: bool, widths: dict[str, int], need_weights: bool, average: bool, masks: str
) -> None:
    """Against torch's own, in float64."""
    attention = nn.MultiheadAttention(16, 4, bias=bias, batch_first=True, **widths).double().eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    query, key = torch.randn(3, 5, 16).double(), torch.randn(3, 7, widths.get("kdim", 16)).double()
    value = torch.randn(3, 7, widths.get("vdim", 16)).double()
    given: dict[str, Any] = {"need_weights": need_weights, "average_attn_weights": average}
    if masks == "causal":
        given["attn_mask"] = torch.ones(5, 7, dtype=torch.bool).triu(1)
    elif masks in ("additive", "both"):
        given["attn_mask"] = torch.randn(5, 7).double()
    elif masks == "of heads":
        given["attn_mask"] = torch.randn(12, 5, 7).double()
    if masks == "padding":
        given["key_padding_mask"] = torch.arange(7) > torch.tensor([[3], [6], [0]])
    elif masks == "both":
        given["key_padding_mask"] = torch.randn(3, 7).double()
    opened = open_attention(nn.ModuleList([attention]))[0]
    for found, expected in zip(
        opened(query, key, value, **given), attention(query, key, value, **given), strict=True
    ):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


class Model(nn.Module):
    """A video transformer on torch's own encoder."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.patch = nn.Conv3d(3, 48, (2, 8, 8), (2, 8, 8))
        self.position = nn.Parameter(torch.randn(1, 32, 48))
        layer = nn.TransformerEncoderLayer(48, 4, 64, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(48, 5)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
        return self.head(self.encoder(x).mean(1))


def wrap(model: Model) -> ProjectionAdapter:
    return ProjectionAdapter(
        model,
        name="encoder",
        projections=[
            Projections(
                queries=block.self_attn.queries,
                keys=block.self_attn.keys,
                values=block.self_attn.values,
                outputs=block.self_attn.out_proj,
            )
            for block in model.encoder.layers
        ],
        num_heads=4,
        num_frames=4,
        tubelet_size=2,
        token_grid=(2, 4, 4),
        frames=FrameTransform(size=(32, 32)),
    )


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_an_encoder_is_wrapped(norm_first: bool, grad: bool) -> None:
    """The same logits as torch's own, whose fused kernel runs without gradients; and the kit."""
    model = Model(norm_first=norm_first).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = wrap(open_attention(model))
    clips = torch.randn(2, 4, 3, 32, 32)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(adapter.forward(clips), model(clips), rtol=1e-5, atol=1e-5)
    assert check_adapter(adapter)[-1] == "traces: none"
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_keys_are_those_of_the_hidden_projection() -> None:
    model = Model().eval()
    clips = torch.randn(1, 4, 3, 32, 32)
    keys = vtcd_ops.capture(wrap(open_attention(model)), clips, layers=[0])["keys"][0]
    x = model.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2) + model.position
    attention = model.encoder.layers[0].self_attn
    expected = x @ attention.in_proj_weight[48:96].T + attention.in_proj_bias[48:96]
    expected = expected.unflatten(-1, (4, 12)).transpose(1, 2)
    torch.testing.assert_close(keys, expected, rtol=1e-5, atol=1e-5)


def test_training_draws_from_dropout() -> None:
    opened = open_attention(nn.ModuleList([nn.MultiheadAttention(16, 4, 0.5, batch_first=True)]))[0]
    x = torch.randn(2, 5, 16)
    assert opened.training
    for need_weights in (True, False):
        first, second = (opened(x, x, x, need_weights=need_weights)[0] for _ in range(2))
        assert not torch.equal(first, second)


def test_what_cannot_be_opened() -> None:
    with pytest.raises(InputError, match="Linear expected to hold a MultiheadAttention, got none"):
        open_attention(nn.Linear(2, 2))
    for options in ({"batch_first": False}, {"add_bias_kv": True}, {"add_zero_attn": True}):
        attention = nn.MultiheadAttention(16, 4, **{"batch_first": True, **options})
        with pytest.raises(InputError, match="expected with batch_first=True, without add_bias_kv"):
            open_attention(nn.ModuleList([attention]))


@pytest.mark.parametrize("name", ["MultiheadAttention", "TransformerEncoderLayer"])
def test_hidden_projections_are_refused_by_name(name: str) -> None:
    module = getattr(nn, name)(16, 2)
    with pytest.raises(InputError, match=f"{name} hides its projections: .*open_attention"):
        Projections(qkv=module, outputs=nn.Linear(16, 16))
