"""The model: its numbers are upstream's, and what does not fit is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from internvideo_models import CASES, fill, inputs
from vtcd_internvideo import InternVideo, Tokenizer

import vtcd_ops

UPSTREAM = json.loads((Path(__file__).parent / "golden" / "upstream.json").read_text())["cases"]
SMALL = CASES["eight_frames"]


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_upstream_s(case: str) -> None:
    """Features, score and similarity of the released code, every parameter random."""
    model = fill(InternVideo.from_config(CASES[case]))
    video, tokens = inputs(CASES[case])
    with torch.no_grad():
        found = {
            "video": model.encode_video(video),
            "text": model.encode_text(tokens),
            "similarity": model(video, tokens),
            "score": model.score(video, tokens),
        }
    for name, values in found.items():
        expected = torch.tensor(UPSTREAM[case][name])
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)


def test_heads_hand_on_what_upstream_s_do() -> None:
    """Queries, keys and values of every block, before they are split into heads."""
    model = fill(InternVideo.from_config(SMALL))
    seen: dict[str, torch.Tensor] = {}
    for index, block in enumerate(model.visual.transformer.resblocks):
        for part in ("queries", "keys", "values"):

            def keep(module: Any, args: Any, output: Any, key: str = f"{part}.{index}") -> None:
                seen[key] = output  # [B*T, 1 + h*w, A*C]

            getattr(block.attn, part).register_forward_hook(keep)
    with torch.no_grad():
        model.encode_video(inputs(SMALL)[0])
    expected = UPSTREAM["eight_frames"]["heads"]
    assert sorted(seen) == sorted(expected)
    for name, values in expected.items():
        found = seen[name][::5, ::4, ::7]
        torch.testing.assert_close(found, torch.tensor(values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "parameter",
    [name for name, _ in InternVideo.from_config(CASES["one_frame"]).named_parameters()],
)
def test_every_parameter_counts(parameter: str) -> None:
    """A parameter that nothing depends on would be compared with upstream in vain."""
    sizes = CASES["one_frame"]
    model = fill(InternVideo.from_config(sizes))
    video, tokens = inputs(sizes)
    with torch.no_grad():
        before = model.encode_video(video), model.encode_text(tokens), model(video, tokens)
        model.get_parameter(parameter).mul_(1.5)
        after = model.encode_video(video), model.encode_text(tokens), model(video, tokens)
    changed = any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    # Upstream's masked language modelling alone uses this embedding. A softmax does not see what
    # all keys share, so the keys' biases change nothing.
    assert changed == (parameter != "text_mask_embedding")


def test_texts_after_their_end_do_not_matter() -> None:
    model = fill(InternVideo.from_config(SMALL))
    _, tokens = inputs(SMALL)
    other = tokens.clone()
    other[0, 3:] = 7  # the first text ends at 2
    with torch.no_grad():
        assert torch.equal(model.encode_text(tokens), model.encode_text(other))


def changed(**changes: Any) -> dict[str, Any]:
    """The small configuration with entries "tower.entry" changed; None takes one away."""
    sizes: dict[str, Any] = copy.deepcopy(SMALL)
    for name, value in changes.items():
        *towers, entry = name.split("__")
        inner = sizes[towers[0]] if towers else sizes
        if value is None:
            del inner[entry]
        else:
            inner[entry] = value
    return sizes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual": None}, "config expected an entry visual, got none"),
        ({"text": 3}, "text expected a dictionary, got int"),
        ({"frames": 8}, "config expected entries among visual, text, t_size, .*, got frames"),
        ({"t_size": 0}, "t_size expected a whole number from 1 to 65536, got 0"),
        ({"visual__width": None}, "visual expected an entry width, got none"),
        ({"visual__depth": 3}, "visual expected entries among .*, got depth"),
        ({"visual__width": 50}, r"visual.width expected a multiple of visual.heads, 4, got 50"),
        ({"visual__layers": -1}, "visual.layers expected a whole number from 0 to 512, got -1"),
        (
            {"visual__patch_size": 8.0},
            "visual.patch_size expected a whole number from 1 to 16384, got 8.0",
        ),
        ({"visual__patch_size": 64}, "input_resolution expected at least the patch size, 64"),
        ({"visual__n_layers": 2}, "visual.n_layers expected 3, got 2"),
        ({"visual__n_dim": 24}, "visual.n_dim expected 48, got 24"),
        ({"visual__n_head": 5}, "visual.n_dim expected a multiple of visual.n_head, 5, got 48"),
        ({"visual__return_list": [1, 2, 4]}, r"return_list expected layers among 0 to 3, .* 4\]"),
        ({"visual__return_list": [2, 1, 3]}, r"each once and in order, got \[2, 1, 3\]"),
        ({"text__vocab_size": None}, "text expected an entry vocab_size, got none"),
        ({"text__transformer_heads": 5}, "transformer_width expected a multiple of .*, 5, got 32"),
    ],
)
def test_sizes_that_are_none(changes: dict[str, Any], message: str) -> None:
    if "visual__width" in changes and changes["visual__width"] == 50:
        changes = {**changes, "visual__n_dim": 50, "visual__n_head": 5}
    with pytest.raises(vtcd_ops.InputError, match=message):
        InternVideo.from_config(changed(**changes))


def test_what_concerns_training_alone_is_accepted() -> None:
    """Upstream's dictionaries as they are; the decoder's sizes follow from the rest."""
    sizes = changed(visual__n_layers=None, visual__n_dim=None, visual__n_head=None)
    sizes["visual"] |= {"drop_path_rate": 0.1, "use_checkpoint": True, "mlp_dropout": [0.5] * 3}
    config = InternVideo.from_config(sizes).config
    assert (config.visual.n_layers, config.visual.n_dim, config.visual.n_head) == (3, 48, 4)
    assert InternVideo.from_config(config.to_dict()).config == config


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 16, 32, 32), r"= \[B, 3, 8, 32, 32\], the frames and the size .* got \[2, 3, 16"),
        ((2, 3, 4, 32, 32), r"got \[2, 3, 4, 32, 32\]"),
        ((2, 3, 8, 32, 40), r"got \[2, 3, 8, 32, 40\]"),
        ((2, 8, 3, 32, 32), r"got \[2, 8, 3, 32, 32\]"),
        ((3, 8, 32, 32), r"got \[3, 8, 32, 32\]"),
    ],
)
def test_videos_of_another_shape(shape: tuple[int, ...], message: str) -> None:
    """Sixteen frames are no two clips of eight."""
    with pytest.raises(vtcd_ops.InputError, match=message):
        InternVideo.from_config(SMALL).encode_video(torch.zeros(shape))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(2, 50, dtype=torch.long), r"tokens expected \[n, 77\], got \[2, 50\]"),
        (torch.zeros(77, dtype=torch.long), r"tokens expected \[n, 77\], got \[77\]"),
        (torch.zeros(2, 77), "tokens expected integers, got torch.float32"),
        (torch.full((2, 77), 100), "tokens expected 0 to 99, got 100 to 100"),
        (torch.full((2, 77), -1), "tokens expected 0 to 99, got -1 to -1"),
    ],
)
def test_tokens_that_are_none(tokens: torch.Tensor, message: str) -> None:
    with pytest.raises(vtcd_ops.InputError, match=message):
        InternVideo.from_config(SMALL).encode_text(tokens)


MERGES = ["b a", "l l</w>", "ba ll</w>", "c a", "ca n</w>"]


def with_tokenizer() -> tuple[InternVideo, torch.Tensor]:
    sizes = changed(text__vocab_size=514 + len(MERGES))
    model = fill(InternVideo.from_config(sizes))
    model.tokenizer = Tokenizer.from_merges(MERGES)
    return model, inputs(sizes)[0]


def test_zero_shot_classification() -> None:
    model, video = with_tokenizer()
    names = ["ball", "can", "a ball"]
    with torch.no_grad():
        probabilities = model.classify(video, names)
        similarity = model(video, model.tokenizer(names))
    assert probabilities.shape == (2, 3)
    torch.testing.assert_close(probabilities, similarity.softmax(-1))
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2))


def test_a_text_scores_as_its_tokens_do() -> None:
    model, video = with_tokenizer()
    with torch.no_grad():
        score = model.score(video, "a ball")
        video_features, text_features = model.video_features(video), model.text_features("a ball")
    torch.testing.assert_close(score, video_features @ text_features.T)
    torch.testing.assert_close(video_features.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(text_features.norm(dim=-1), torch.ones(1))


def test_texts_need_a_tokenizer() -> None:
    model = InternVideo.from_config(SMALL)
    with pytest.raises(vtcd_ops.InputError, match="text expected tokens, since the model has no"):
        model.text_features(["a ball"])


def test_training_begins_as_upstream_s_does() -> None:
    """The decoder adds nothing at first, and half of the video is the frames' class token."""
    model = InternVideo.from_config(SMALL)
    tower = model.visual.transformer
    assert not tower.temporal_cls_token.any()
    assert not tower.balance.any()
    assert all(not layer.attn.out_proj.weight.any() for layer in tower.dec)
    assert all(not layer.mlp.c_proj.weight.any() for layer in tower.dec)
    assert all(bool(block.attn.in_proj_weight.any()) for block in tower.resblocks)
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
