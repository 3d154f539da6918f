# SPDX-License-Identifier: MIT
"""The video-text miniature: its sizes and its captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer as Encoding
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor
from vtcd_internvideo.adapter import CLIP_MEAN, CLIP_STD

from zoo.frame_targets import GRID, NUM_FRAMES, PATCH

FRAME_STEP = 2  # every other frame of a clip of 16
CONTEXT_LENGTH = 20  # tokens of a text
APPEARANCE_WORDS = 3  # "a striped ball", then what it does
PREPROCESSOR = {
    "size": {"shortest_edge": GRID * PATCH},
    "crop_size": {"height": GRID * PATCH, "width": GRID * PATCH},
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
    "resample": 2,
    "sampling_rate": FRAME_STEP,
}
MIRRORED = {"left": "right", "right": "left"}


def configuration(vocab_size: int) -> dict:
    """8 frames of 64 x 64, 6 layers of 4 heads of 32, a decoder behind the last four."""
    return {
        "visual": {
            "input_resolution": GRID * PATCH, "patch_size": PATCH,
            "width": 128, "layers": 6, "heads": 4, "output_dim": 128,
            "return_list": [2, 3, 4, 5], "n_layers": 4, "n_dim": 128, "n_head": 4,
            "mlp_dropout": 0.0,
        },
        "text": {
            "embed_dim": 128, "context_length": CONTEXT_LENGTH, "vocab_size": vocab_size,
            "transformer_width": 128, "transformer_heads": 4, "transformer_layers": 2,
        },
        "t_size": NUM_FRAMES,
        # 1 / sqrt(width) is .09; the published .02 suits a width of 768.
        "initializer_range": 0.06,
    }  # fmt: skip


def normalise(frames: Tensor) -> Tensor:
    """Frames uint8 [B, T, H, W, 3] as the model takes them, float [B, 3, T, H, W]."""
    inputs = frames.permute(0, 4, 1, 2, 3).contiguous().float()  # contiguous while it is small
    mean, std = (torch.tensor(value)[:, None, None, None] for value in (CLIP_MEAN, CLIP_STD))
    return inputs.mul_(1 / (255 * std)).sub_(mean / std)


def learn_merges(captions: Sequence[str]) -> list[str]:
    """Byte-pair merges that make every word of the captions one token, each "left right"."""
    encoding = Encoding(models.BPE(end_of_word_suffix="</w>"))
    encoding.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    encoding.train_from_iterator(sorted(set(captions)), trainer)
    return [" ".join(pair) for pair in json.loads(encoding.to_str())["model"]["merges"]]


@dataclass(frozen=True)
class Captions:
    """All captions that a split uses and their mirror images, in alphabetical order."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, captions: Sequence[str]) -> Captions:
        """Collect different captions."""
        return cls(tuple(sorted({text for one in captions for text in (one, mirror(one))})))

    def numbers(self, captions: Sequence[str]) -> Tensor:
        """Position of each caption, [n]."""
        position = {text: number for number, text in enumerate(self.texts)}
        return torch.tensor([position[text] for text in captions])


def mirror(caption: str) -> str:
    """What the caption would be if the clip were mirrored."""
    return " ".join(MIRRORED.get(word, word) for word in caption.split())


def appearance(caption: str) -> str:
    """The words that say what is seen, "a striped ball"."""
    return " ".join(caption.split()[:APPEARANCE_WORDS])


def motion(caption: str) -> str:
    """The words that say what it does, "is lifted up"."""
    return " ".join(caption.split()[APPEARANCE_WORDS:])
