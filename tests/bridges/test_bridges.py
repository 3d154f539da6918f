"""Bridges to other packages, each against the package itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.bridges import (
    Game,
    attribution,
    export_coco,
    feature_mask,
    from_pretrained,
    package_masked_model,
    push_to_hub,
    rank_with,
    read_dictionary,
    save_pretrained,
    store_dictionary,
)
from vtcd_ops.common.errors import InputError

SIZE = (4, 32, 32)


@pytest.fixture(scope="module")
def samples() -> list[vtcd_ops.Sample]:
    draw = np.random.default_rng(0)
    return [
        vtcd_ops.Sample(draw.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8), label=1)
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def run(samples: list[vtcd_ops.Sample], tmp_path_factory: pytest.TempPathFactory) -> vtcd_ops.Run:
    out = tmp_path_factory.mktemp("run") / "run"
    return vtcd_ops.discover(example_adapter(), samples, out=out, progress=False)


def ranked(run: vtcd_ops.Run, samples: Any, attribute: Any, **options: Any) -> vtcd_ops.Importance:
    return rank_with(
        attribute, run, example_adapter(), samples, "logit", progress=False, dtype="float32",
        overwrite=True, **{"units": "heads", **options},
    )  # fmt: skip


def exact_shapley(game: Game) -> np.ndarray:
    """The definition, over all coalitions."""
    n = game.num_players
    rows = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    scores = game(rows.astype(bool))
    values = np.zeros(n)
    for player in range(n):
        for row in np.flatnonzero(rows[:, player] == 0):
            gain = scores[row + 2**player] - scores[row]
            size = int(rows[row].sum())
            values[player] += gain / (n * _choose(n - 1, size))
    return values


def _choose(n: int, k: int) -> float:
    return float(np.prod([(n - i) / (i + 1) for i in range(k)]))


def test_shapiq_plays_the_game(run: vtcd_ops.Run, samples: Any) -> None:
    """Its exact Shapley values are those of the definition, and its estimates come near."""
    shapiq = pytest.importorskip("shapiq")

    def kernel(game: Game) -> np.ndarray:
        found = shapiq.KernelSHAP(n=game.num_players, random_state=0).approximate(2**6, game)
        return np.array([found[(player,)] for player in range(game.num_players)])

    theirs = ranked(run, samples, kernel, method="kernel-shap")
    ours = ranked(run, samples, exact_shapley, method="shapley")
    assert theirs.value.shape == (6,)
    np.testing.assert_allclose(theirs.value, ours.value, atol=1e-5)
    assert {"kernel-shap-logit-heads", "shapley-logit-heads"} <= set(run.importances())


def test_captum_attributes_to_units(run: vtcd_ops.Run, samples: Any) -> None:
    """Ablation is our occlusion, and gradients flow: integrated gradients are ours too."""
    captum = pytest.importorskip(
        "captum.attr", reason="captum is not installed: NOT tested with it"
    )

    def ablation(game: Game) -> Tensor:
        kept = torch.ones(1, game.num_players)
        return captum.FeatureAblation(game).attribute(kept, baselines=0.0)

    def integrated(game: Game) -> Tensor:
        kept = torch.ones(1, game.num_players)
        method = captum.IntegratedGradients(game)
        return method.attribute(kept, baselines=0.0, n_steps=32, method="riemann_middle")

    model = example_adapter()
    common: Any = {"units": "heads", "progress": False, "dtype": "float32"}
    occlusion = vtcd_ops.rank(run, model, samples, "logit", method="occlusion", **common)
    found = ranked(run, samples, ablation, method="captum-ablation")
    np.testing.assert_allclose(found.value, occlusion.value, atol=1e-6)
    gradients = vtcd_ops.rank(run, model, samples, "logit", method="integrated_gradients", **common)
    found = ranked(run, samples, integrated, method="captum-gradients")
    np.testing.assert_allclose(found.value, gradients.value, atol=1e-4)


def test_captum_ablates_tubelets(run: vtcd_ops.Run, samples: Any) -> None:
    """A tubelet's attribution is what the model loses without its pixels."""
    captum = pytest.importorskip(
        "captum.attr", reason="captum is not installed: NOT tested with it"
    )
    model = example_adapter()
    mask = feature_mask(run, 0, 2, 1, SIZE)
    labels = run.labels(0, 2)[1]
    assert mask.unique().tolist() == list(range(len(np.unique(labels))))
    clip = model.preprocess(samples[0].video)[None]
    with torch.no_grad():
        found = captum.FeatureAblation(model.forward).attribute(
            clip, target=1, feature_mask=mask, baselines=0.0
        )
        for label in mask.unique():
            where = (mask == label).expand_as(clip)
            lost = (model.forward(clip) - model.forward(clip.masked_fill(where, 0.0)))[0, 1]
            torch.testing.assert_close(
                found[where], lost.expand(int(where.sum())), atol=1e-5, rtol=0
            )


