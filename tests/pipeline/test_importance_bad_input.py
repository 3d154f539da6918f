"""What the user gets wrong about a ranking is one sentence, and what was stored stays."""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import additive_adapter, samples
from pipeline.videos import moving_square, run_files, write_video
from torch import Tensor

import vtcd_ops
from vtcd_ops import InputError, Run, Sample
from vtcd_ops.adapters import ProjectionAdapter, Projections, example_adapter, placement
from vtcd_ops.commands import app
from vtcd_ops.importance import masking
from vtcd_ops.importance.ranked_videos import find_videos

FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bad")
    videos = [
        Sample(str(write_video(folder / f"{seed}.mkv", moving_square(seed=seed))), label=seed % 2)
        for seed in range(3)
    ]
    found = vtcd_ops.discover(
        additive_adapter(), videos, out=folder / "run", parts=["values"], progress=False
    )
    vtcd_ops.rank(found, additive_adapter(), num_masks=64, **FAST)
    return found


def not_a_number(outputs: Any, sample: Sample) -> Tensor:
    return torch.full((len(outputs["logits"]),), float("nan"))


def all_logits(outputs: Any, sample: Sample) -> Tensor:
    logits: Tensor = outputs["logits"]
    return logits


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"model": example_adapter()}, r"the weights of example are not those of the run .*run"),
        ({"samples": [moving_square(seed=8)]}, r"video video_0: it is not in the run .*--assign"),
        ({"metric": not_a_number}, "video 0: metric not_a_number: expected finite numbers"),
        ({"metric": all_logits}, r"metric all_logits: .* every clip, \[1\], got \[1, 3\]"),
        ({"metric": "iou"}, "metric iou: the model's answer expected to hold masks"),
        ({"metric": "acuracy"}, "metric expected one of accuracy, probability, .*got 'acuracy'"),
        ({"ratio": 0.0}, "ratio expected a number above 0 and below 1, got 0.0"),
        ({"ratio": 1}, "ratio expected a number above 0 and below 1, got 1"),
        ({"ratio": float("nan")}, "ratio expected a number above 0 and below 1, got nan"),
        ({"ratio": 0.25}, "holds a ranking with ratio 0.5, not 0.25: choose another name"),
        ({"seed": 5}, "holds a ranking with seed 0, not 5: choose another name"),
        ({"masks_per_forward": 8}, "holds a ranking with masks_per_forward 16, not 8"),
        ({"classes": "0"}, "holds a ranking of other videos or labels: choose another name"),
        ({"method": "cirs"}, "method expected one of cris, occlusion, .*, got 'cirs'"),
        ({"design": "none"}, "design expected one of .*, got 'none'"),
        ({"estimator": "none"}, "estimator expected one of .*, got 'none'"),
        ({"units": "layers"}, r"units expected one of concepts, heads, .*, got 'layers'"),
        ({"part": "keys"}, "part expected one of values, got 'keys'"),
        ({"num_masks": 1}, "num_masks expected a whole number from 2 on, got 1"),
        ({"stop_at": 1.5}, "stop_at expected a number above 0, at most 1, got 1.5"),
        ({"masks_per_forward": 0}, "masks_per_forward expected a whole number above 0, or auto"),
        ({"dtype": "float8"}, "dtype expected one of auto, float32, bfloat16, got 'float8'"),
        ({"name": "../x"}, "name expected the name of a folder, got '../x'"),
        (
            {"method": "gradient", "metric": "accuracy"},
            "metric accuracy is flat almost everywhere, so its gradients say nothing",
        ),
    ],
)
def test_one_sentence(run: Run, asked: dict[str, Any], sentence: str) -> None:
    before = run_files(run.path / "importance/cris-logit")
    with pytest.raises(InputError, match=sentence) as error:
        vtcd_ops.rank(run, **{"model": additive_adapter(), "num_masks": 64, **FAST, **asked})
    assert "\n" not in str(error.value)
    assert run_files(run.path / "importance/cris-logit") == before


def test_of_many_classes_those_most_like_a_misspelt_label_are_named(run: Run) -> None:
    adapter = additive_adapter()
    adapter.class_names = (*(f"{word} a ball" for word in ("roll", "throw")), *map(str, range(98)))
    wrong = [Sample(sample.video, label="rolling a bal") for sample in samples(2)]
    with pytest.raises(
        InputError, match=r"or one of 100 names such as roll a ball.*, got 'rolling"
    ):
        vtcd_ops.rank(run, adapter, wrong, num_masks=32, name="misspelt", assign=True, **FAST)


