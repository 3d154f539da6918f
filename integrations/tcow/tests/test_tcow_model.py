"""The model: its numbers are upstream's, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tcow_models import CASES, SMALL, clips, fill, summary
from vtcd_tcow import TCOW

import vtcd_ops

UPSTREAM = json.loads((Path(__file__).parent / "golden" / "upstream.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_upstream_s(case: str) -> None:
    """Masks and flags of the released code, every parameter random."""
    config = {**SMALL, **CASES[case]}
    model = fill(TCOW.from_config(config))
    with torch.no_grad():
        found = summary(*model(*clips(config)))
    for name, expected in UPSTREAM[case].items():
        torch.testing.assert_close(
            torch.tensor(found[name]), torch.tensor(expected), rtol=1e-5, atol=1e-5
        )


def test_attention_inputs_are_upstream_s() -> None:
    """Queries, keys and values of the spatial and the temporal attention of every block."""
    model = fill(TCOW.from_config(SMALL))
    seen: dict[str, torch.Tensor] = {}
    for index, block in enumerate(model.transformer.blocks):
        for name in ("attn", "temporal_attn"):

            def keep(module: Any, args: Any, output: Any, key: str = f"{name}.{index}") -> None:
                seen[key] = output

            getattr(block, name).qkv.register_forward_hook(keep)
    with torch.no_grad():
        model(*clips(SMALL))
    assert sorted(seen) == sorted(UPSTREAM["qkv"])
    for name, expected in UPSTREAM["qkv"].items():
        found = seen[name][::3, ::4, ::9]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_the_cases_differ() -> None:
    """A golden case that another one would pass as well tests nothing."""
    sizes = {}
    for name, change in CASES.items():
        if not {"num_total_frames", "track_map_stride"} & change.keys():
            sizes[name] = torch.tensor(UPSTREAM[name]["masks"])
    names = sorted(sizes)
    for one in names:
        for other in names:
            if one < other:
                assert (sizes[one] - sizes[other]).abs().max() > 1e-4, (one, other)


@pytest.mark.parametrize("causal", [1, 2, 4])
def test_no_frame_knows_what_comes_later(causal: int) -> None:
    """Whatever a later frame shows, masks and flags up to it stay bit for bit."""
    config = {**SMALL, "num_total_frames": 6, "depth": 2, "causal_attention": causal}
    model = fill(TCOW.from_config(config))
    rgb, query = clips(config)
    changed = rgb.clone()
    changed[:, :, 5] = 1 - changed[:, :, 5]
    # With c frames ahead, each of two blocks looks c frames further.
    known = 5 - 2 * max(causal - 2, 0)
    with torch.no_grad():
        for one, other in zip(model(rgb, query), model(changed, query), strict=True):
            time = 2 if one.dim() == 5 else 1
            assert torch.equal(one.narrow(time, 0, known), other.narrow(time, 0, known))
            assert not torch.equal(one.select(time, 5), other.select(time, 5))


def test_colours_are_normalised_inside() -> None:
    normalising = fill(TCOW.from_config({**SMALL, "tracker_pretrained": True}))
    plain = fill(TCOW.from_config(SMALL))
    rgb, query = clips(SMALL)
    with torch.no_grad():
        inside, _ = normalising(rgb, query)
        outside, _ = plain((rgb - 0.45) / 0.225, query)
    assert torch.equal(inside, outside)


@pytest.mark.parametrize(
    ("value", "normalises"),
    [("1", True), ("Yes", True), ("0", False), ("no", False), ("weights.pyth", True), (1, True)],
)
def test_words_for_normalising(value: Any, normalises: bool) -> None:
    """The published arguments hold a word or the path of weights."""
    config = {**SMALL, "tracker_pretrained": value}
    assert TCOW.from_config(config).config.normalises is normalises


def test_inputs_stay_as_they_are() -> None:
    model = fill(TCOW.from_config({**SMALL, "tracker_pretrained": True}))
    rgb, query = clips(SMALL)
    before = rgb.clone(), query.clone()
    model(rgb, query)
    assert torch.equal(rgb, before[0])
    assert torch.equal(query, before[1])


def test_some_frames_at_their_positions() -> None:
    """All positions in order are the same as none; a frame's time travels with it."""
    model = fill(TCOW.from_config({**SMALL, "causal_attention": 0}))
    rgb, query = clips(SMALL)
    with torch.no_grad():
        whole, _ = model(rgb, query)
        named, _ = model(rgb, query, torch.arange(4))
        some, some_flags = model(rgb[:, :, [0, 2]], query[:, :, [0, 2]], torch.tensor([0, 2]))
        first, _ = model(rgb[:, :, [0, 2]], query[:, :, [0, 2]], torch.tensor([0, 1]))
    assert torch.equal(whole, named)
    assert some.shape == (2, 3, 2, 32, 48)
    assert some_flags.shape == (2, 2, 3)
    assert not torch.allclose(some, first)


