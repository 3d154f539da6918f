"""Which models of transformers `auto:` takes: tiny random ones, and what becomes of each.

    python benchmarks/auto_models.py [NAME ...]

Every model is made from its configuration with random weights, wrapped by `AutoAdapter` and proved
by `check_adapter` as a checkpoint would be; the table says how its tokens stand, or why it is
refused. The frames of video models, and the sides of all grids, are chosen to differ.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from _harness import machine
from vtcd_hf_video.auto.adapter import wrap

from vtcd_ops.adapters import InputError

RESULTS = Path(__file__).parent / "results/auto_models.json"
WIDTH = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
SEES = {**WIDTH, "image_size": 32, "patch_size": 8}
TEXT = {**WIDTH, "vocab_size": 64, "max_position_embeddings": 64, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
MERGES = {"depth": 2, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2,
          "temporal_patch_size": 2}  # fmt: skip


def made(kind: str, config_class: str, *, make: str = "{}Model", **entries: Any) -> Any:
    """Return a model with random weights, every parameter drawn, in evaluation mode."""
    config = getattr(transformers, f"{kind}{config_class}")(**entries)
    model = getattr(transformers, make.format(kind))(config)
    for parameter in model.parameters():  # some start at zero, which would hide what they do
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def llava() -> Any:
    """A model of vision and language, of which the part that sees is taken."""
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SEES),
        text_config=transformers.LlamaConfig(**TEXT),
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


def qwen2_vl() -> Any:
    """The same, whose part that sees takes patches of all clips in one row."""
    config = transformers.Qwen2VLConfig(
        vision_config={**MERGES, "embed_dim": 32, "hidden_size": 32},
        text_config={**TEXT, "num_key_value_heads": 4,
                     "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2],
                                         "rope_theta": 1e4}},
    )  # fmt: skip
    return transformers.Qwen2VLForConditionalGeneration(config).eval()


def pe_video() -> Any:
    """A video model on top of an image classifier; here a ViT, since published ones need timm."""
    vision = transformers.ViTConfig(**SEES, num_labels=16)
    entries = {**WIDTH, "head_dim": 8, "vision_config": vision}
    return made("PeVideo", "EncoderConfig", make="{}Encoder", **entries)


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "ViT": (lambda: made("ViT", "Config", make="{}ForImageClassification", **SEES), {}),
    "DeiT": (lambda: made("DeiT", "Config", **SEES), {}),
    "BEiT": (lambda: made("Beit", "Config", use_relative_position_bias=True, **SEES), {}),
    "CLIP vision": (lambda: made("CLIP", "VisionConfig", make="{}VisionModel", **SEES), {}),
    "SigLIP": (lambda: made("Siglip", "VisionConfig", make="{}VisionModel", **SEES), {}),
    "SigLIP 2": (
        lambda: made("Siglip2", "VisionConfig", make="{}VisionModel", **WIDTH, patch_size=8,
                     num_patches=16),
        {"image_size": "24x32"},
    ),
    "DINOv2 with registers": (
        lambda: made("Dinov2WithRegisters", "Config", num_register_tokens=3, **SEES), {}),
    "DINOv3": (lambda: made("DINOv3ViT", "Config", num_register_tokens=2, **SEES), {}),
    "InternVL vision": (
        lambda: made("InternVL", "VisionConfig", make="{}VisionModel",
                     **{**SEES, "image_size": (32, 32), "patch_size": (8, 8)}), {}),
    "InternVL vision, normalised queries": (
        lambda: made("InternVL", "VisionConfig", make="{}VisionModel", use_qk_norm=True,
                     **{**SEES, "image_size": (32, 32), "patch_size": (8, 8)}), {}),
    "LLaVA": (llava, {}),
    "Qwen2-VL": (qwen2_vl, {"num_frames": 4, "image_size": "16x24"}),
    "Qwen2.5-VL vision": (
        lambda: made("Qwen2_5_VL", "VisionConfig", make="Qwen2_5_VisionTransformerPretrainedModel",
                     **MERGES, hidden_size=32, intermediate_size=64, out_hidden_size=32,
                     window_size=16, fullatt_block_indexes=[1]),
        {"num_frames": 4, "image_size": "32x48"},
    ),
    "Qwen3-VL vision": (
        lambda: made("Qwen3VL", "VisionConfig", make="{}VisionModel", **MERGES, hidden_size=32,
                     intermediate_size=64, out_hidden_size=32, num_position_embeddings=16,
                     deepstack_visual_indexes=[0]),
        {"num_frames": 4, "image_size": "16x24"},
    ),
    "X-CLIP vision": (
        lambda: made("XCLIP", "VisionConfig", make="{}VisionModel", num_frames=3, **SEES), {}),
    "VideoMAE": (
        lambda: made("VideoMAE", "Config", make="{}ForVideoClassification", num_frames=6, **SEES),
        {},
    ),
    "ViViT": (
        lambda: made("Vivit", "Config", num_frames=6, tubelet_size=[2, 8, 8], image_size=32,
                     **WIDTH), {}),
    "V-JEPA 2": (
        lambda: made("VJEPA2", "Config", crop_size=32, patch_size=8, frames_per_clip=6,
                     hidden_size=48, num_hidden_layers=2, num_attention_heads=2,
                     pred_hidden_size=48, pred_num_attention_heads=2, pred_num_hidden_layers=1),
        {},
    ),
    "VideoPrism": (
        lambda: made("VideoPrism", "VisionConfig", make="{}VisionModel", image_size=32,
                     tubelet_size=[1, 8, 8], num_frames=3, num_spatial_layers=2,
                     num_temporal_layers=1, hidden_size=32, num_attention_heads=4,
                     intermediate_size=64), {}),
    "VideoMT": (
        lambda: made("Videomt", "Config", make="{}ForUniversalSegmentation", num_blocks=1,
                     num_queries=5, **{**SEES, "num_hidden_layers": 3}),
        {"num_frames": 3},
    ),
    "pe_video on a ViT (published ones need timm)": (pe_video, {"num_frames": 3, "image_size": 32}),
    "Swin": (
        lambda: made("Swin", "Config", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2],
                     num_heads=[2, 4], window_size=4), {}),
    "Swin, its grid of 8x8": (
        lambda: made("Swin", "Config", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2],
                     num_heads=[2, 4], window_size=4), {"grid": "8x8"}),
    "SwinV2": (
        lambda: made("Swinv2", "Config", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2],
                     num_heads=[2, 4], window_size=4), {}),
    "TimeSformer": (
        lambda: made("Timesformer", "Config", num_frames=3, **SEES), {}),
    "Hiera": (
        lambda: made("Hiera", "Config", image_size=[32, 32], embed_dim=16, depths=[1, 1],
                     num_heads=[1, 2], patch_size=[7, 7], query_stride=[2, 2],
                     masked_unit_size=[4, 4], num_query_pool=1), {}),
}  # fmt: skip


def row(name: str) -> dict[str, Any]:
    """Return what became of one model."""
    torch.manual_seed(0)
    make, options = MODELS[name]
    model = make()
    begun = time.perf_counter()
    try:
        adapter: Any = wrap(model, name=f"auto:{name}", **options)
    except InputError as error:
        told = str(error).removeprefix(f"auto:{name}: ").removeprefix("auto: ")
        return {"model": name, "class": type(model).__name__, "works": "refused", "taken": told,
                "layout": None, "seconds": time.perf_counter() - begun}  # fmt: skip
    words = adapter.layouts()
    kinds = {told: [layer for layer, each in enumerate(words) if each == told] for told in words}
    layout = "; then ".join(
        told if len(kinds) == 1 else f"{told} ({len(layers)} of {len(words)} layers)"
        for told, layers in kinds.items()
    )
    at = "interface" if type(adapter).__name__ == "AutoAdapter" else "projections"
    grid = "x".join(map(str, adapter.token_grid))
    left = "".join(f". Left out: {layer}: {why}" for layer, why in adapter.skipped.items())
    return {"model": name, "class": type(adapter.model).__name__, "works": "works",
            "taken": f"at the {at}, {adapter.num_layers} layers of {grid} tokens",
            "layout": layout + left, "seconds": time.perf_counter() - begun}  # fmt: skip


def main(names: list[str]) -> None:
    """Wrap the models named, or all, and write the results where it was all."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # no preprocessor configuration: of colours
    rows = []
    for name in names or MODELS:
        rows.append(row(name))
        print(*rows[-1].values(), sep=" | ", flush=True)
    columns = [
        ["model", "model", "{}"],
        ["class", "what runs", "`{}`"],
        ["works", "", "{}"],
        ["taken", "features, or why not", "{}"],
        ["layout", "arrangement found and proved", "{}"],
    ]
    note = (
        f"Tiny random models of transformers {transformers.__version__}, from their configurations."
    )
    if not names:
        result = {"columns": columns, "rows": rows, "note": note, "machine": machine()}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
