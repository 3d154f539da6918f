"""The adapter: parity and features on tiny random models, queries, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from tcow_models import SMALL, fill
from torch import Tensor
from vtcd_tcow import TCOW, TCOWAdapter
from vtcd_tcow.convert import save

import vtcd_ops
from vtcd_ops import Sample
from vtcd_ops.adapters.adapter import Adapter, Site
from vtcd_ops.adapters.testkit import AdapterTests
from vtcd_ops.importance.ranked_videos import find_videos
from vtcd_ops.video.clips import choose_clip
from vtcd_ops.video.readers import ArraySource

# Three different sides of the token grid, so that no two can be mistaken for each other.
GRID = (3, 4, 5)
TINY: dict[str, Any] = {**SMALL, "num_total_frames": 3, "frame_width": 40, "depth": 2}
PARTS = ("queries", "keys", "values")


def tiny_adapter(attention: str = "spatial", **changes: Any) -> TCOWAdapter:
    model: Any = fill(TCOW.from_config({**TINY, **changes}), std=0.15)
    return TCOWAdapter(model, attention=attention)


class TCOWTests(AdapterTests):
    attention = "spatial"
    changes: ClassVar[dict[str, Any]] = {}

    def make_adapter(self) -> Adapter:
        return tiny_adapter(self.attention, **self.changes)

    def plain_features(
        self, adapter: Adapter, linears: dict[str, tuple[Tensor, Tensor]], site: Site
    ) -> Tensor:
        part, layer = site
        module = "temporal_attn" if self.attention == "temporal" else "attn"
        prefix = f"tracker_backbone.timesformer.model.blocks.{layer}.{module}."
        if part == "outputs":
            flat = linears[prefix + "proj"][0]
        else:
            width = 48 * PARTS.index(part)
            flat = linears[prefix + "qkv"][1][..., width : width + 48]
        return self.arranged(flat.unflatten(-1, (4, 12)))  # heads x channels

    def arranged(self, flat: Tensor) -> Tensor:
        """[rows, N', A, C] of the model -> [B, A, t*h*w, C]."""
        frames = flat.reshape(-1, 3, flat.shape[1], 4, 12)  # [B, T, (1+)h*w, A, C]
        return frames[:, :, -20:].permute(0, 3, 1, 2, 4).flatten(2, 3)


class TestSpatial(TCOWTests):
    def test_prefix_tokens_are_the_class_token_of_every_frame(self) -> None:
        adapter = self.make_adapter()
        assert adapter.num_prefix_tokens == 3
        clips, seen = self.clips(adapter), {}

        def see(part: str, layer: int, features: Tensor) -> Tensor:
            seen[layer] = features
            return features

        with vtcd_ops.edit(adapter, see):
            adapter.forward(clips, **self.inputs(adapter, clips))
        assert seen[0].shape == (2, 4, 3 + 60, 12)
        # Nothing has yet told the copies apart.
        assert torch.equal(seen[0][:, :, 0], seen[0][:, :, 2])


class TestNotCausal(TCOWTests):
    changes: ClassVar = {"causal_attention": 0, "tracker_pretrained": True, "norm_embeddings": True}


class TestWithoutClassToken(TCOWTests):
    changes: ClassVar = {"causal_attention": 2}

    def test_no_prefix(self) -> None:
        assert self.make_adapter().num_prefix_tokens == 0


class TestTemporal(TCOWTests):
    attention = "temporal"

    def arranged(self, flat: Tensor) -> Tensor:
        places = flat.reshape(-1, 20, 3, 4, 12)  # [B, h*w, T, A, C]
        return places.permute(0, 3, 2, 1, 4).flatten(2, 3)


class TestJoint(TCOWTests):
    changes: ClassVar = {"attention_type": "joint_space_time", "causal_attention": 0}

    def arranged(self, flat: Tensor) -> Tensor:
        tokens = flat[:, 1:].unflatten(1, (20, 3))  # [B, h*w, T, A, C]
        return tokens.permute(0, 3, 2, 1, 4).flatten(2, 3)


def test_wrapped_model_gives_the_numbers_of_the_bare_one() -> None:
    """Under the same names, bit for bit."""
    adapter = tiny_adapter()
    clips, query = torch.rand(2, 3, 3, 32, 40), torch.zeros(2, 1, 3, 32, 40)
    query[:, :, 0, 8:16, 8:24] = 1
    with torch.no_grad():
        masks, flags = adapter.model(clips.transpose(1, 2), query)
        answer = adapter.predict(clips, query=query)
    assert torch.equal(answer["masks"], masks)
    assert torch.equal(answer["flags"], flags)
    assert answer["masks"].shape == (2, 3, 3, 32, 40)
    assert "flags" not in tiny_adapter(flag_channels=0).predict(clips, query=query)


def square_video(frames: int = 3, height: int = 48, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def query_of(adapter: TCOWAdapter, sample: Sample, num_frames: int | str | None = None) -> Tensor:
    clip = choose_clip(adapter, ArraySource(sample.video), num_frames, sample=sample)
    (window, *_) = clip.windows
    return clip.inputs(window)["query"]


def test_query_goes_where_the_frames_go() -> None:
    """A white rectangle on black and its mask coincide after resizing and cropping."""
    adapter = tiny_adapter()
    video = np.zeros((3, 64, 100, 3), dtype=np.uint8)  # wider than the model's 4:5
    video[:, 16:32, 40:64] = 255
    mask = video[0, ..., 0] > 0
    query = query_of(adapter, Sample(video, query_mask=mask))
    assert query.shape == (1, 3, 32, 40)
    assert torch.equal(query[0, 0].bool(), adapter.preprocess(video)[0, 0] > 0.5)
    assert not query[:, 1:].any()


@pytest.mark.parametrize("kind", ["array", "one frame", "all frames", "png", "npy", "npz"])
def test_forms_of_a_query_mask(tmp_path: Path, kind: str) -> None:
    adapter, video = tiny_adapter(), square_video()
    mask = np.zeros((48, 60), dtype=bool)
    mask[12:24, 30:45] = True
    given: Any = mask
    if kind == "one frame":
        given = mask[None]
    elif kind == "all frames":
        given = np.stack([mask, ~mask, ~mask])
    elif kind == "png":
        given = tmp_path / "mask.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(given)
    elif kind == "npy":
        given = str(tmp_path / "mask.npy")
        np.save(given, mask[None])
    elif kind == "npz":
        given = tmp_path / "mask.npz"
        np.savez(given, query_mask=mask[None], target_masks=np.stack([~mask] * 3))
    expected = query_of(adapter, Sample(video, query_mask=mask))
    assert torch.equal(query_of(adapter, Sample(video, query_mask=given)), expected)


def test_tracking_starts_at_the_first_frame() -> None:
    """The query is one of the first frame, so that frame is looked at, whatever the length."""
    adapter = tiny_adapter()
    sample = Sample(square_video(20), query_mask=np.ones((48, 60), dtype=bool))
    clip = choose_clip(adapter, ArraySource(sample.video), sample=sample)
    assert clip.indices == [0, 6, 13]


def test_later_windows_need_the_true_masks() -> None:
    adapter = tiny_adapter()
    mask = np.zeros((48, 60), dtype=bool)
    mask[12:24, 30:45] = True
    truth = np.stack([np.roll(mask, 2 * frame, axis=0) for frame in range(6)])
    sample = Sample(square_video(6), query_mask=mask, name="balls")
    clip = choose_clip(adapter, ArraySource(sample.video), "all", sample=sample)
    assert [window.start for window in clip.windows] == [0, 3]
    clip.inputs(clip.windows[0])
    with pytest.raises(vtcd_ops.InputError, match="of balls is one of its first frame, and a win"):
        clip.inputs(clip.windows[1])
    known = Sample(sample.video, query_mask=mask, target_masks=truth)
    query = choose_clip(adapter, ArraySource(sample.video), "all", sample=known).inputs(
        clip.windows[1]
    )["query"]
    assert torch.equal(query[0, 0].bool(), adapter.mask_to_model(torch.from_numpy(truth[3])))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((48, 60), dtype=bool), "got no object in any pixel"),
        (np.ones((60, 48), dtype=bool), "expected 48x60 as the frames, got 60x48"),
        ("absent.png", r"absent\.png does not exist"),
    ],
)
def test_query_masks_that_are_none(mask: Any, message: str) -> None:
    sample = Sample(square_video(), query_mask=mask, name="balls")
    with pytest.raises(vtcd_ops.InputError, match=message):
        query_of(tiny_adapter(), sample)