def test_published_sizes() -> None:
    with torch.device("meta"):
        sizes = {
            depth: sum(p.numel() for p in TCOW.from_config({"network_depth": depth}).parameters())
            for depth in (12, 18, 24)
        }
    # 17 width^2 and 20 width a block, embeddings of 252 places and 24 times, the two heads.
    for depth, width in ((12, 768), (18, 896), (24, 1024)):
        blocks = depth * (17 * width**2 + 20 * width)
        embeddings = (4 * 256 + 1) * width + (1 + 253 + 24) * width + 2 * width
        heads = (width + 1) * (3 * 256 + 3)
        assert sizes[depth] == blocks + embeddings + heads


def test_number_of_blocks() -> None:
    width = {"embed_dim": 48, "num_heads": 4}
    for sizes, blocks in (({}, 12), ({"network_depth": 5}, 5), ({"depth": 3}, 3)):
        assert TCOW.from_config({**width, **sizes}).config.num_blocks == blocks


def test_training_drops_paths_and_evaluation_does_not() -> None:
    model = fill(TCOW.from_config({**SMALL, "drop_path_rate": 0.5}))
    rgb, query = clips(SMALL)
    with torch.no_grad():
        expected, _ = model(rgb, query)
        model.train()
        dropped, _ = model(rgb, query)
        model.eval()
        again, _ = model(rgb, query)
    assert torch.equal(expected, again)
    assert not torch.allclose(expected, dropped)


def test_model_without_flags() -> None:
    model = TCOW.from_config({**SMALL, "flag_channels": 0})
    masks, flags = model(*clips(SMALL))
    assert masks.shape == (2, 3, 4, 32, 48)
    assert flags is None


def test_untrained_blocks_leave_time_to_the_first() -> None:
    """As when training starts: the change that later blocks make over time is zero."""
    blocks = TCOW.from_config(SMALL).transformer.blocks
    assert bool(blocks[0].temporal_fc.weight.any())
    assert not any(bool(block.temporal_fc.weight.any()) for block in blocks[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 4}, "config expected names among .*, got num_frames"),
        ({"num_total_frames": 0}, "num_total_frames expected a whole number of at least 1, got 0"),
        ({"patch_size": 8.0}, r"patch_size expected a whole number of at least 1, got 8\.0"),
        ({"frame_height": 36}, "frame_height expected a multiple of 8, got 36"),
        ({"track_map_stride": 3}, "frame_height expected a multiple of 3, got 32"),
        ({"num_heads": 5}, "embed_dim expected a multiple of 5, got 48"),
        ({"num_heads": None, "network_depth": 10}, "network_depth expected one of 12, 18, 24"),
        ({"network_depth": "12"}, "network_depth expected a whole number of at least 1, got '12'"),
        (
            {"attention_type": "space_only"},
            "attention_type expected 'divided_space_time' or 'joint_space_time', got 'space_only'",
        ),
        ({"track_map_resize": "cubic"}, "track_map_resize expected 'nearest' or 'bilinear'"),
        ({"query_channels": 2}, "query_channels expected 1, got 2"),
        ({"causal_attention": -2}, "causal_attention expected a whole number of at least -1"),
        (
            {"attention_type": "joint_space_time"},
            "causal_attention expected 0 where attention is joint, got 1",
        ),
    ],
)
def test_configurations_that_are_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(vtcd_ops.InputError, match=message):
        TCOW.from_config({**SMALL, **change})


def test_config_is_no_dict() -> None:
    with pytest.raises(vtcd_ops.InputError, match="config expected a dict, got list"):
        TCOW.from_config([("depth", 1)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rgb", "query", "message"),
    [
        (
            (2, 3, 5, 32, 48),
            (2, 1, 5, 32, 48),
            r"rgb expected .* \[B, 3, 4, 32, 48\], got \[2, 3, 5",
        ),
        ((2, 3, 4, 48, 32), (2, 1, 4, 48, 32), r"rgb expected .* got \[2, 3, 4, 48, 32\]"),
        ((2, 4, 3, 32, 48), (2, 1, 4, 32, 48), r"rgb expected \[B, 3, T, H, W\]"),
        ((3, 4, 32, 48), (2, 1, 4, 32, 48), r"rgb expected \[B, 3, T, H, W\]"),
        ((2, 3, 4, 32, 48), (2, 3, 4, 32, 48), r"query expected .* \[B, 1, 4, 32, 48\]"),
        ((2, 3, 4, 32, 48), (2, 1, 1, 32, 48), r"query expected .* got \[2, 1, 1, 32, 48\]"),
        ((2, 3, 4, 32, 48), (1, 1, 4, 32, 48), "query expected a mask for each of 2 clips, got 1"),
    ],
)
def test_clips_that_do_not_fit(rgb: Any, query: Any, message: str) -> None:
    model = TCOW.from_config(SMALL)
    with pytest.raises(vtcd_ops.InputError, match=message):
        model(torch.zeros(rgb), torch.zeros(query))


def test_no_query() -> None:
    model = TCOW.from_config(SMALL)
    with pytest.raises(vtcd_ops.InputError, match=r"query expected a tensor .* got NoneType"):
        model(torch.zeros(1, 3, 4, 32, 48), None)