def test_importance_as_an_attribution(run: vtcd_ops.Run, samples: Any) -> None:
    """Every voxel has the sum of its concepts' values."""
    importance = vtcd_ops.rank(
        run, example_adapter(), samples, "logit", num_masks=32, progress=False, dtype="float32"
    )
    found = attribution(importance, run, 1, SIZE)
    assert found.shape == (1, 4, 1, 32, 32)
    value = {
        tuple(unit): v for unit, v in zip(importance.units.tolist(), importance.value, strict=True)
    }
    shape = run.support(1, 0, 0).shape
    for t, y, x in ((0, 0, 0), (1, 20, 7), (3, 31, 31)):
        place = t * shape[0] // 4, y * shape[1] // 32, x * shape[2] // 32
        expected = 0.0
        for layer in run.layers:
            for head in run.heads:
                concept = int(run.support(1, layer, head)[place])
                expected += value[layer, head, concept] if concept >= 0 else 0.0
        assert float(found[0, t, 0, y, x]) == pytest.approx(expected, abs=1e-9)
    heads = ranked(run, samples, lambda game: np.zeros(game.num_players), method="nothing")
    with pytest.raises(InputError, match="importance expected of concepts, got of heads"):
        attribution(heads, run, 0, SIZE)


def test_numbers_that_are_none(run: vtcd_ops.Run, samples: Any) -> None:
    with pytest.raises(InputError, match="expected to return 6 finite numbers, one a player"):
        ranked(run, samples, lambda game: np.zeros(3), method="short")
    with pytest.raises(InputError, match=r"kept expected \[M, 6\], got \[1, 2\]"):
        ranked(run, samples, lambda game: game(np.ones((1, 2), bool)), method="wrong")
    with pytest.raises(InputError, match="method expected a name of its own, got 'cris'"):
        ranked(run, samples, lambda game: np.zeros(6), method="cris")