def test_query_outside_of_what_the_model_sees() -> None:
    mask = np.zeros((48, 200), dtype=bool)
    mask[:, :10] = True
    sample = Sample(square_video(width=200), query_mask=mask)
    with pytest.raises(vtcd_ops.InputError, match="no object in the part that the model sees"):
        query_of(tiny_adapter(), sample)


def test_no_query() -> None:
    adapter = tiny_adapter()
    clips = torch.rand(1, 3, 3, 32, 40)
    with pytest.raises(vtcd_ops.InputError, match=r"query expected beside the clips .* got none"):
        vtcd_ops.capture(adapter, clips)
    with pytest.raises(vtcd_ops.InputError, match="needs the query_mask of every video, got none"):
        query_of(adapter, Sample(square_video()))
    clip = choose_clip(
        adapter,
        ArraySource(square_video()),
        sample=Sample(square_video(), query_mask=np.ones((48, 60), dtype=bool)),
    )
    with pytest.raises(vtcd_ops.InputError, match="query_mask expected for a video"):
        adapter.inputs(Sample(square_video()), clip, 0)


def test_clips_of_another_size() -> None:
    adapter = tiny_adapter()
    with pytest.raises(vtcd_ops.InputError, match=r"clips expected .* = \[B, 3, 3, 32, 40\]"):
        vtcd_ops.capture(adapter, torch.rand(1, 4, 3, 32, 40), inputs={"query": torch.ones(1)})
    with pytest.raises(vtcd_ops.InputError, match="video of at least 3 frames, got 2"):
        query_of(adapter, Sample(square_video(2), query_mask=np.ones((48, 60), dtype=bool)))


