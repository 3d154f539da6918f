"""Names that a text model suggests: the words that fit a concept and not the others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pipeline.report_page import MODEL, Page, write_run
from torch import Tensor

import vtcd_ops
from vtcd_ops import InputError
from vtcd_ops.discovery.foreign import store_concepts
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.reporting.naming import open_namer, scores_against_rest

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


class ByColour:
    """A namer whose features are colours: what it should say is known."""

    name = "colours"
    num_frames = 2

    def clip_features(self, frames: np.ndarray) -> Tensor:
        assert frames.shape[0] == 2
        assert frames.dtype == np.uint8
        return torch.from_numpy(frames.reshape(-1, 3).mean(axis=0))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([COLOURS[text] for text in texts], dtype=torch.float32)


def coloured_run(path: Path) -> vtcd_ops.Run:
    """A head of three concepts, each a square of one colour on grey, in two videos."""
    frames = np.full((4, 32, 32, 3), 90, dtype=np.uint8)
    support = np.full((4, 32, 32), -1)
    for concept, colour in enumerate(COLOURS.values()):
        place = slice(10 * concept + 2, 10 * concept + 10)
        frames[:, place, place], support[:, place, place] = colour, concept
    videos = [
        VideoRecord(
            index=index, name=f"video {index}", source=None, sha256="0" * 64, num_video_frames=4,
            fps=10.0, frame_size=(32, 32), crop=(0.0, 0.0, 32.0, 32.0), frame_indices=(0, 1, 2, 3),
            tubelet_size=1,
        )
        for index in range(2)
    ]  # fmt: skip
    seen = SimpleNamespace(
        model=MODEL, videos=videos, preview=lambda _: frames, expect_kept=lambda caller: None
    )
    supports = {("keys", 0): [np.stack([support] * 2)] * 2}
    centers = {("keys", 0): [np.zeros((3, 4), np.float32)] * 2}
    return store_concepts(path, seen, supports, centers, method="squares")  # type: ignore[arg-type]


def test_each_concept_gets_the_word_of_its_colour(tmp_path: Path) -> None:
    run = coloured_run(tmp_path)
    found = vtcd_ops.suggest_names(run, ByColour(), list(COLOURS), progress=False)
    assert {address: one["name"] for address, one in found.items()} == {
        f"keys-L0-H{head}-C{concept}": name
        for head in (0, 1)
        for concept, name in enumerate(COLOURS)
    }
    assert all(one["by"] == "colours" and one["score"] > 1 for one in found.values())


def test_a_word_that_fits_all_alike_is_none_to_tell_them_by() -> None:
    fits = np.array([[0.9, 0.2], [0.9, 0.1], [0.9, 0.1]])
    scores = scores_against_rest(fits)
    assert (scores[:, 0] == 0).all()
    others = np.array([0.1, 0.15, 0.15])
    np.testing.assert_allclose(scores[:, 1], (fits[:, 1] - others) / fits[:, 1].std())


def test_the_card_shows_a_suggestion_as_one_and_a_given_name_goes_before(tmp_path: Path) -> None:
    run = coloured_run(tmp_path)
    page = Page(
        vtcd_ops.report(
            run, names={"keys-L0-H0-C0": "mine"}, namer=ByColour(), words=list(COLOURS),
            progress=False,
        )
    )  # fmt: skip
    names = page.document["names"]
    assert names["keys-L0-H0-C0"] == "mine"
    assert names["keys-L0-H0-C1"]["name"] == "green"
    assert names["keys-L0-H0-C1"]["by"] == "colours"


def clip_folder(folder: Path) -> Path:
    """A tiny CLIP with random weights, whose words are letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 32, "max_position_embeddings": 12,
                     "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1},
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    letters = {chr(97 + index): index + 3 for index in range(26)}
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "?": 2} | letters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="</s>", eos_token="</s>", unk_token="?"
    ).save_pretrained(folder)
    return folder


def test_a_folder_with_clip_gives_the_features_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    folder = clip_folder(tmp_path / "clip")
    namer = open_namer(folder, "cpu")
    frames = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3)).astype(np.uint8)
    model = CLIPModel.from_pretrained(folder).eval()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((torch.from_numpy(frames) / 255 - mean) / std).permute(0, 3, 1, 2)
    tokens = AutoTokenizer.from_pretrained(folder)(["ab", "c"], padding=True, return_tensors="pt")
    with torch.no_grad():
        answer = model(pixel_values=pixels, **tokens)
    images = answer.image_embeds / answer.image_embeds.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(namer.clip_features(frames), images.mean(dim=0))
    texts = torch.nn.functional.normalize(namer.text_features(["ab", "c"]), dim=-1)
    torch.testing.assert_close(texts, answer.text_embeds)


@pytest.mark.parametrize("kind", ["clip", "internvideo"])
def test_the_command_line_names_concepts(tmp_path: Path, kind: str) -> None:
    run = write_run(tmp_path / "run", num_videos=2, concepts=(2,))
    namer = str(clip_folder(tmp_path / "clip")) if kind == "clip" else "internvideo:mini"
    words = ["ab", "cd", "ef"] if kind == "clip" else ["a red ball", "a blue box", "a wall"]
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n\n", encoding="utf-8")
    command = [sys.executable, "-m", "vtcd_ops.cli", "--json", "report", str(run.path)]
    command += ["--namer", namer, "--words", str(tmp_path / "words.txt")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "report.html" in json.loads(answer)["lines"][0]
    names = Page(run.path / "report.html").document["names"]
    assert len(names) == len(run.units())
    assert {one["name"] for one in names.values()} <= set(words)
    assert {one["by"] for one in names.values()} == {"clip" if kind == "clip" else namer}


def test_what_cannot_name_is_refused(tmp_path: Path) -> None:
    run = coloured_run(tmp_path)
    with pytest.raises(InputError, match="at least 2 texts, got 1"):
        vtcd_ops.suggest_names(run, ByColour(), ["red", " red "])
    with pytest.raises(InputError, match="words expected a text file"):
        vtcd_ops.suggest_names(run, ByColour(), tmp_path / "none.txt")
    with pytest.raises(InputError, match="namer and words expected together"):
        vtcd_ops.report(run, namer=ByColour())
    with pytest.raises(InputError, match="mini, which has no features of texts"):
        vtcd_ops.suggest_names(run, "hf_videomae:mini", ["red", "green"])
