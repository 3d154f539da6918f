"""Rankings of new videos, in other types, resumed, interrupted: what changes and what must not."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import AdditiveModel, additive_adapter, samples
from pipeline.videos import moving_square, run_files
from torch import Tensor

import vtcd_ops
from vtcd_ops import InputError, Run, Sample
from vtcd_ops.adapters import ProjectionAdapter, example_adapter
from vtcd_ops.importance import methods, scoring

FAST: dict[str, Any] = {
    "progress": False, "dtype": "float32", "masks_per_forward": 16, "stop_at": None
}  # fmt: skip


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectionAdapter, Run]:
    adapter = example_adapter()
    out = tmp_path_factory.mktemp("example")
    return adapter, vtcd_ops.discover(adapter, samples(), out=out / "run", progress=False)


def test_more_masks_other_batches_and_interruptions(
    example: tuple[ProjectionAdapter, Run],
) -> None:
    """300 masks after 100 are the same bits as 300 at once; another batch only rounds otherwise."""
    adapter, run = example
    ask = {**FAST, "metric": "probability"}
    once = vtcd_ops.rank(run, adapter, samples(), num_masks=300, name="once", **ask)
    vtcd_ops.rank(run, adapter, samples(), num_masks=100, name="twice", **ask)
    twice = vtcd_ops.rank(run, adapter, samples(), num_masks=300, name="twice", **ask)
    assert np.array_equal(once.tensors["scores"], twice.tensors["scores"])
    names = ("scores.safetensors", "estimate.safetensors", "result.json")
    for name in names:
        files = [run_files(run.path / "importance" / one)[name] for one in ("once", "twice")]
        assert files[0] == files[1]
    fewer = vtcd_ops.rank(run, adapter, samples(), num_masks=100, name="twice", **ask)
    assert np.array_equal(fewer.tensors["scores"], once.tensors["scores"][:, :100])
    kept = run.importance("twice")
    assert kept is not None
    assert kept.num_masks == 300  # asking for fewer masks throws none away
    ask["masks_per_forward"] = 7
    other = vtcd_ops.rank(run, adapter, samples(), num_masks=300, name="sevens", **ask)
    np.testing.assert_allclose(other.tensors["scores"], once.tensors["scores"], atol=1e-6)


def test_videos_that_are_not_in_the_run(example: tuple[ProjectionAdapter, Run]) -> None:
    """Refused, or the run's concepts are looked for in them."""
    adapter, run = example
    new = Sample(moving_square(seed=9), label=1)
    with pytest.raises(InputError, match=r"video video_0: it is not in the run .*--assign"):
        vtcd_ops.rank(run, adapter, [new], **FAST)
    found = vtcd_ops.rank(
        run, adapter, [*samples(1), new], method="occlusion", assign=True, name="new", **FAST
    )
    assigned = run.assign(new, adapter)
    for unit, (layer, head, concept) in enumerate(found.units):
        inside = (assigned.tokens(int(layer))[head] == concept).any()
        assert found.tensors["present"][1, unit] == inside
    again = vtcd_ops.rank(
        run, adapter, [*samples(1), new], method="occlusion", assign=True, name="new", **FAST
    )
    assert np.array_equal(found.value, again.value, equal_nan=True)


@pytest.mark.parametrize("order", ["new first", "new last"])
@pytest.mark.parametrize("batch", [1, 3])
def test_concepts_are_looked_for_in_the_model_as_it_is(
    tmp_path: Path, order: str, batch: int
) -> None:
    """Not in the one whose concepts are removed: in any order, windows in any number at a time."""
    adapter = additive_adapter()
    known = samples(2, num_frames=10)
    run = vtcd_ops.discover(
        adapter, known, out=tmp_path, parts=["values"], layers=[0], num_frames="all",
        batch_size=batch, progress=False,
    )  # fmt: skip
    new = [Sample(moving_square(10, seed=9), label=1)]
    videos = [*new, *known] if order == "new first" else [*known, *new]
    found = vtcd_ops.rank(run, adapter, videos, method="occlusion", assign=True, **FAST)
    ask = {key: value for key, value in FAST.items() if key != "stop_at"}
    curves = vtcd_ops.curves(run, adapter, videos, assign=True, num_points=2, **ask)
    first = 0 if order == "new first" else len(known)
    for row, video in enumerate(new, start=first):
        assigned = run.assign(video, adapter)
        for unit, (layer, head, concept) in enumerate(found.units):
            inside = (assigned.tokens(int(layer), "values")[int(head)] == concept).any()
            assert found.tensors["present"][row, unit] == inside
    scores = curves.scores["occlusion-logit", "positive"]
    np.testing.assert_allclose(scores[:, 0], found.tensors["baseline"], atol=1e-7)
    # all units removed alone, summed, are all removed at once where the answer is a sum
    alone = (found.tensors["baseline"][:, None] - found.tensors["scores"]).sum(axis=1)
    np.testing.assert_allclose(scores[:, 0] - scores[:, -1], alone, atol=1e-5)


