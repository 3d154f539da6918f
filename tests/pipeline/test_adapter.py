"""Adapters: what is not covered by the tests every family passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import vtcd_ops
from vtcd_ops.adapters import (
    FrameTransform,
    ProjectionAdapter,
    Projections,
    TokenLayout,
    check_adapter,
    example_adapter,
    weights_sha256,
)
from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests
from vtcd_ops.common.errors import InputError


class TestFusedProjections(AdapterTests):
    """The tiny model of the documentation has one projection for queries, keys and values."""

    def make_adapter(self) -> Adapter:
        return example_adapter()

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        if part == "outputs":
            flat = linears[f"proj.{layer}"][0]
        else:
            index = ("queries", "keys", "values").index(part)
            flat = linears[f"qkv.{layer}"][1][..., 16 * index : 16 * index + 16]
        return flat.reshape(len(flat), 32, 2, 8).permute(0, 2, 1, 3)


def test_an_adapter_needs_no_base_class() -> None:
    assert isinstance(example_adapter(), vtcd_ops.Adapter)
    assert not isinstance(nn.Linear(2, 2), vtcd_ops.Adapter)


def test_something_that_is_no_adapter() -> None:
    model: Any = nn.Conv3d(3, 4, 1)
    with pytest.raises(InputError, match=r"capture: adapter expected an Adapter .*, got Conv3d"):
        vtcd_ops.capture(model, torch.rand(1, 4, 3, 32, 32))
    edited = vtcd_ops.edit(model, lambda part, layer, x: x)
    with (
        pytest.raises(InputError, match=r"edit: adapter expected an Adapter .*, got Conv3d"),
        edited,
    ):
        pass


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: None, "expected to return a tensor for the keys of layer 1, got NoneType"),
        (lambda x: x[:, :1], r"return float32 \[1, 2, 32, 8\] .*, got float32 \[1, 1, 32, 8\]"),
        (lambda x: x.double(), r"return float32 .*, got float64 \[1, 2, 32, 8\]"),
    ],
    ids=["nothing", "shape", "dtype"],
)
def test_a_function_that_returns_something_else(result: Any, message: str) -> None:
    adapter = example_adapter()
    edited = vtcd_ops.edit(adapter, lambda part, layer, x: result(x), layers=[1])
    with pytest.raises(InputError, match=message), edited:
        adapter.forward(torch.rand(1, 4, 3, 32, 32))


@pytest.mark.parametrize(
    "clips", [[1, 2], np.zeros((1, 4, 3, 32, 32)), torch.zeros(1, 4, 3, 32, 32).int()]
)
def test_clips_that_are_none(clips: Any) -> None:
    with pytest.raises(InputError, match="clips expected"):
        vtcd_ops.capture(example_adapter(), clips)


def test_parts_as_one_word() -> None:
    adapter = example_adapter()
    assert list(vtcd_ops.capture(adapter, torch.rand(1, 4, 3, 32, 32), parts="values")) == [
        "values"
    ]


def test_a_model_whose_forward_skips_a_layer() -> None:
    adapter = example_adapter()
    adapter.forward = lambda clips: adapter.model.qkv[0](torch.rand(len(clips), 32, 16))  # type: ignore[method-assign]
    with pytest.raises(InputError, match="example never computed the keys of layer 1"):
        vtcd_ops.capture(adapter, torch.rand(1, 4, 3, 32, 32), layers=[0, 1])


def test_an_adapter_that_names_the_wrong_sizes() -> None:
    adapter = example_adapter()
    adapter.token_grid = (4, 4, 4)
    with pytest.raises(InputError, match=r"\[1, 2, 64, 8\], got \[1, 2, 32, 8\]"):
        vtcd_ops.capture(adapter, torch.rand(1, 4, 3, 32, 32))


def test_a_model_that_swallows_exceptions_is_stopped_all_the_same() -> None:
    adapter = example_adapter()
    forward, calls = adapter.model.forward, []

    def careful(clips: Tensor) -> Any:
        try:
            return forward(clips)
        except Exception:
            calls.append("swallowed")
            return None

    adapter.model.forward = careful
    keys = vtcd_ops.capture(adapter, torch.rand(1, 4, 3, 32, 32), layers=[0])["keys"][0]
    assert keys.shape == (1, 2, 32, 8)
    assert calls == []


class Swapped(ProjectionAdapter):
    """An adapter with a mistake: it says (t, h, w), the model has (h, w, t)."""

    def forward(self, clips: Tensor) -> Any:
        return self.model(clips.permute(0, 3, 2, 4, 1))


def swapped_adapter() -> ProjectionAdapter:
    """A model whose conv sees time last, wrapped as if it were first."""
    model = example_adapter().model
    model.patch = nn.Conv3d(3, 16, kernel_size=(8, 8, 2), stride=(8, 8, 2))
    projections = zip(model.qkv, model.proj, strict=True)
    return Swapped(
        model,
        name="swapped",
        projections=[Projections(qkv=qkv, outputs=proj) for qkv, proj in projections],
        num_heads=2,
        num_frames=4,
        tubelet_size=2,
        token_grid=(2, 4, 4),
        frames=FrameTransform(size=(32, 32)),
    )


def test_the_kit_finds_swapped_axes() -> None:
    with pytest.raises(InputError, match="tokens expected in \\(t, h, w\\) order"):
        check_adapter(swapped_adapter())
    adapter = swapped_adapter()
    adapter.layout = TokenLayout("hwt")
    assert "token order: (t, h, w)" in check_adapter(adapter)


def test_the_kit_finds_what_stays_behind() -> None:
    adapter = example_adapter()
    forward = adapter.forward

    def leave_a_hook(clips: Tensor) -> Any:
        adapter.model.register_forward_hook(lambda *_: None)
        return forward(clips)

    adapter.forward = leave_a_hook  # type: ignore[method-assign]
    with pytest.raises(InputError, match="leaves hooks or settings"):
        check_adapter(adapter)


def test_the_kit_finds_an_edit_without_effect() -> None:
    adapter = example_adapter()
    nn.init.zeros_(adapter.model.proj[1].weight)
    with pytest.raises(InputError, match="edit of the queries of layer 1 has no effect"):
        check_adapter(adapter)


def test_the_kit_finds_a_model_that_is_not_repeatable() -> None:
    adapter = example_adapter()
    adapter.model.patch.register_forward_hook(lambda *args: args[2] + torch.rand_like(args[2]))
    with pytest.raises(InputError, match="differ when captured alone"):
        check_adapter(adapter)


def test_projections_that_do_not_belong_together() -> None:
    linear, model = nn.Linear(16, 16), example_adapter().model
    with pytest.raises(InputError, match="either qkv or all of queries, keys and values"):
        Projections(outputs=linear, queries=linear)
    with pytest.raises(InputError, match="either qkv or all of queries, keys and values"):
        Projections(outputs=linear, qkv=linear, keys=linear)
    sizes = {"num_heads": 2, "num_frames": 4, "tubelet_size": 2, "token_grid": (2, 4, 4)}
    wrap = {"name": "x", "frames": FrameTransform(size=(32, 32)), **sizes}
    with pytest.raises(InputError, match="found none in _ExampleModel; is it a transformer"):
        ProjectionAdapter(model, projections=[], **wrap)
    with pytest.raises(InputError, match="qkv projection of layer 0 is no part of the model"):
        ProjectionAdapter(model, projections=[Projections(qkv=linear, outputs=model.head)], **wrap)
    wrap["num_heads"] = 3
    entry = Projections(qkv=model.qkv[0], outputs=model.proj[0])
    with pytest.raises(InputError, match=r"width \(16\) is no multiple of 3 heads"):
        ProjectionAdapter(model, projections=[entry], **wrap)


GRIDS = st.tuples(*[st.integers(1, 4)] * 3)
LAYOUTS = st.permutations("thw").flatmap(
    lambda order: st.integers(0, 2).map(lambda cut: ("".join(order[cut:]), "".join(order[:cut])))
)


@given(grid=GRIDS, axes=LAYOUTS, num_prefix=st.integers(0, 2), batch=st.integers(1, 3))
def test_layout_puts_every_token_at_its_place(
    grid: tuple[int, int, int], axes: tuple[str, str], num_prefix: int, batch: int
) -> None:
    """Against one token at a time, and back without loss."""
    token_axes, batch_axes = axes
    layout = TokenLayout(token_axes, batch_axes, num_prefix)
    size = dict(zip("thw", grid, strict=True))
    rows = batch * int(np.prod([size[axis] for axis in batch_axes]))
    length = num_prefix + int(np.prod([size[axis] for axis in token_axes]))
    raw = torch.arange(rows * 2 * length * 3.0).reshape(rows, 2, length, 3)
    tokens = layout.to_tokens(raw, grid)
    total_prefix = layout.total_prefix_tokens(grid)
    assert tokens.shape == (batch, 2, total_prefix + int(np.prod(grid)), 3)
    for b in range(batch):
        for index, place in enumerate(np.ndindex(*grid)):
            at = dict(zip("thw", place, strict=True))
            row, column = b, 0
            for axis in batch_axes:
                row = row * size[axis] + at[axis]
            for axis in token_axes:
                column = column * size[axis] + at[axis]
            expected = raw[row, :, num_prefix + column]
            assert torch.equal(tokens[b, :, total_prefix + index], expected)
    assert torch.equal(layout.from_tokens(tokens, grid), raw)


@pytest.mark.parametrize("axes", [("th", ""), ("thw", "t"), ("thx", ""), ("", "")])
def test_layouts_that_are_none(axes: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="name t, h and w once each"):
        TokenLayout(*axes)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 32, 32, 3), dtype=np.float32),
        np.zeros((32, 32, 3), dtype=np.uint8),
        np.zeros((4, 3, 32, 32), dtype=np.uint8),
        np.zeros((0, 32, 32, 3), dtype=np.uint8),
    ],
)
def test_frames_that_are_none(frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="preprocess: frames expected"):
        FrameTransform(size=(32, 32))(frames)


def test_frame_transform_reads_what_a_checkpoint_says() -> None:
    config = {
        "do_resize": True,
        "size": {"shortest_edge": 50},
        "do_center_crop": True,
        "crop_size": {"height": 40, "width": 44},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
        "rescale_factor": 0.01,
        "resample": 3,
    }
    read = FrameTransform.from_config(config, size=(1, 1))
    expected = FrameTransform(
        (40, 44), 50, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), scale=0.01, resample="bicubic"
    )
    assert read == expected
    bare = FrameTransform.from_config({"do_normalize": False}, size=(8, 8), shortest_edge=9)
    assert bare == FrameTransform((8, 8), 9, mean=(0, 0, 0), std=(1, 1, 1))
    stretched = FrameTransform.from_config({"size": {"height": 8, "width": 6}}, size=(1, 1))
    assert stretched.size == (8, 6)
    assert stretched.shortest_edge is None


def test_resampling_filters() -> None:
    """Nearest keeps the two colours of a checkerboard; what torch lacks is refused."""
    board = np.indices((24, 24)).sum(0) // 3 % 2 * 255
    frames = np.repeat(board[None, ..., None], 3, axis=-1).astype(np.uint8)
    colours = {}
    for number in (0, 2, 3):
        transform = FrameTransform.from_config({"resample": number}, size=(16, 16))
        colours[number] = len(transform(frames)[:, 0].unique())
    assert colours[0] == 2
    assert colours[2] > 2
    assert colours[3] > 2
    with pytest.raises(InputError, match=r"resample expected 0 \(nearest-exact\), .*, got 1"):
        FrameTransform.from_config({"resample": 1}, size=(16, 16))


def test_frames_need_not_be_contiguous() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)
    transform = FrameTransform(size=(32, 32), shortest_edge=32)
    flipped = frames[:, ::-1, ::-1]
    assert torch.equal(transform(flipped), transform(flipped.copy()))
    assert torch.equal(transform(frames), transform(torch.from_numpy(frames)))


def test_fingerprint_sees_every_kind_of_change() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = weights_sha256(model)
    assert weights_sha256(model) == before
    model.bfloat16()
    half = weights_sha256(model)
    assert half != before
    model[1].num_batches_tracked += 1
    assert weights_sha256(model) != half


def test_randomising_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    vtcd_ops.randomize_weights(example_adapter(), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_masks_go_where_the_frames_go() -> None:
    """A square painted white into black frames is where its mask says, after any resizing."""
    frames = np.zeros((2, 60, 96, 3), dtype=np.uint8)
    frames[:, 20:40, 40:70] = 255
    mask = torch.from_numpy(frames[..., 0] > 0)
    for transform in (
        FrameTransform(size=(32, 32), shortest_edge=36),
        FrameTransform(size=(32, 48)),
        FrameTransform(size=(24, 48), fit="cover"),
        FrameTransform(size=(80, 80), shortest_edge=64),  # black around it
    ):
        seen = transform.display(transform(frames))[..., 0] > 127
        moved = transform.mask_to_model(mask)
        assert moved.shape == seen.shape
        differing = (moved.numpy() != seen).mean()  # along the edges of the square
        assert differing < 0.02
        assert moved.any()
    with pytest.raises(InputError, match=r"mask expected bool .*, got uint8 \[2, 60, 96\]"):
        FrameTransform(size=(32, 32)).mask_to_model(mask.to(torch.uint8))


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (FrameTransform(size=(32, 48)), (0, 0, 60, 96)),
        (FrameTransform(size=(24, 48), fit="cover"), (6, 0, 48, 96)),
        (FrameTransform(size=(30, 30), shortest_edge=30), (0, 18, 60, 60)),
        (FrameTransform(size=(24, 24), shortest_edge=30), (6, 24, 48, 48)),
        (FrameTransform(size=(80, 80), shortest_edge=40), (-30, -12, 120, 120)),  # in black
    ],
)
def test_the_crop_says_where_in_the_frame_the_model_looks(
    transform: FrameTransform, expected: tuple[int, ...]
) -> None:
    """A white square lies in what the model sees where the crop, stretched over it, has it."""
    crop = transform.crop_of(60, 96)
    assert crop == pytest.approx(expected)
    square = (20, 44, 40, 64)  # top, left, bottom, right
    frames = np.zeros((1, 60, 96, 3), dtype=np.uint8)
    frames[:, square[0] : square[2], square[1] : square[3]] = 255
    rows, columns = np.nonzero(transform.display(transform(frames))[0, ..., 0] > 127)
    edges = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    for axis in (0, 1):
        pixel = crop[2 + axis] / transform.size[axis]
        for edge in (axis, axis + 2):
            assert crop[axis] + edges[edge] * pixel == pytest.approx(square[edge], abs=pixel)


def test_more_inputs_reach_the_forward() -> None:
    """What `capture` is given is passed on; what `predict` is given too."""
    adapter = example_adapter()
    plain, clips = adapter.model.forward, torch.rand(2, 4, 3, 32, 32)
    seen = []

    def forward(clips: Tensor, *, query: Tensor) -> Tensor:
        seen.append(query)
        return plain(clips + query)

    adapter.model.forward = forward  # type: ignore[method-assign]
    query = torch.rand(2, 4, 1, 32, 32)
    keys = vtcd_ops.capture(adapter, clips, layers=[2], inputs={"query": query})["keys"][2]
    assert seen == [query]
    logits = adapter.predict(clips, query=query)["logits"]
    adapter.model.forward = plain  # type: ignore[method-assign]
    assert torch.equal(keys, vtcd_ops.capture(adapter, clips + query, layers=[2])["keys"][2])
    assert torch.equal(logits, adapter.forward(clips + query))


def test_a_model_without_an_answer_predicts_nothing() -> None:
    adapter = example_adapter()
    adapter.model.forward = lambda clips: {"tokens": clips}  # type: ignore[method-assign]
    with pytest.raises(
        InputError, match=r"example: its output, a dict, holds no logits and no features"
    ):
        adapter.predict(torch.rand(1, 4, 3, 32, 32))
