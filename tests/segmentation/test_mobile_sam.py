"""The example that puts MobileSAM's encoder in front of SAM's decoder: weights, windows, masks."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from vtcd_ops.segmentation import sam_refiner
from vtcd_ops.segmentation.refinement import prompts
from vtcd_ops.vos_metrics import region_similarity

EXAMPLE = Path(__file__).parents[2] / "examples/mobile_sam.py"
DATA = Path(os.environ.get("VTCD_DATA", "/nonexistent"))
WEIGHTS = DATA / "weights/mobile_sam/mobile_sam.pt"

# What SAM's own checkpoints call what transformers calls otherwise: the decoder's and the prompts'.
TRANSFORMER = "mask_decoder.transformer"
CALLED = {
    "prompt_encoder.shared_embedding.positional_embedding":
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    **{f"prompt_encoder.point_embed.{n}.weight": f"prompt_encoder.point_embeddings.{n}.weight"
       for n in range(4)},
    **{f"prompt_encoder.mask_embed.{ours}.{kind}": f"prompt_encoder.mask_downscaling.{n}.{kind}"
       for ours, n in (("conv1", 0), ("layer_norm1", 1), ("conv2", 3), ("layer_norm2", 4),
                       ("conv3", 6))
       for kind in ("weight", "bias")},
    **{f"{TRANSFORMER}.layers.{layer}.layer_norm{n}.{kind}":
       f"{TRANSFORMER}.layers.{layer}.norm{n}.{kind}"
       for layer in range(2) for n in range(1, 5) for kind in ("weight", "bias")},
    **{f"{TRANSFORMER}.layer_norm_final_attn.{kind}": f"{TRANSFORMER}.norm_final_attn.{kind}"
       for kind in ("weight", "bias")},
    **{f"mask_decoder.{ours}.{kind}": f"mask_decoder.output_upscaling.{n}.{kind}"
       for ours, n in (("upscale_conv1", 0), ("upscale_layer_norm", 1), ("upscale_conv2", 3))
       for kind in ("weight", "bias")},
    **{f"mask_decoder.{head}.{ours}.{kind}": f"mask_decoder.{head}.layers.{n}.{kind}"
       for head in (*(f"output_hypernetworks_mlps.{m}" for m in range(4)), "iou_prediction_head")
       for n, ours in enumerate(("proj_in", "layers.0", "proj_out"))
       for kind in ("weight", "bias")},
}  # fmt: skip


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("mobile_sam_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(example: Any) -> Any:
    """A MobileSAM of random weights, and the same weights as its checkpoint names them."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    small = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 1}
    model = SamModel(SamConfig(vision_config=small))
    model.vision_encoder = example.TinyViT()
    model.shared_image_embedding.positional_embedding = (
        model.prompt_encoder.shared_embedding.positional_embedding
    )
    return model.eval()


def as_stored(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    stored = {"image_encoder.head.weight": torch.ones(3), "image_encoder.norm_head.bias": state[
        "mask_decoder.iou_token.weight"]}  # fmt: skip
    for name, tensor in state.items():
        if name.startswith("vision_encoder."):
            stored[name.replace("vision_encoder.", "image_encoder.")] = tensor
        elif name != "shared_image_embedding.positional_embedding":  # stored once
            stored[CALLED.get(name, name)] = tensor
    return stored


def test_every_weight_comes_to_its_place(example: Any, drawn: Any, tmp_path: Path) -> None:
    state = drawn.state_dict()
    stored = as_stored(state)
    assert not set(CALLED.values()) - set(stored)
    torch.save(stored, tmp_path / "mobile_sam.pt")
    loaded = example.load_mobile_sam(tmp_path / "mobile_sam.pt")
    assert not loaded.training
    found = loaded.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    del stored["mask_decoder.iou_token.weight"]
    torch.save(stored, tmp_path / "less.pt")
    with pytest.raises(RuntimeError, match=r"mask_decoder\.iou_token"):
        example.load_mobile_sam(tmp_path / "less.pt")


def test_attention_is_within_windows(example: Any) -> None:
    """Window by window, with the bias of each distance; what pads a plane is seen, but cut off."""
    torch.manual_seed(0)
    block = example.Block(12, 3, 4)
    torch.nn.init.normal_(block.attn.attention_biases)
    plane = torch.randn(1, 12, 6, 7)
    expected = torch.zeros(12, 8, 8)
    padded = functional.pad(plane, (0, 1, 0, 2))[0]
    for top in (0, 4):
        for left in (0, 4):
            tokens = padded[:, top : top + 4, left : left + 4].flatten(1).T
            q, k, v = block.attn.qkv(block.attn.norm(tokens)).reshape(16, 3, 3, 4).unbind(2)
            answer = torch.zeros(16, 3, 4)
            for head in range(3):
                for i in range(16):
                    logits = torch.stack([q[i, head] @ k[j, head] / 2 for j in range(16)])
                    bias = [
                        block.attn.attention_biases[head, abs(i // 4 - j // 4) * 4
                                                    + abs(i % 4 - j % 4)]
                        for j in range(16)
                    ]  # fmt: skip
                    answer[i, head] = (logits + torch.stack(bias)).softmax(0) @ v[:, head]
            mixed = block.attn.proj(answer.flatten(1)).T.reshape(12, 4, 4)
            expected[:, top : top + 4, left : left + 4] = mixed
    with torch.no_grad():
        torch.testing.assert_close(block._attend(plane)[0], expected[:, :6, :7].detach())


def test_a_frame_is_encoded_once(drawn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[torch.Size] = []
    whole = drawn.vision_encoder.forward

    def counted(pixel_values: torch.Tensor, **more: Any) -> Any:
        encoded.append(pixel_values.shape)
        return whole(pixel_values, **more)

    monkeypatch.setattr(drawn.vision_encoder, "forward", counted)
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    refine = sam_refiner(drawn)
    for box in ((4, 4, 20, 20), (30, 10, 60, 40)):
        middle = np.array([[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]] * 3)
        masks = refine(frame, box, middle)
        assert (masks.shape, masks.dtype) == ((9, 48, 64), torch.bool)
    assert encoded == [(1, 3, 1024, 1024)]


def test_it_finds_a_real_object(example: Any) -> None:
    """The swan of DAVIS, from its box and three points."""
    folder = DATA / "davis16/blackswan"
    if not WEIGHTS.is_file() or not folder.is_dir():
        pytest.skip("real weights: VTCD_DATA names no folder with weights/mobile_sam and davis16/")
    frame = np.asarray(Image.open(sorted((folder / "frames").iterdir())[0]).convert("RGB"))
    truth = np.asarray(Image.open(sorted((folder / "masks").iterdir())[0]).convert("L")) > 127
    asked = prompts(truth, frame=0)
    assert asked is not None
    masks = sam_refiner(example.load_mobile_sam(WEIGHTS))(frame, *asked).numpy()
    overlap = region_similarity(masks, np.broadcast_to(truth, masks.shape))
    assert overlap[:3].max() > 0.9  # box and points
    assert overlap[3:6].max() > 0.9  # the box
