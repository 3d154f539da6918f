"""The tokenizer: CLIP's encoding, in upstream's order of tokens."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from vtcd_internvideo import Tokenizer
from vtcd_internvideo.tokenizer import read_merges, write_merges

import vtcd_ops

MERGES = ["b a", "l l</w>", "ba ll</w>", "i n"]
SIZE = 514 + len(MERGES)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # bytes from "!" on count from 0, those that end a word from 256 on; merges from 512 on
        ("ball", [514]),
        ("Ball  BALL\n", [514, 514]),
        ("a!", [256 + ord("a") - ord("!"), 256]),
        ("in", [ord("i") - ord("!"), 256 + ord("n") - ord("!")]),  # a word ends, no merge
        ("int", [515, 256 + ord("t") - ord("!")]),
        ("12", [256 + ord("1") - ord("!"), 256 + ord("2") - ord("!")]),  # digits stand alone
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[int]) -> None:
    rows = Tokenizer.from_merges(MERGES, context_length=9)([text])
    assert rows.dtype == torch.int64
    expected = [SIZE - 2, *tokens, SIZE - 1]
    assert rows.tolist() == [expected + [0] * (9 - len(expected))]


def test_every_byte_has_a_token() -> None:
    tokens = Tokenizer.from_merges(MERGES)(["Ünïcödé 日本語 🙂"])
    assert int((tokens > 0).sum()) > 20
    assert int(tokens.max()) == SIZE - 1


@pytest.mark.parametrize("name", ["merges.txt", "merges.txt.gz"])
def test_lists_of_merges(tmp_path: Path, name: str) -> None:
    path = tmp_path / "merges.txt"
    write_merges(path, [*MERGES, "z z"])
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    assert read_merges(tmp_path / name) == [*MERGES, "z z"]
    # longer than the model's vocabulary, as the published list is: the rest is left out
    tokenizer = Tokenizer.from_source(tmp_path / name, 9, SIZE)
    assert torch.equal(tokenizer(["ball"]), Tokenizer.from_merges(MERGES, 9)(["ball"]))


def test_folders(tmp_path: Path) -> None:
    write_merges(tmp_path / "merges.txt", MERGES)
    own = Tokenizer.from_source(tmp_path, 9, SIZE)
    saved = tmp_path / "saved"
    own.clip_tokenizer.save_pretrained(saved)
    assert torch.equal(Tokenizer.from_source(saved, 9, SIZE)(["a ball"]), own(["a ball"]))


def test_what_is_no_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "text.txt").write_text("#version\none two three\n")
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    write_merges(tmp_path / "short.txt", MERGES)
    for name, message in (
        ("text.txt", "expected two parts on every line"),
        ("broken.gz", "is no list of merges"),
        ("short.txt", f"expected 49408 tokens, the model's, got {SIZE}"),
        ("absent.txt", "no vocabulary at"),
    ):
        with pytest.raises(vtcd_ops.InputError, match=message):
            Tokenizer.from_source(tmp_path / name)


@pytest.mark.parametrize("merge", ["xy z", "x", "x y z"])
def test_merges_that_are_none(merge: str) -> None:
    with pytest.raises(vtcd_ops.InputError, match=f"pairs of known tokens, got '{merge}'"):
        Tokenizer.from_merges([merge])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "expected a list of texts"),
        (["a", 3], "expected a list of texts"),
        (["a b c d e f g h"], "expected at most 9 tokens, got 10 for 'a b c d e f g h'"),
    ],
)
def test_texts_that_are_none(texts: list[str], message: str) -> None:
    with pytest.raises(vtcd_ops.InputError, match=message):
        Tokenizer.from_merges(MERGES, context_length=9)(texts)