def test_a_bar_counts_only_what_is_done_now(
    example: tuple[ProjectionAdapter, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The masks of an earlier call are shown as done, and are no speed of this one."""
    bars: list[Any] = []

    class Bar(scoring.tqdm):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(scoring, "tqdm", Bar)
    adapter, run = example
    ask: dict[str, Any] = {**FAST, "name": "bar", "progress": True}
    vtcd_ops.rank(run, adapter, samples(), num_masks=256, **ask)
    first, bars[:] = [(bar.desc, bar.initial, bar.n) for bar in bars], []
    assert first == [("videos", 0, 4), ("bar", 0, 1024)]
    vtcd_ops.rank(run, adapter, samples(), num_masks=640, **ask)
    assert [(bar.desc, bar.initial, bar.n) for bar in bars] == [
        ("videos", 4, 4),
        ("bar", 1024, 2560),
    ]


class NormedModel(AdditiveModel):
    """With a layer norm, which takes no other type than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(16)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.norm(self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2))
        values = [qkv(x).chunk(3, dim=-1)[2] for qkv in self.qkv]
        found: Tensor = sum(
            proj(value).mean(dim=1) for proj, value in zip(self.proj, values, strict=True)
        )  # type: ignore[assignment]
        return found


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["cris", "occlusion", "integrated_gradients"])
def test_models_in_other_floating_point_types(
    tmp_path: Path, dtype: torch.dtype, method: str
) -> None:
    """They run in their own, and effects are those of float32 but for their rounding."""
    plain = additive_adapter(NormedModel)
    options: dict[str, Any] = {"parts": ["values"], "layers": [0], "progress": False}
    run = vtcd_ops.discover(plain, samples(2), out=tmp_path / "float32", **options)
    ask: dict[str, Any] = {"method": method, "num_masks": 64, "progress": False}
    expected = vtcd_ops.rank(run, plain, samples(2), dtype="float32", **ask)
    other = additive_adapter(NormedModel)
    other.model.to(dtype)
    supports = {
        ("values", 0): [np.stack([run.support(v, 0, a, "values") for a in (0, 1)]) for v in (0, 1)]
    }
    centers = {("values", 0): [run.concepts(0, a, "values").centers for a in (0, 1)]}
    shape = vtcd_ops.discover(other, samples(2), out=tmp_path / "other", **options)
    same = vtcd_ops.store_concepts(tmp_path / "same", shape, supports, centers, method="as before")
    found = vtcd_ops.rank(same, other, samples(2), **ask)
    name = str(dtype).removeprefix("torch.")
    assert found.settings["dtype"] == name
    kind = "scores" if "scores" in found.tensors else "effects"
    spread = np.abs(expected.tensors[kind]).max() * float(torch.finfo(dtype).eps) * 8
    np.testing.assert_allclose(
        found.tensors[kind], expected.tensors[kind], atol=max(spread, 1e-6), rtol=0
    )
    drawn = vtcd_ops.curves(same, other, samples(2), num_points=2, num_random=0, progress=False)
    assert drawn.settings["dtype"] == name
    with pytest.raises(InputError, match=f"dtype expected auto or {name}, .* got 'float32'"):
        vtcd_ops.rank(same, other, samples(2), dtype="float32", **ask)


def test_an_interrupted_ranking_leaves_what_it_has(
    example: tuple[ProjectionAdapter, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The ranking by the masks that all videos were scored under; the same call goes on."""
    adapter, run = example
    ask: dict[str, Any] = {**FAST, "num_masks": 640}
    whole = vtcd_ops.rank(run, adapter, samples(), name="whole", **ask)
    part = methods.Masks.part

    def interrupted(method: methods.Masks, video: int, *rest: Any) -> Any:
        if (video, rest[-1]) == (2, 384):
            raise KeyboardInterrupt
        return part(method, video, *rest)

    monkeypatch.setattr(methods.Masks, "part", interrupted)
    ask |= {"name": "stopped-early", "progress": True}
    with pytest.raises(KeyboardInterrupt):
        vtcd_ops.rank(run, adapter, samples(), **ask)
    assert "interrupted; the ranking by 384 of 640 masks is stored" in capsys.readouterr().err
    left = run.importance("stopped-early")
    assert left is not None
    assert np.array_equal(left.tensors["scores"], whole.tensors["scores"][:, :384])
    kept = sorted(file.name for file in (run.path / "importance/stopped-early/parts").iterdir())
    assert len(kept) == 2  # of the two videos that were further
    monkeypatch.setattr(methods.Masks, "part", part)
    again = vtcd_ops.rank(run, adapter, samples(), **ask)
    assert np.array_equal(again.tensors["scores"], whole.tensors["scores"])
    assert np.array_equal(again.value, whole.value)


def test_two_rankings_by_one_adapter_in_two_threads(
    example: tuple[ProjectionAdapter, Run],
) -> None:
    """They take turns in the model, and neither sees the other's masks."""
    adapter, run = example
    ask: dict[str, Any] = {**FAST, "num_masks": 96}
    alone = [vtcd_ops.rank(run, adapter, samples(), seed=n, name=f"a{n}", **ask) for n in range(3)]

    def rank(number: int) -> Any:
        return vtcd_ops.rank(run, adapter, samples(), seed=number, name=f"t{number}", **ask)

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(rank, range(3)))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.tensors["scores"], other.tensors["scores"])
        assert np.array_equal(one.value, other.value)
    assert torch.get_num_threads() == threads
