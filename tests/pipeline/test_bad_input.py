"""What the user gets wrong is one clear sentence and exit status 2, and earlier results stay."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square, run_files, write_image, write_video

import vtcd_ops.discovery
from vtcd_ops.adapters import example_adapter, load_model
from vtcd_ops.adapters.projections import ProjectionAdapter
from vtcd_ops.commands import app
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery import identity
from vtcd_ops.discovery.run import load
from vtcd_ops.ops.library import Library
from vtcd_ops.storage.documents import encode_json, read_json

Files = dict[str, str]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Good and bad videos by name."""
    good = write_video(tmp_path / "good.mkv", moving_square(8))
    short = write_video(tmp_path / "short.mkv", moving_square(3))
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(good.read_bytes()[:600])
    (tmp_path / "empty").mkdir()
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for frame in range(4):
        write_image(mixed / f"{frame}.png", moving_square(edge=32 + 8 * (frame == 2))[0])
    (tmp_path / "bad.csv").write_text("video,lable\ngood.mkv,x\n")
    (tmp_path / "file").write_text("a file")
    names = ("empty", "mixed", "bad.csv", "file", "run", "missing.mp4")
    paths = [good, short, text, cut, *(tmp_path / name for name in names)]
    return {path.stem: str(path) for path in paths}


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line know the example by name, whole and with broken weights."""

    def by_name(model: object) -> ProjectionAdapter:
        if model not in ("example", "nan"):
            return load_model(model)  # type: ignore[return-value, arg-type]
        adapter = example_adapter()
        if model == "nan":
            with torch.no_grad():
                adapter.model.qkv[1].bias.fill_(float("nan"))
        return adapter

    monkeypatch.setattr(vtcd_ops.adapters.placement, "load_model", by_name)


def vtcd(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Run the command line; return the exit status and what it wrote as error."""
    monkeypatch.setattr(sys, "argv", ["vtcd", *arguments])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    status = exit_.value.code
    return int(status or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("example {missing} --out {run}", "{missing} does not exist"),
        ("example {text} --out {run}", "{text} is not a video that can be read"),
        ("example {cut} --out {run}", "{cut} is not a video"),
        ("example {file} --out {run}", "{file} is not a video that can be read"),
        ("example {short} --out {run}", "short: expected a video of at least 4 frames, got 3"),
        (
            "example {good} --num-frames 9 --out {run}",
            "good: expected a video of at least 9 frames, got 8",
        ),
        ("example {mixed} --out {run}", "frames of different sizes, 32x32 and 40x40"),
        ("example {empty} --out {run}", "the folder {empty} holds neither frames nor videos"),
        ("example {bad} --out {run}", "expected the columns video, label,"),
        ("./nowhere {good} --out {run}", "directory ./nowhere does not exist"),
        ("nofamily:x {good} --out {run}", "unknown family 'nofamily'"),
        (
            "nan {good} --out {run}",
            "video good: the keys of example at layer 1 are NaN or infinite",
        ),
        ("example {good} --out {file}", "{file} cannot be written"),
        ("example {good} --out {file}/run", "{file}/run cannot be written"),
        ("example {good} --out {mixed}", "{mixed} is not empty and not a run"),
        (
            "example {good} --out {run} --n-segments 1 --voxels-per-token 1",
            "keys of layer 0: concepts need at least two tubelets, head 0 has 1 in all videos",
        ),
        ("example {good} --out {run} --layers 3", "layers expected from 0 to 2, or from -1"),
        ("example {good} --out {run} --layers a", "expected numbers such as 0,3,8-11, got 'a'"),
        ("example {good} --out {run} --parts keis", "parts expected one of queries, keys"),
        ("example {good} --out {run} --parts keys,keys", "parts expected each part once, got"),
        ("example {good} --out {run} --compactness 0", "compactness expected a positive"),
        ("example {good} --out {run} --criterion x", "criterion expected one of elbow"),
        (
            "example {good} --out {run} --max-memory 1KB",
            # 4 (32 x 8 + 64 ^ 2), 4 x 32 x 8 as captured, 64 ^ 2 as bytes, at work 8 (64 ^ 2 + 256)
            "at least 57.3KB, which one head of this video takes, got 1KB",
        ),
        ("example {good} --out {run} --max-memory x", "max_memory expected a size such as"),
        ("example {good} --out {run} --num-frames x", "num_frames expected a whole number"),
    ],
)
def test_discover(
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    sentence: str,
) -> None:
    words = [word.format(**files) for word in arguments.split()]
    status, error = vtcd(monkeypatch, capsys, "discover", *words, "--no-progress")
    assert status == 2
    assert sentence.format(**files) in error
    assert error.startswith("vtcd: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_model_that_is_no_transformer(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files["empty"], "config.json").write_text('{"model_type": "resnet"}')
    status, error = vtcd(
        monkeypatch, capsys, "discover", files["empty"], files["good"], "--out", files["run"]
    )
    assert status == 2
    assert "no adapter for models of type 'resnet'" in error


def test_a_failure_keeps_earlier_results(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second video is bad; mended, the run goes on and ends as if nothing had happened."""
    path = Path(files["mixed"])  # which shows in its turn alone, when its third frame is decoded
    command = ["discover", "example", files["good"], str(path), "--no-progress", "--out"]
    assert vtcd(monkeypatch, capsys, *command, files["run"])[0] == 2
    first = Path(files["run"], "videos/00000/keys-02.safetensors")
    done = first.stat().st_mtime_ns
    write_image(path / "2.png", moving_square(seed=5)[0])
    assert vtcd(monkeypatch, capsys, *command, files["run"]) == (0, "")
    assert first.stat().st_mtime_ns == done
    assert vtcd(monkeypatch, capsys, *command, files["run"] + "-2") == (0, "")
    assert run_files(Path(files["run"])) == run_files(Path(files["run"] + "-2"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    videos = [moving_square(seed=seed) for seed in range(2)]
    out = tmp_path_factory.mktemp("finished") / "run"
    vtcd_ops.discovery.discover.discover(example_adapter(), videos, out=out, progress=False)
    return out


def flip(path: Path, position: float = 0.5) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(bytes(content))


def other_version(run: Path) -> None:
    document = read_json(run / "settings.json")
    (run / "settings.json").write_bytes(encode_json({**document, "format": 99}))


def file_outside(run: Path) -> None:
    document = read_json(run / "run.json")
    document["files"]["../secret"] = [0, ""]
    (run / "run.json").write_bytes(encode_json(document))


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("volume", lambda run: flip(run / "videos/00001/keys-01.safetensors"), "is damaged"),
    ("header", lambda run: flip(run / "videos/00000/clip.safetensors", 0.0), "is damaged"),
    ("concepts", lambda run: flip(run / "concepts/keys-00.safetensors", 0.99), "is damaged"),
    ("run.json", lambda run: flip(run / "run.json"), "is damaged"),
    ("settings", lambda run: flip(run / "settings.json"), "is damaged"),
    ("manifest", lambda run: flip(run / "manifest.jsonl"), "is damaged"),
    ("half", lambda run: (run / "concepts/keys-02.safetensors").unlink(), "is missing"),
    ("unfinished", lambda run: (run / "run.json").unlink(), "is unfinished"),
    ("no settings", lambda run: (run / "settings.json").unlink(), "is not a run of vtcd"),
    ("empty", lambda run: (run / "settings.json").write_bytes(b""), "is damaged"),
    ("version", other_version, "has format 99, this version of vtcd_ops reads formats 2 and 3"),
    ("outside", file_outside, "lists a file outside of itself"),
]


@pytest.mark.parametrize(
    ("damage", "sentence"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES]
)
def test_a_damaged_run_is_refused(
    finished: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    damage(run)
    with pytest.raises(InputError, match=sentence):
        load(run)


@pytest.mark.parametrize("position", np.linspace(0, 0.999, 12))
@pytest.mark.parametrize(
    "name", ["videos/00001/keys-01.safetensors", "concepts/keys-01.safetensors"]
)
def test_an_unfinished_run_with_a_flipped_bit_is_refused(
    finished: Path, tmp_path: Path, name: str, position: float
) -> None:
    """Before there is a list of files, each tensor file vouches for itself."""
    from vtcd_ops.storage.files import read_tensors

    path = tmp_path / "file.safetensors"
    shutil.copy(finished / name, path)
    read_tensors(path)
    flip(path, position)
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(path)


def test_every_file_of_a_run_is_verified(finished: Path, tmp_path: Path) -> None:
    files = [str(f.relative_to(finished)) for f in finished.rglob("*") if f.is_file()]
    assert sorted({*read_json(finished / "run.json")["files"], "run.json", "log.jsonl"}) == sorted(
        files
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"compactness": 0.2}, "holds a run with settings compactness 0.1, not 0.2"),
        ({"layers": [1]}, "holds a run with layers"),
        ({"resume": False}, "already holds a run"),
        ({"samples": [moving_square(seed=7)]}, "was begun with another video as number 0"),
        ({"samples": [moving_square(seed=0)]}, "holds a run of more videos"),
        ({"model": example_adapter(seed=3)}, "holds a run with model sha256"),
    ],
)
def test_another_run_in_the_directory(
    finished: Path, changes: dict[str, object], sentence: str
) -> None:
    before = run_files(finished)
    options: dict[str, object] = {
        "model": example_adapter(),
        "samples": [moving_square(seed=seed) for seed in range(2)],
        "out": finished,
        "progress": False,
    }
    with pytest.raises(InputError, match=sentence):
        vtcd_ops.discovery.discover.discover(**{**options, **changes})  # type: ignore[arg-type]
    assert run_files(finished) == before


@pytest.mark.parametrize("begun", ["finished", "unfinished"])
@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        (
            Library("sse9", "0" * 64),
            "made by the {now} operators, this process has loaded the sse9 ones.* "
            "set VTCD_CPU={now}, or, .* choose another directory and set VTCD_CPU=sse9 for every",
        ),
        (
            Library(vtcd_ops.INSTRUCTION_SET, "0" * 64),
            r"another build of the operators \(SHA-256 {digest}\.\.\., now 000000000000\.\.\.\): "
            "install that build again, or choose another directory",
        ),
    ],
    ids=["instruction set", "build"],
)
def test_a_run_of_another_build_of_the_operators(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun: str,
    library: Library,
    sentence: str,
) -> None:
    """It is not gone on with; a finished one is loaded all the same."""
    shutil.copytree(finished, tmp_path / "run")
    if begun == "unfinished":
        (tmp_path / "run/run.json").unlink()
    before = run_files(tmp_path / "run")
    own = vtcd_ops.LIBRARY
    monkeypatch.setattr(identity, "LIBRARY", library)
    expected = sentence.format(now=own.instruction_set, digest=own.sha256[:12])
    videos = [moving_square(seed=seed) for seed in range(2)]
    with pytest.raises(InputError, match=expected):
        vtcd_ops.discover(example_adapter(), videos, out=tmp_path / "run", progress=False)
    assert run_files(tmp_path / "run") == before
    if begun == "finished":
        assert load(tmp_path / "run").operators == asdict(own)


def test_reading_asks_for_what_is_there(finished: Path) -> None:
    run = load(finished)
    for call, sentence in (
        (lambda: run.labels(2, 0), "video expected one of"),
        (lambda: run.labels(0, 3), "layer expected one of"),
        (lambda: run.concepts(0, 5), "head expected one of"),
        (lambda: run.support(0, 0, 0, part="values"), "part expected one of"),
    ):
        with pytest.raises(InputError, match=sentence):
            call()


def test_the_log_alone_has_time_stamps(finished: Path) -> None:
    entries = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in entries] == ["started", "finished"]