def test_supports_as_coco(run: vtcd_ops.Run, tmp_path: Path) -> None:
    """pycocotools reads back the masks that the run holds, with its areas and boxes."""
    from pycocotools import mask as coco

    export_coco(run, tmp_path / "supports.json", layers=[1])
    document = json.loads((tmp_path / "supports.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert len(document["videos"]) == 2
    seen = set()
    for annotation in document["annotations"]:
        _, layer, _, head, _, concept = names[annotation["category_id"]].split()
        support = run.support(annotation["video_id"] - 1, int(layer), int(head)) == int(concept)
        for frame, encoded in enumerate(annotation["segmentations"]):
            if encoded is None:
                assert not support[frame].any()
                continue
            packed = coco.frPyObjects(encoded, *encoded["size"])
            np.testing.assert_array_equal(coco.decode(packed).astype(bool), support[frame])
            assert coco.area(packed) == annotation["areas"][frame]
            np.testing.assert_array_equal(coco.toBbox(packed), annotation["bboxes"][frame])
        seen.add((annotation["video_id"], annotation["category_id"]))
    units = [unit for unit in run.units().tolist() if unit[0] == 1]
    expected = sum(
        bool((run.support(video, layer, head) == concept).any())
        for video in range(2) for layer, head, concept in units
    )  # fmt: skip
    assert len(seen) == len(document["annotations"]) == expected


def test_a_sparse_autoencoder_as_concepts(run: vtcd_ops.Run, samples: Any, tmp_path: Path) -> None:
    """The files of SAELens, encoded as its equations say, and ranked like any concepts."""
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (8, 12), "b_enc": (12,), "W_dec": (12, 8), "b_dec": (8,)}
    state = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    folder = tmp_path / "sae"
    folder.mkdir()
    save_file(state, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": 8, "d_sae": 12, "apply_b_dec_to_input": True,
              "normalize_activations": "none"}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    model = example_adapter()
    options: dict[str, Any] = {"model": model, "samples": samples, "most": 5}
    stored = store_dictionary(tmp_path / "stored", run, folder, layer=2, head=1, **options)
    clips = torch.stack([model.preprocess(sample.video) for sample in samples])
    keys = vtcd_ops.capture(model, clips, layers=[2], heads=[1])["keys"][2][:, 0].numpy()
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    active = np.maximum((keys - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"], 0)
    kept = np.argsort(-active.sum(axis=(0, 1)))[:5]
    np.testing.assert_allclose(stored.concepts(2, 1).centers, weights["W_dec"][kept], rtol=1e-6)
    for video in range(2):
        winner = active[video].argmax(axis=1)
        expected = [list(kept).index(one) if one in kept else -1 for one in winner]
        assert stored.support(video, 2, 1).flatten().tolist() == expected
        assert (stored.support(video, 2, 0) == -1).all()
    importance = vtcd_ops.rank(
        stored, model, samples, "logit", num_masks=32, progress=False, dtype="float32"
    )
    assert np.nanmax(np.abs(importance.value)) > 0


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"architecture": "gated"}, {}, "expected an architecture among standard, .* got 'gated'"),
        ({"normalize_activations": "layer_norm"}, {}, "normalises what it encodes"),
        ({}, {"other": (2, 2)}, r"expected W_dec or dictionary \[K, D\], got other"),
        ({}, {"W_dec": (3, 2), "b_dec": (3,)}, r"b_dec expected \[2\] beside vectors \[3, 2\]"),
    ],
)
def test_dictionaries_that_are_none(
    tmp_path: Path, config: dict[str, str], tensors: dict[str, Any], message: str
) -> None:
    from safetensors.torch import save_file

    state = {name: torch.zeros(shape) for name, shape in tensors.items()}
    save_file(state, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        read_dictionary(tmp_path)


def test_a_top_k_dictionary_without_an_encoder(tmp_path: Path) -> None:
    """A dictionary alone, as overcomplete saves one: what points the same way is active."""
    from safetensors.torch import save_file

    save_file({"dictionary": torch.eye(4)[:3] * 2}, tmp_path / "d.safetensors")
    found = read_dictionary(tmp_path / "d.safetensors")
    assert found.encode(torch.tensor([[3.0, -1.0, 0.5, 9.0]])).tolist() == [[3.0, 0.0, 0.5]]


def test_a_run_on_the_hub(
    run: vtcd_ops.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is uploaded is a folder that loads, with a card that the Hub's client reads."""
    import huggingface_hub

    folder = save_pretrained(run, tmp_path / "folder", license="mit", tags=("miniature",))
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    assert card.data.library_name == "vtcd_ops"
    assert card.data.license == "mit"
    assert "miniature" in card.data.tags
    assert f"{len(run.units())} concepts in the keys" in card.text
    moved = shutil.move(folder, tmp_path / "moved")
    there = from_pretrained(moved)
    assert there.units().tolist() == run.units().tolist()
    np.testing.assert_array_equal(there.support(1, 2, 0), run.support(1, 2, 0))
    with pytest.raises(InputError, match="exists: name a new folder"):
        save_pretrained(run, moved)

    asked: list[Any] = []
    monkeypatch.setattr(
        huggingface_hub.HfApi, "create_repo", lambda self, *a, **k: asked.append((a, k))
    )

    def upload(self: Any, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        shutil.copytree(folder_path, tmp_path / "uploaded")
        return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert push_to_hub(run, "owner/concepts") == "https://huggingface.co/owner/concepts"
    assert asked == [(("owner/concepts",), {"private": True, "exist_ok": True})]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: tmp_path / "uploaded")
    assert from_pretrained("owner/concepts").units().tolist() == run.units().tolist()
    with pytest.raises(InputError, match=r"is no folder and no Hub id"):
        from_pretrained("./nowhere")


@pytest.mark.slow
def test_a_masked_model_ahead_of_time(tmp_path: Path) -> None:
    """The package gives what the model gives under the same masks."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: a masked model under AOTInductor was NOT tested")
    model = example_adapter()
    path = package_masked_model(model, tmp_path / "masked.pt2", [1, 2], batch=2, num_units=3)
    loaded = torch._inductor.aoti_load_package(str(path))
    draw = torch.Generator().manual_seed(0)
    clips = torch.rand(2, *(4, 3, 32, 32), generator=draw)
    assign = torch.randint(-1, 3, (2, 2, 2, 32), generator=draw, dtype=torch.int32)
    for _ in range(2):
        keep = torch.rand(2, 3, generator=draw) > 0.5

        def removed(part: str, layer: int, features: Tensor, keep: Tensor = keep) -> Tensor:
            mine = assign[layer - 1]  # [B, A, N]
            whole = torch.cat([keep, torch.ones(2, 1, dtype=torch.bool)], dim=1)
            return features * torch.stack([whole[b][mine[b].long()] for b in range(2)])[..., None]

        with torch.no_grad(), vtcd_ops.edit(model, removed, layers=[1, 2]):
            expected = model.forward(clips)
        torch.testing.assert_close(loaded(clips, assign, keep), expected, atol=1e-5, rtol=1e-5)