@pytest.mark.parametrize("wrong", [None, "rol", 7])
@pytest.mark.parametrize("method", ["cris", "occlusion", "gradient"])
def test_a_name_is_not_taken_by_what_was_refused(
    tmp_path: Path, method: str, wrong: str | int | None
) -> None:
    """A label is missing or misspelt, then it is right: under the same name."""
    adapter, right = additive_adapter(), samples(2)
    run = vtcd_ops.discover(
        adapter, right, out=tmp_path, parts=["values"], layers=[0], progress=False
    )
    ask: dict[str, Any] = {"method": method, "num_masks": 32, "name": "own", **FAST}
    bad = [right[0], Sample(right[1].video, label=wrong)]
    run.videos[1] = replace(run.videos[1], label=None)  # else the run's own label is taken
    with pytest.raises(InputError, match=r"metric logit: (a )?label expected"):
        vtcd_ops.rank(run, adapter, bad, **ask)
    assert run.importances() == []
    found = vtcd_ops.rank(run, adapter, right, **ask)
    assert [video["label"] for video in found.settings["videos"]] == [0, 1]
    assert run.importances() == ["own"]


def test_overwriting(run: Run) -> None:
    """What is refused without it; what has the same settings goes on."""
    ask: dict[str, Any] = {"model": additive_adapter(), "name": "over", **FAST}
    vtcd_ops.rank(run, num_masks=64, **ask)
    with pytest.raises(InputError, match="seed 0, not 3: choose another name, or overwrite it"):
        vtcd_ops.rank(run, num_masks=64, seed=3, **ask)
    found = vtcd_ops.rank(run, num_masks=64, seed=3, overwrite=True, **ask)
    assert found.settings["seed"] == 3
    before = run_files(run.path / "importance/over")
    again = vtcd_ops.rank(run, num_masks=64, seed=3, overwrite=True, **ask)
    assert run_files(run.path / "importance/over") == before
    assert np.array_equal(again.value, found.value)
    more = vtcd_ops.rank(run, num_masks=96, seed=3, overwrite=True, **ask)
    assert np.array_equal(more.tensors["scores"][:, :64], found.tensors["scores"])
    shutil.rmtree(run.path / "importance/over")


@pytest.mark.parametrize("verb", [vtcd_ops.rank, vtcd_ops.curves])
def test_a_model_that_sees_or_is_read_in_another_way(run: Run, verb: Any) -> None:
    """The weights alone are not the model: frames are treated otherwise, layers taken in turn."""
    other = additive_adapter()
    other.frames = replace(other.frames, mean=(0.1, 0.2, 0.3))
    with pytest.raises(InputError, match=r"additive has frames .*'mean': .*the model of the run"):
        verb(run, other, **FAST)
    model = additive_adapter().model
    swapped = [
        Projections(qkv=qkv, outputs=proj)
        for qkv, proj in reversed(list(zip(model.qkv, model.proj, strict=True)))
    ]
    plain = additive_adapter()
    reversed_layers = ProjectionAdapter(
        model, name="additive", projections=swapped, num_heads=2, num_frames=4, tubelet_size=2,
        token_grid=(2, 4, 4), frames=plain.frames, metrics=plain.metrics,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"additive has taps .*the model of the run"):
        verb(run, reversed_layers, **FAST)


def test_another_function_is_another_metric(run: Run) -> None:
    """Two functions of one name, the same one again, and curves of both."""
    first, second, again = (
        lambda outputs, sample: outputs["logits"][:, 0],
        lambda outputs, sample: outputs["logits"][:, 1],
        lambda outputs, sample: outputs["logits"][:, 0],
    )
    ask: dict[str, Any] = {"model": additive_adapter(), "num_masks": 32, "name": "function", **FAST}
    one = vtcd_ops.rank(run, metric=first, **ask)
    with pytest.raises(InputError, match=r"holds a ranking with metric_code .*choose another name"):
        vtcd_ops.rank(run, metric=second, **ask)
    assert np.array_equal(vtcd_ops.rank(run, metric=again, **ask).value, one.value)
    other = vtcd_ops.rank(run, metric=second, overwrite=True, **ask)
    assert not np.array_equal(other.value, one.value)
    del ask["num_masks"]
    ask |= {"rankings": ["function"], "num_points": 3, "num_random": 0}
    vtcd_ops.curves(run, metric=first, **ask)
    with pytest.raises(InputError, match=r"holds curves with metric_code .*choose another name"):
        vtcd_ops.curves(run, metric=second, **ask)
    for folder in ("importance", "curves"):
        shutil.rmtree(run.path / folder / "function")


def test_a_metric_whose_gradient_is_zero_where_nothing_is_removed(run: Run) -> None:
    ask: dict[str, Any] = {"model": additive_adapter(), "name": "similar", **FAST}
    with pytest.raises(InputError, match="feature_similarity is largest where nothing is removed"):
        vtcd_ops.rank(run, metric="feature_similarity", method="gradient", **ask)


def test_fewer_than_two_units(run: Run, tmp_path: Path) -> None:
    supports = {("values", 0): [np.zeros((1, 2, 4, 4), dtype=np.int64)] * 3}
    centers = {("values", 0): [np.zeros((1, 8))]}
    one = vtcd_ops.store_concepts(tmp_path / "one", run, supports, centers, method="whole")
    with pytest.raises(InputError, match=r"at least two units expected to rank, .*one has 1"):
        vtcd_ops.rank(one, additive_adapter(), **FAST)


