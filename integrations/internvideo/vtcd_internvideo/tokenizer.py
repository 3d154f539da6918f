"""Texts as tokens: CLIP's byte-pair encoding, as Hugging Face transformers implements it."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from vtcd_ops.adapters import InputError

__all__ = ["BYTES_AND_ENDS", "Tokenizer", "read_merges", "write_merges"]

#: Tokens of a vocabulary that are no merges: bytes, bytes that end a word, start and end of text.
BYTES_AND_ENDS = 2 * 256 + 2

_MOST_BYTES = 64 << 20  # of a list of merges; CLIP's has 3 MB
_START, _END = "<|startoftext|>", "<|endoftext|>"


class Tokenizer:
    """Turns texts into rows of tokens, [n, context_length], padded with zeros.

    A vocabulary is no more than its list of merges: the 256 bytes, the bytes as they end a word,
    one token a merge, and the start and end of a text, which has the highest number.

    >>> tokenizer = Tokenizer.from_merges(["b a", "ba l", "bal l</w>"], context_length=6)
    >>> tokenizer(["Ball", "a ball"])
    tensor([[515, 514, 516,   0,   0,   0],
            [515, 320, 514, 516,   0,   0]])

    Args:
        clip_tokenizer: of transformers.
        context_length: tokens of a row.
    """

    def __init__(self, clip_tokenizer: CLIPTokenizer, context_length: int = 77) -> None:
        self.clip_tokenizer = clip_tokenizer
        self.context_length = context_length

    @property
    def merges(self) -> list[str]:
        """The list of merges, each "left right", the first the strongest."""
        backend: Any = self.clip_tokenizer.backend_tokenizer
        return [" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]

    @classmethod
    def from_merges(cls, merges: Sequence[str], context_length: int = 77) -> Tokenizer:
        """Build the tokenizer of a list of merges, each "left right", the first the strongest.

        Raises:
            InputError: a merge of what is no token.
        """
        letters = _letters_of_bytes()
        pairs = [tuple(merge.split()) for merge in merges]
        tokens = [
            *letters,
            *(letter + "</w>" for letter in letters),
            *("".join(pair) for pair in pairs),
            _START,
            _END,
        ]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        strange = [pair for pair in pairs if not _made_of(pair, vocabulary)]
        if strange:
            got = " ".join(strange[0])
            raise InputError(f"Tokenizer: merges expected pairs of known tokens, got {got!r}")
        made = CLIPTokenizer(vocab=vocabulary, merges=pairs)  # type: ignore[arg-type]
        return cls(made, context_length)

    @classmethod
    def from_source(
        cls, source: str | os.PathLike[str], context_length: int = 77, vocab_size: int = 49408
    ) -> Tokenizer:
        """Load a vocabulary.

        Args:
            source: a list of merges, such as upstream's `bpe_simple_vocab_16e6.txt.gz` (a line
                each, after a line of comment); a folder with `merges.txt` and, unless that says
                all, `vocab.json`; or a Hub id such as `"openai/clip-vit-base-patch16"`.
            context_length: tokens of a row.
            vocab_size: tokens that the model knows; a longer list of merges is cut.

        Raises:
            InputError: nothing to load, or a vocabulary of another size.
        """
        path = Path(source)
        if path.is_dir() and not (path / "vocab.json").exists():
            path = path / "merges.txt"
        if path.is_file():
            merges = read_merges(path)[: vocab_size - BYTES_AND_ENDS]
            tokenizer = cls.from_merges(merges, context_length)
        else:
            tokenizer = cls(_load_clip_tokenizer(os.fspath(source)), context_length)
        if len(tokenizer.clip_tokenizer) != vocab_size:
            raise InputError(
                f"Tokenizer: vocabulary {source} expected {vocab_size} tokens, the model's, "
                f"got {len(tokenizer.clip_tokenizer)}"
            )
        return tokenizer

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode texts, int64 [n, context_length].

        Raises:
            InputError: no text, something else than texts, or one that is too long.
        """
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"Tokenizer: texts expected a list of texts, got {texts!r}")
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = self.clip_tokenizer(text.strip())["input_ids"]
            if len(tokens) > self.context_length:
                raise InputError(
                    f"Tokenizer: texts expected at most {self.context_length} tokens, "
                    f"got {len(tokens)} for {text!r}"
                )
            row[: len(tokens)] = torch.tensor(tokens)
        return rows


def _made_of(pair: Sequence[str], vocabulary: Mapping[str, int]) -> bool:
    return len(pair) == 2 and all(part in vocabulary for part in pair)


def _letters_of_bytes() -> list[str]:
    """Return the letter that stands for each byte, in the order of their tokens.

    Printable bytes of Latin-1 stand for themselves and come first, the others for the letters from
    256 on: the byte-level alphabet of GPT-2 (Radford et al. 2019), which CLIP took over.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + hidden))]


def read_merges(path: Path) -> list[str]:
    """Read a list of merges, one a line after a line of comment, gzipped or not.

    Raises:
        InputError: no such file, or no such list.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:  # which may unpack to a thousand times its size
                content = file.read(_MOST_BYTES)
            if len(content) == _MOST_BYTES:
                raise OSError(f"it unpacks to more than {_MOST_BYTES} bytes")
            text = content.decode("utf-8")
        else:
            text = path.read_text(encoding="utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"Tokenizer: {path} is no list of merges: {error}") from error
    merges = [line for line in text.split("\n")[1:] if line.strip()]
    if any(len(merge.split()) != 2 for merge in merges):
        raise InputError(f"Tokenizer: {path} expected two parts on every line after the first")
    return merges


def write_merges(path: Path, merges: Sequence[str]) -> None:
    """Write a list of merges that `read_merges` reads."""
    lines = ["#version: byte-pair merges, the strongest first", *merges]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _load_clip_tokenizer(source: str) -> CLIPTokenizer:
    try:
        return CLIPTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Tokenizer: no vocabulary at {source}, neither a file, a folder nor a Hub id that can "
            f"be reached: {str(error).splitlines()[0]}"
        ) from error
