"""SAM as what refines masks: a tiny SAM of random weights, and one that paints what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segmentation.moving_object import colour_adapter, moving_square
from torch import Tensor, nn

import vtcd_ops
from vtcd_ops.segmentation import sam_refiner
from vtcd_ops.segmentation.refinement import prompts

SIDE = 64


@pytest.fixture(scope="module")
def tiny() -> Any:
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    return SamModel(
        SamConfig(
            vision_config={
                "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
                "image_size": SIDE, "global_attn_indexes": [0], "num_pos_feats": 16,
                "output_channels": 32,
            },
            prompt_encoder_config={"hidden_size": 32, "image_size": SIDE},
            mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 32},
        )
    ).eval()  # fmt: skip


def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (48, 32, 3)).astype(np.uint8)


def test_masks_are_those_of_transformers_own_processor(tiny: Any) -> None:
    """Box alone: SAM's processor (with Pillow) prepares the frame and resizes the masks."""
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    frame, box = picture(), (4, 6, 20, 30)
    points = np.array([[10.0, 12.0], [11.0, 20.0], [12.0, 15.0]])
    processor = SamImageProcessorPil(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}
    )
    inputs = processor(frame, return_tensors="pt")
    scale = SIDE / 48
    corners = torch.tensor([[[scale * end for end in box]]])
    with torch.no_grad():
        answer = tiny(pixel_values=inputs["pixel_values"], input_boxes=corners)
    expected = processor.post_process_masks(
        answer.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )[0][0]
    found = sam_refiner(tiny)(frame, box, points)
    assert found.shape == (9, 48, 32)
    assert found.dtype == torch.bool
    # Pillow rounds the resized pixels to bytes: a few pixels at an edge may fall otherwise
    assert (found[3:6] != expected).float().mean() < 0.01
    assert expected.any()
    assert not expected.all()


class Painter(nn.Module):
    """Answers a box with the box itself, points with a pixel around each, both with all."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_encoder = self.mask_decoder = None
        self.scale = nn.Parameter(torch.ones(1))
        self.config = type("C", (), {"vision_config": type("V", (), {"image_size": 64})})
        self.num_seen = 0

    def get_image_embeddings(self, pixels: Tensor) -> Tensor:
        assert pixels.shape == (1, 3, 64, 64)
        self.num_seen += 1
        return pixels[:, :, ::4, ::4]

    def forward(
        self,
        image_embeddings: Tensor,
        multimask_output: bool,
        input_boxes: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
    ) -> Any:
        masks = torch.full((1, 1, 3, 64, 64), -1.0)
        if input_boxes is None:
            for x, y in input_points[0, 0].round().int().tolist():
                masks[..., y, x] = 1
        elif input_points is None:
            x0, y0, x1, y1 = input_boxes[0, 0].int().tolist()
            masks[..., y0 : y1 + 1, x0 : x1 + 1] = 1
        return type("Answer", (), {"pred_masks": masks})


def test_a_square_is_refined_by_its_box() -> None:
    """The box around a mask with a hole fills the hole; a frame is looked at once."""
    painter = Painter()
    refine = sam_refiner(painter)
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:30, 20:50] = True
    mask[20, 30] = False
    asked = prompts(mask, frame=0)
    assert asked is not None
    frame = np.zeros((64, 64, 3), dtype=np.uint8)
    masks = refine(frame, *asked)
    whole = np.zeros_like(mask)
    whole[10:30, 20:50] = True
    assert np.array_equal(masks[3].numpy(), whole)
    assert not masks[:3].any()
    assert 1 <= int(masks[6].sum()) <= 3
    refine(frame.copy(), *asked)  # a second object of the same frame
    assert painter.num_seen == 1
    refine(frame + 1, *asked)
    assert painter.num_seen == 2


def test_a_video_with_sam_and_an_empty_frame() -> None:
    """The square covers whole tokens, so its box is the truth; without an object SAM is silent."""
    video, masks = moving_square()
    found = vtcd_ops.segment(
        colour_adapter(), video, masks[0], heads=[("keys", 1, 0)], refine=sam_refiner(Painter())
    )
    plain = vtcd_ops.segment(colour_adapter(), video, masks[0], heads=[("keys", 1, 0)])
    for refined, coarse in zip(found.masks.numpy(), plain.masks.numpy(), strict=True):
        rows, columns = np.nonzero(coarse)
        box = np.zeros_like(coarse)
        if len(rows):
            box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert np.array_equal(refined, box)


def test_a_folder_of_sam_is_loaded(tiny: Any, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path / "sam")
    points = np.array([[10.0, 12.0]])
    there = sam_refiner(tiny)(picture(), (4, 6, 20, 30), points)
    again = sam_refiner(tmp_path / "sam", device="cpu")(picture(), (4, 6, 20, 30), points)
    assert torch.equal(there, again)


def test_what_is_no_sam(tmp_path: Path) -> None:
    with pytest.raises(vtcd_ops.InputError, match="sam_refiner: model expected a transformers"):
        sam_refiner(nn.Linear(2, 2))
    with pytest.raises(vtcd_ops.InputError, match="cannot be loaded"):
        sam_refiner(tmp_path / "nowhere")
