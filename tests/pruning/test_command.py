"""`vtcd prune` on a run of a bundled miniature."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import vtcd_ops
from vtcd_ops.adapters import weights_sha256
from vtcd_ops.commands import prune as prune_command
from vtcd_ops.commands.app import app
from vtcd_ops.commands.prune import prune_run
from vtcd_ops.video.samples import as_samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vtcd_ops.Run:
    model = vtcd_ops.load_model("hf_videomae:mini")
    clip = (model.num_frames, *model.frames.size, 3)  # type: ignore[attr-defined]
    videos = np.random.default_rng(0).integers(0, 255, (2, *clip)).astype(np.uint8)
    out = tmp_path_factory.mktemp("run")
    run = vtcd_ops.discover(model, videos, out=out, layers=range(6), progress=False)
    samples = [vtcd_ops.Sample(video, label=1) for video in videos]
    vtcd_ops.rank(
        run, model, samples, "logit", method="gradient", units="heads", name="gradient",
        progress=False,
    )  # fmt: skip
    vtcd_ops.rank(
        run, model, samples, "logit", units="heads", num_masks=8, name="heads", progress=False
    )
    vtcd_ops.rank(run, model, samples, "logit", method="random", name="concepts", progress=False)
    return run


def test_the_latest_ranking_of_heads(run: vtcd_ops.Run, tmp_path: Path) -> None:
    arguments = ["prune", str(run.path), "--out", str(tmp_path / "small"), "--fraction", ".25"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "hf_videomae:mini (6 of 24 heads removed)" in result.output.replace("\n", " ")
    loaded: Any = vtcd_ops.load_model(tmp_path / "small")
    importance: Any = run.importance("heads")
    last = importance.units[importance.order[-6:], :2]
    assert loaded.removed_heads == {(int(layer), int(head)) for layer, head in last}


def test_heads_by_name(run: vtcd_ops.Run, tmp_path: Path) -> None:
    arguments = ["prune", str(run.path), "--out", str(tmp_path), "--heads", "0:1, 5:3"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    loaded: Any = vtcd_ops.load_model(tmp_path)
    assert loaded.removed_heads == {(0, 1), (5, 3)}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled clips that come with the miniature."""
    path = tmp_path_factory.mktemp("clips") / "manifest.csv"
    clips = Path(str(files("vtcd_hf_videomae") / "clips" / "evaluation"))
    header, *rows = (clips / "manifest.csv").read_text().splitlines()
    columns = header.split(",")
    video, label = columns.index("video"), columns.index("label")
    lines = [row.split(",") for row in rows[:4]]
    text = [f"{(clips / line[video]).resolve()},{line[label]}" for line in lines]
    path.write_text("\n".join(["video,label", *text]) + "\n")
    return path


def test_it_is_trained(run: vtcd_ops.Run, manifest: Path, tmp_path: Path) -> None:
    """`--finetune` on labelled videos; the weights that stay are others then, and come back."""
    common = ["prune", str(run.path), "--heads", "0:1,5:3", "--out"]
    for out, more in (("plain", []), ("trained", ["--finetune", str(manifest), "--epochs", "1"])):
        arguments = [*common, str(tmp_path / out), *more]
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    plain, trained = (vtcd_ops.load_model(tmp_path / out) for out in ("plain", "trained"))
    assert weights_sha256(plain.model) != weights_sha256(trained.model)
    shapes = [
        {name: value.shape for name, value in one.model.state_dict().items()}
        for one in (plain, trained)
    ]
    assert shapes[0] == shapes[1]
    with pytest.raises(vtcd_ops.InputError, match="holds a model already"):
        CliRunner().invoke(app, [*common, str(tmp_path / "plain")], catch_exceptions=False)


def test_rounds_are_ranked_pruned_and_trained_in_turn(
    run: vtcd_ops.Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--rounds 2` is what the parts do one after the other, and goes on after the first round."""
    out = tmp_path / "small"
    arguments = ["prune", str(run.path), "--out", str(out), "--fraction", ".5", "--device", "cpu",
                 "--finetune", str(manifest), "--rounds", "2", "--epochs", "1",
                 "--ranking", "gradient"]  # fmt: skip

    def killed(*asked: Any, **more: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(prune_command, "rank", killed)
        with pytest.raises(RuntimeError, match="killed"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
    first_round = (out / "training" / "round-1.safetensors").stat().st_mtime_ns
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (out / "training" / "round-1.safetensors").stat().st_mtime_ns == first_round
    found: Any = vtcd_ops.load_model(out)

    whole: Any = vtcd_ops.load_model("hf_videomae:mini")
    samples = list(as_samples(str(manifest)))
    training = {"teacher": whole, "epochs": 1, "progress": False}
    current = vtcd_ops.prune(whole, run.importance("gradient"), 1 / 4)
    vtcd_ops.finetune(current, samples, **training)
    second = vtcd_ops.discover(
        current, samples[:2], out=tmp_path / "run", layers=range(6), progress=False
    )
    ranked = vtcd_ops.rank(
        second,
        current,
        samples,
        "logit",
        method="gradient",
        units="heads",
        assign=True,
        progress=False,
    )
    current = vtcd_ops.prune(current, ranked, 1 / 3)  # of 18: 6 of 24 again
    vtcd_ops.finetune(current, samples, **training)
    assert len(found.removed_heads) == 12
    assert found.removed_heads == current.removed_heads
    assert weights_sha256(found.model) == weights_sha256(current.model)


def test_what_is_refused(run: vtcd_ops.Run, tmp_path: Path) -> None:
    for options, message in (
        ({"ranking": "concepts"}, "importance expected of heads or neurons, got one of concepts"),
        ({"ranking": "heads", "heads": [(0, 0)]}, "expected either ranking or heads"),
        ({"ranking": "heads", "rounds": 2}, "rounds above 1 expected with finetune"),
        ({"heads": [(0, 0)], "rounds": 2, "finetune": "x"}, "a ranking, not heads"),
        ({"ranking": "heads", "rounds": 0}, "rounds expected"),
        ({"ranking": "heads", "model": "hf_videomae:mini-ssl"}, "are not those of the run"),
    ):
        with pytest.raises(vtcd_ops.InputError, match=message):
            prune_run(run.path, out=tmp_path / "small", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "small").exists()
    with pytest.raises(vtcd_ops.InputError, match="heads expected as layer:head"):
        CliRunner().invoke(
            app,
            ["prune", str(run.path), "--out", str(tmp_path), "--heads", "0-1"],
            catch_exceptions=False,
        )