def test_discovery(tmp_path: Path) -> None:
    """From samples with query masks to a run."""
    samples = []
    for index in range(3):
        mask = np.zeros((48, 60), dtype=bool)
        mask[12:24, 10 + 10 * index : 30 + 10 * index] = True
        samples.append(Sample(square_video() // (index + 1), query_mask=mask, name=f"v{index}"))
    run = vtcd_ops.discover(tiny_adapter(), samples, out=tmp_path / "run", layers=[1])
    assert list(run.layers) == [1]
    assert len(run.videos) == 3
    assert run.support(0, 1, 0).shape[0] > 0


def test_another_query_is_another_run(tmp_path: Path) -> None:
    adapter, video = tiny_adapter(), square_video()
    mask = np.zeros((48, 60), dtype=bool)
    mask[10:30, 10:30] = True
    sample = Sample(video, query_mask=mask, name="balls")
    vtcd_ops.discover(adapter, [sample], out=tmp_path, progress=False)
    again = vtcd_ops.discover(adapter, [sample], out=tmp_path, progress=False)
    assert again.videos[0].inputs_sha256 is not None
    other = Sample(video, query_mask=np.roll(mask, 20, axis=1), name="balls")
    with pytest.raises(vtcd_ops.InputError, match="other masks or other inputs of balls"):
        vtcd_ops.discover(adapter, [other], out=tmp_path, progress=False)
    # a run that was not finished yet notices, too
    (tmp_path / "run.json").unlink()
    with pytest.raises(vtcd_ops.InputError, match="other masks or other inputs of balls"):
        vtcd_ops.discover(adapter, [other], out=tmp_path, progress=False)


def test_ranking_asks_for_what_the_run_asked_for(tmp_path: Path) -> None:
    """One video twice, with a query each: every query finds its own concepts, others none."""
    adapter, video = tiny_adapter(), square_video()
    mask = np.zeros((48, 60), dtype=bool)
    mask[10:30, 10:30] = True
    samples = [
        Sample(video, query_mask=np.roll(mask, 20 * index, axis=1), name=f"query {index}")
        for index in range(3)
    ]
    run = vtcd_ops.discover(adapter, samples[:2], out=tmp_path, layers=[0, 1], progress=False)
    found, _ = find_videos(run, adapter, samples[1::-1])
    assert [one.index for one in found] == [1, 0]
    with pytest.raises(vtcd_ops.InputError, match=r"query 2: the run .* saw it with another query"):
        find_videos(run, adapter, samples[2:])
    [assigned], _ = find_videos(run, adapter, samples[2:], assign=True)
    assert assigned.index is None


def test_names(tmp_path: Path) -> None:
    save(tiny_adapter().model, tmp_path / "mine")  # type: ignore[arg-type]
    adapter = vtcd_ops.load_model(f"tcow:{tmp_path / 'mine'}?attention=temporal")
    assert adapter.name == f"tcow:{tmp_path / 'mine'}?attention=temporal"
    assert vtcd_ops.load_model(tmp_path / "mine", dtype="bfloat16").num_prefix_tokens == 3
    for name, message in (
        ("tcow:nowhere", "tcow:nowhere is no folder, no checkpoint file and no bundled model"),
        (f"tcow:{tmp_path / 'mine'}?attention=joint", "attention expected 'spatial' or 'temporal'"),
        (f"tcow:{tmp_path / 'mine'}?dtype=int8", "dtype expected float32, bfloat16 or float16"),
    ):
        with pytest.raises(vtcd_ops.InputError, match=message):
            vtcd_ops.load_model(name)


def test_joint_attention_has_no_temporal_one() -> None:
    with pytest.raises(vtcd_ops.InputError, match="is not divided has no temporal attention"):
        tiny_adapter("temporal", attention_type="joint_space_time", causal_attention=0)
