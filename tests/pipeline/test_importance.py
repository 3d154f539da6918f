"""Importance against effects that are known, and against masks multiplied by plain hooks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline.additive import additive_adapter, samples, true_effects
from pipeline.videos import moving_square
from torch import Tensor

import vtcd_ops
from vtcd_ops import InputError, Run, Sample
from vtcd_ops.adapters import ProjectionAdapter, example_adapter
from vtcd_ops.importance.importance import Importance, draw_masks, estimate_importance

FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}


@pytest.fixture(scope="module")
def additive(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectionAdapter, Run]:
    adapter = additive_adapter()
    out = tmp_path_factory.mktemp("additive")
    return adapter, vtcd_ops.discover(
        adapter, samples(), out=out / "run", parts=["values"], progress=False
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectionAdapter, Run]:
    adapter = example_adapter()
    out = tmp_path_factory.mktemp("example")
    return adapter, vtcd_ops.discover(adapter, samples(), out=out / "run", progress=False)


def mean_over_videos(effects: np.ndarray) -> np.ndarray:
    """Over the videos that hold a unit; NaN for one that lies between all tokens."""
    count = (~np.isnan(effects)).sum(axis=0)
    return np.nansum(effects, axis=0) / np.where(count, count, np.nan)


@pytest.mark.parametrize("method", ["occlusion", "gradient", "integrated_gradients"])
def test_single_units_have_their_known_effects(
    additive: tuple[ProjectionAdapter, Run], method: str
) -> None:
    """Where the answer is a sum, all of these are what the unit adds to it."""
    adapter, run = additive
    found = vtcd_ops.rank(run, adapter, samples(), method=method, num_steps=3, **FAST)
    expected = true_effects(adapter, run, found)
    np.testing.assert_allclose(found.value, mean_over_videos(expected), atol=1e-6)
    assert (found.tensors["present"] == ~np.isnan(expected)).all()
    count = (~np.isnan(expected)).sum(axis=0)
    several = count > 1
    spread = np.nanstd(expected[:, several], axis=0, ddof=1) / np.sqrt(count[several])
    np.testing.assert_allclose(found.stderr[several], spread, atol=1e-6)


@pytest.mark.parametrize("design", ["simple", "antithetic", "balanced"])
def test_cris_finds_known_effects(additive: tuple[ProjectionAdapter, Run], design: str) -> None:
    """Regression explains a sum exactly: its coefficients are the effects."""
    adapter, run = additive
    found = vtcd_ops.rank(
        run, adapter, samples(), num_masks=400, design=design, estimator="regression",
        name=design, **FAST,
    )  # fmt: skip
    expected = mean_over_videos(true_effects(adapter, run, found))
    np.testing.assert_allclose(found.value, expected, atol=1e-4)
    assert found.r2 > 0.999
    assert found.reliability > 0.99
    default = run.importance(design, estimator="auto")
    assert default is not None
    np.testing.assert_allclose(default.value, expected, atol=1e-4)


def test_scores_are_those_of_masks_multiplied_by_hooks(
    example: tuple[ProjectionAdapter, Run],
) -> None:
    """Dense masks from the supports, multiplied into the keys by a hook, one mask at a time."""
    adapter, run = example
    found = vtcd_ops.rank(run, adapter, samples(), "logit", num_masks=40, name="hooks", **FAST)
    for video, mask in itertools.product((0, 3), (0, 17, 39)):
        masks = draw_masks(found.settings, video, 0, 40)
        handles = []
        for layer, qkv in enumerate(adapter.model.qkv):
            kept = dense_mask(run, video, layer, found.units, masks[mask])
            handles.append(qkv.register_forward_hook(multiply_keys(kept)))
        clip = adapter.preprocess(moving_square(seed=video))[None]
        with torch.no_grad():
            logit = float(adapter.model(clip)[0, video % 2])
        for handle in handles:
            handle.remove()
        assert found.tensors["scores"][video, mask] == pytest.approx(logit, abs=1e-6)


def dense_mask(run: Run, video: int, layer: int, units: np.ndarray, keep: Tensor) -> Tensor:
    """What a layer's keys [N, A*C] are multiplied by."""
    dense = torch.ones(32, 16)
    tokens = run.tokens(video, layer)
    for unit, (of_layer, head, concept) in enumerate(units):
        if of_layer == layer and not keep[unit]:
            inside = torch.from_numpy(tokens[head] == concept)
            dense[inside, 8 * head : 8 * head + 8] = 0
    return dense


def multiply_keys(kept: Tensor) -> Any:
    def hook(module: Any, args: Any, output: Tensor) -> Tensor:
        queries, keys, values = output.chunk(3, dim=-1)
        return torch.cat([queries, keys * kept, values], dim=-1)

    return hook