def test_videos_that_are_gone(tmp_path: Path) -> None:
    """Of arrays nothing is left; a file that changed is another video."""
    options: dict[str, Any] = {"parts": ["values"], "layers": [0], "progress": False}
    adapter, file = additive_adapter(), tmp_path / "0.mkv"
    arrays = vtcd_ops.discover(adapter, samples(1), out=tmp_path / "arrays", **options)
    with pytest.raises(InputError, match=r"video video_0 of .* was an array: give the samples"):
        vtcd_ops.rank(arrays, adapter, **FAST)
    write_video(file, moving_square(seed=0))
    files = vtcd_ops.discover(adapter, file, out=tmp_path / "files", **options)
    write_video(file, moving_square(seed=1))
    with pytest.raises(InputError, match=r"video 0: it is no longer the video that the run"):
        vtcd_ops.rank(files, adapter, **FAST)


def test_damaged_and_missing_rankings(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    damaged = vtcd_ops.load(copy)
    with pytest.raises(InputError, match=r"no finished ranking 'none' \(finished: cris-logit\)"):
        damaged.importance("none")
    file = copy / "importance/cris-logit/scores.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"scores.safetensors is damaged: its content does not"):
        damaged.importance()
    shutil.rmtree(copy / "importance")
    assert damaged.importance() is None
    assert damaged.importances() == []


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Run the command line with the additive model under its name."""

    def by_name(model: object) -> object:
        return additive_adapter() if model == "additive" else model

    monkeypatch.setattr(placement, "load_model", by_name)
    monkeypatch.setattr(sys, "argv", ["vtcd", *map(str, arguments)])
    try:
        app.main()
    except SystemExit as end:
        if end.code:
            raise


def test_the_command_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ("--no-progress", "--dtype", "float32", "--masks-per-forward", 16)
    command(monkeypatch, "rank", run.path, "--method", "occlusion", *options)
    out = capsys.readouterr().out
    assert "occlusion-logit: " in out
    assert out.count("\n  layer ") == 5
    command(monkeypatch, "curves", run.path, "--out", tmp_path / "c.csv", *options)
    out = capsys.readouterr().out
    assert "  cris-logit positive: " in out
    assert str(tmp_path / "c.csv") in out
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, "rank", run.path, "--ratio", "2", *options)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error == "vtcd: rank: ratio expected a number above 0 and below 1, got 2.0\n"


def test_device_without_a_kernel(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, not the dispatcher's page; no operator here will ever run on an xpu."""
    monkeypatch.setattr(masking, "model_device", lambda model: torch.device("xpu"))
    with pytest.raises(InputError, match=r"on xpu, .*concept_mask, .* has no kernel: .*cpu"):
        vtcd_ops.rank(run, additive_adapter(), num_masks=16, name="xpu", **FAST)
    assert not (run.path / "importance" / "xpu").exists()


def test_frames_larger_than_the_memory_are_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a run's concepts are looked for; reading one frame takes 16 bytes a pixel."""
    monkeypatch.setattr("vtcd_ops.video.clips._AHEAD_BYTES", 0)
    height, width = moving_square().shape[1:3]
    options: dict[str, Any] = {"max_memory": 16 * height * width - 1, **FAST}
    refused = pytest.raises(InputError, match=r"its frames of 32x32 pixels .* more than max_memory")
    with refused:
        run.assign(moving_square(seed=8), additive_adapter(), max_memory=options["max_memory"])
    for samples_ in (None, [moving_square(seed=8)]):
        asked = {"assign": samples_ is not None, **options}
        with refused:
            vtcd_ops.rank(run, additive_adapter(), samples_, name="memory", num_masks=16, **asked)
        with refused:
            vtcd_ops.curves(run, additive_adapter(), samples_, name="memory", **asked)
    assert not [*run.path.glob("*/memory")]
    assert run.assign(moving_square(seed=8), additive_adapter(), max_memory="1MB").grid


def test_numbers_in_names_count_as_numbers(run: Run, tmp_path: Path) -> None:
    """Classes are listed in natural order; masks are told apart in the order they are read in."""
    videos = [
        Sample(moving_square(seed=seed), label=f"class {n}", target_masks=str(tmp_path))
        for seed, n in enumerate((10, 9, 1))
    ]
    for name, level in (("1", 1), ("9", 2), ("10", 3)):
        (tmp_path / f"{name}.png").write_bytes(bytes([level]))
    found, classes = find_videos(run, additive_adapter(), videos, classes="all", assign=True)
    assert classes == ["class 1", "class 9", "class 10"]
    before = found[0].identity()["target_masks"]
    hashes = [hashlib.sha256(bytes([level])).hexdigest() for level in (1, 2, 3)]
    assert before == hashlib.sha256("".join(hashes).encode()).hexdigest()
    (tmp_path / "._1.png").touch()  # of another system
    assert found[0].identity()["target_masks"] == before