def test_integrated_gradients_sum_to_what_all_units_do(
    example: tuple[ProjectionAdapter, Run],
) -> None:
    """Completeness: their sum is the score less the score without any unit."""
    adapter, run = example
    found = vtcd_ops.rank(
        run, adapter, samples(), method="integrated_gradients", num_steps=64, **FAST
    )
    everything = vtcd_ops.curves(
        run, adapter, samples(), rankings=[found.name], num_points=1, name="ends", **FAST
    ).scores[found.name, "positive"]  # [V, (nothing, everything) removed]
    total = found.tensors["effects"].sum(axis=1)
    np.testing.assert_allclose(total, everything[:, 0] - everything[:, 1], atol=1e-5)
    np.testing.assert_allclose(everything[:, 0], found.tensors["baseline"], atol=1e-7)


def test_gradient_is_a_central_difference(example: tuple[ProjectionAdapter, Run]) -> None:
    """Of the score by how much of a unit is kept, at everything kept."""
    from vtcd_ops.importance.masking import MaskedModel
    from vtcd_ops.importance.ranked_videos import find_videos
    from vtcd_ops.importance.units import choose_units
    from vtcd_ops.metrics import get_metric

    adapter, run = example
    adapter = adapter.with_model(adapter.model.double(), adapter.name)  # type: ignore[assignment]
    try:
        units = choose_units(run, "concepts", None, adapter)
        [ranked], _ = find_videos(run, adapter, samples(1))
        with MaskedModel(adapter, units, get_metric("logit", adapter)) as masked:
            video = masked.video(ranked.sample, ranked.clip, ranked.tokens(units, {}))
            ones = torch.ones(1, len(units), dtype=torch.float64)
            step = 1e-5 * torch.eye(len(units), dtype=torch.float64)
            with torch.no_grad():
                difference = (video.scores(ones + step) - video.scores(ones - step)) / 2e-5
            np.testing.assert_allclose(video.gradients(ones)[0], difference, atol=1e-8)
    finally:
        adapter.model.float()


def test_a_ranking_is_read_back(example: tuple[ProjectionAdapter, Run]) -> None:
    adapter, run = example
    made = vtcd_ops.rank(run, adapter, samples(), num_masks=64, name="read", **FAST)
    read = vtcd_ops.load(run.path).importance("read")
    assert read is not None
    assert read == made
    assert read != run.importance("read", estimator="kept")
    for key in ("value", "stderr_masks", "stderr_videos"):
        assert np.array_equal(getattr(made, key), getattr(read, key), equal_nan=True)
    assert (made.reliability, made.r2, made.estimator) == (
        read.reliability,
        read.r2,
        read.estimator,
    )
    removed = run.importance("read", estimator="removed")
    assert removed is not None
    masks = np.stack([draw_masks(made.settings, v, 0, 64).numpy() for v in range(4)])  # [V, M, U]
    drops = made.tensors["baseline"][:, None] - made.tensors["scores"]  # [V, M]
    present = made.tensors["present"]
    by_video = np.einsum("vm,vmu->vu", drops, ~masks) / (~masks).sum(axis=1)  # equation 6
    expected = np.where(present, by_video, 0).sum(axis=0) / present.sum(axis=0)
    np.testing.assert_allclose(removed.value, expected, atol=1e-12)


def test_it_stops_when_the_order_is_reliable(additive: tuple[ProjectionAdapter, Run]) -> None:
    adapter, run = additive
    found = vtcd_ops.rank(
        run, adapter, samples(), num_masks=4000, stop_at=0.9, name="stopped", **FAST
    )
    assert found.reliability >= 0.9
    assert found.num_masks == 256  # the first time it is looked at
    again = vtcd_ops.rank(
        run, adapter, samples(), num_masks=4000, stop_at=0.9, name="stopped", **FAST
    )
    assert np.array_equal(found.value, again.value)


def test_classes_are_averaged(example: tuple[ProjectionAdapter, Run]) -> None:
    """Each class is ranked by its own videos, and classes count the same."""
    adapter, run = example
    three = [Sample(s.video, label=("a", "b", "b", "b")[i]) for i, s in enumerate(samples())]
    adapter.class_names = ("a", "b", "c", "d", "e")
    ask = {**FAST, "method": "occlusion"}
    both = vtcd_ops.rank(run, adapter, three, classes="all", name="both", **ask)
    one = vtcd_ops.rank(run, adapter, three, classes=["a"], name="a", **ask)
    other = vtcd_ops.rank(run, adapter, three, classes="b", name="b", **ask)
    assert [len(found.settings["videos"]) for found in (both, one, other)] == [4, 1, 3]
    expected = np.nanmean(np.stack([one.value, other.value]), axis=0)
    np.testing.assert_allclose(both.value, expected, atol=1e-7)
    curves = vtcd_ops.curves(run, adapter, three, rankings=["both"], name="classes", **FAST)
    assert curves.scores["both", "positive"].shape[0] == 4
    with pytest.raises(InputError, match=r"no video has the class 'c' \(classes: a, b\)"):
        vtcd_ops.rank(run, adapter, three, classes=["c"], **ask)
    adapter.class_names = None


def test_heads(example: tuple[ProjectionAdapter, Run]) -> None:
    """A head removed alone is a head whose keys are zero at every token."""
    adapter, run = example
    found = vtcd_ops.rank(
        run, adapter, samples(), "logit", method="occlusion", units="heads", **FAST
    )
    assert found.units.tolist() == [[n, a, -1] for n in range(3) for a in range(2)]
    clip = adapter.preprocess(moving_square(seed=0))[None]
    keep = torch.ones(1, 2, 1, 1)
    keep[:, 1] = 0
    with torch.no_grad():
        plain = adapter.forward(clip)[0, 0]
        with vtcd_ops.edit(adapter, lambda part, layer, x: x * keep, layers=[2]):
            without = adapter.forward(clip)[0, 0]
    scores = found.tensors["scores"]
    assert scores[0, 5] == pytest.approx(float(without), abs=1e-6)
    assert found.tensors["baseline"][0] == pytest.approx(float(plain), abs=1e-6)


def test_long_videos_are_scored_in_windows(tmp_path: Path) -> None:
    """The score is the mean over the windows, each with its own part of the supports."""
    adapter = additive_adapter()
    long = samples(3, num_frames=6)
    run = vtcd_ops.discover(
        adapter, long, out=tmp_path, parts=["values"], num_frames="all", progress=False
    )
    found = vtcd_ops.rank(run, adapter, long, method="occlusion", **FAST)
    frames = long[0].video
    assert isinstance(frames, np.ndarray)
    starts = (0, 2)  # the second window is moved back
    clips = torch.stack([adapter.preprocess(frames[start : start + 4]) for start in starts])
    values = vtcd_ops.capture(adapter, clips, parts=("values",))["values"]
    with torch.no_grad():
        assert found.tensors["baseline"][0] == pytest.approx(
            float(adapter.forward(clips)[:, 0].mean()), abs=1e-6
        )
    for unit, (layer, head, concept) in enumerate(found.units):
        inside = torch.from_numpy(run.tokens(0, layer, "values")[head] == concept).view(3, 16)
        weight = adapter.model.proj[layer].weight[0, 8 * head : 8 * head + 8]
        effect = 0.0
        for row, start in enumerate(starts):
            tokens = inside[start // 2 : start // 2 + 2].reshape(-1)
            effect += float((values[int(layer)][row, head] @ weight.detach())[tokens].sum()) / 64
        got = found.tensors["baseline"][0] - found.tensors["scores"][0, unit]
        assert got == pytest.approx(effect, abs=1e-6)


def test_effects_of_any_size() -> None:
    """Of single units: squares of 1e300 and of 1e-300, and differences beyond float64."""
    rng = np.random.default_rng(0)
    scores, baseline = rng.normal(size=(3, 4)), rng.normal(size=3)
    settings = {"method": "occlusion", "classes": None, "videos": [{"label": 0}] * 3}
    tensors = {"units": np.zeros((4, 3)), "present": rng.random((3, 4)) < 0.9}
    found = []
    for exponent in (0, 1000, -1000):
        sized = {"scores": np.ldexp(scores, exponent), "baseline": np.ldexp(baseline, exponent)}
        found.append(estimate_importance("x", settings, tensors | sized, "auto"))
        for field in ("value", "stderr_videos"):
            wanted = np.ldexp(getattr(found[0], field), exponent)
            np.testing.assert_array_equal(getattr(found[-1], field), wanted)


def test_concepts_of_another_source(tmp_path: Path) -> None:
    """scikit-learn's KMeans on the tokens, stored on the token grid; effects are the known ones."""
    from sklearn.cluster import KMeans as OtherKMeans

    adapter = additive_adapter()
    run = vtcd_ops.discover(
        adapter, samples(), out=tmp_path / "run", parts=["values"], progress=False
    )
    supports: dict[tuple[str, int], list[np.ndarray]] = {}
    centers: dict[tuple[str, int], list[np.ndarray]] = {}
    clips = torch.stack([adapter.preprocess(np.asarray(s.video)) for s in samples()])
    for layer, values in vtcd_ops.capture(adapter, clips, parts=("values",))["values"].items():
        labels = []
        centers["values", layer] = []
        for head in range(2):
            tokens = values[:, head].flatten(0, 1).numpy()
            fitted = OtherKMeans(3, n_init=1, random_state=0).fit(tokens)
            labels.append(fitted.labels_.reshape(4, 2, 4, 4))
            centers["values", layer].append(fitted.cluster_centers_)
        supports["values", layer] = list(np.stack(labels, axis=1))
    stored = vtcd_ops.store_concepts(
        tmp_path / "kmeans", run, supports, centers, method="KMeans of tokens"
    )
    found = vtcd_ops.rank(stored, adapter, samples(), method="occlusion", **FAST)
    expected = mean_over_videos(true_effects(adapter, stored, found))
    np.testing.assert_allclose(found.value, expected, atol=1e-6)
    # the same supports on a grid eight times as fine
    fine = {
        site: [v.repeat(8, axis=2).repeat(8, axis=3).repeat(2, axis=1) for v in volumes]
        for site, volumes in supports.items()
    }
    blocks = vtcd_ops.store_concepts(tmp_path / "fine", run, fine, centers, method="blocks")
    same = vtcd_ops.rank(blocks, adapter, samples(), method="occlusion", **FAST)
    np.testing.assert_allclose(same.value, found.value, atol=1e-7)
    with pytest.raises(InputError, match="whose concepts were made elsewhere"):
        vtcd_ops.rank(stored, adapter, [moving_square(seed=9)], assign=True, **FAST)


def test_random_crops(tmp_path: Path) -> None:
    """The paper's baseline for proposals is ranked like any other run."""
    adapter = additive_adapter()
    run = vtcd_ops.discover(
        adapter, samples(), out=tmp_path, parts=["values"], proposals="random_crops", progress=False
    )
    found = vtcd_ops.rank(run, adapter, samples(), method="occlusion", **FAST)
    expected = mean_over_videos(true_effects(adapter, run, found))
    np.testing.assert_allclose(found.value, expected, atol=1e-6)


def test_the_model_names_its_ratio(example: tuple[ProjectionAdapter, Run]) -> None:
    """Half of the units by default; what the adapter says; what the caller says."""
    adapter, run = example
    ask = {**FAST, "num_masks": 16}
    ratios = [vtcd_ops.rank(run, adapter, samples(), name="half", **ask).settings["ratio"]]
    adapter.cris_ratio = 0.95
    ratios.append(vtcd_ops.rank(run, adapter, samples(), name="most", **ask).settings["ratio"])
    own = vtcd_ops.rank(run, adapter, samples(), name="own", ratio=0.25, **ask)
    del adapter.cris_ratio
    assert [*ratios, own.settings["ratio"]] == [0.5, 0.95, 0.25]


def test_layers_and_heads_of_an_order() -> None:
    """Equation 8, by hand: ranks 0, 3 | 1, 2 of four units in two layers."""
    units = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]])
    value = np.array([4.0, np.nan, 3.0, 2.0])
    nothing = np.zeros(4)
    settings = {"method": "occlusion", "units": "concepts", "metric": "logit"}
    found = Importance(
        "x", settings, {"units": units}, "mean", value, nothing, nothing,
        reliability=float("nan"), r2=float("nan"),
    )  # fmt: skip
    assert found.order.tolist() == [0, 2, 3, 1]  # a unit without a value comes last
    assert found.rank.tolist() == [0, 3, 1, 2]
    assert found.share.tolist() == [1.0, 0.25, 0.75, 0.5]
    assert found.per_layer() == {0: (4 + 1) / 2 / 4, 1: (3 + 2) / 2 / 4}
    assert found.per_head() == {(0, 0): 1.0, (0, 1): 0.25, (1, 0): 0.625}


def test_uniqueness_of_heads(additive: tuple[ProjectionAdapter, Run], tmp_path: Path) -> None:
    """0 for twins; by hand for halves against quarters."""
    _, run = additive
    halves = np.repeat([0, 1], 16).reshape(2, 4, 4)
    quarters = np.repeat([0, 1, 2, 3], 8).reshape(2, 4, 4)

    def unique(*heads: np.ndarray) -> list[float]:
        stored = vtcd_ops.store_concepts(
            tmp_path / str(len(list(tmp_path.iterdir()))),
            run,
            {("values", 0): [np.stack(heads)] * 4},
            {("values", 0): [np.zeros((int(head.max()) + 1, 8)) for head in heads]},
            method="by hand",
        )
        return list(vtcd_ops.head_uniqueness(stored).values())

    assert unique(halves, halves) == [0.0, 0.0]
    assert unique(halves, quarters) == [0.5, 0.5]  # each quarter is half of a half
    assert unique(halves, quarters, 1 - halves) == [0.0, 0.5, 0.0]
    assert unique(halves) == [1.0]
