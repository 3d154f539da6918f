"""Convert a published checkpoint: ``python -m vtcd_internvideo.convert CHECKPOINT FOLDER``.

The folder gets config.json, model.safetensors and, with ``--vocabulary``, merges.txt; it loads by
its name, without a pickle and without the network: ``vtcd discover FOLDER ...``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vtcd_internvideo.model import InternVideo
from vtcd_internvideo.tokenizer import BYTES_AND_ENDS, read_merges, write_merges
from vtcd_ops.adapters import InputError

__all__ = ["convert"]


def convert(
    source: str | Path,
    folder: str | Path,
    *,
    t_size: int | None = None,
    vocabulary: str | Path | None = None,
) -> InternVideo:
    """Write a checkpoint as a folder that loads without a pickle; return the model.

    Args:
        source: the published file.
        folder: is made if it is not there.
        t_size: frames of a video, where they are not eight.
        vocabulary: upstream's list of merges, `bpe_simple_vocab_16e6.txt.gz`, to go with it.

    Raises:
        InputError: the checkpoint cannot be read, needs more than tensors, or does not fit.
    """
    model = InternVideo.from_checkpoint(source, {} if t_size is None else {"t_size": t_size})
    merges = None if vocabulary is None else read_merges(Path(vocabulary))
    model.save(folder)
    if merges is not None:
        write_merges(
            Path(folder) / "merges.txt", merges[: model.config.text.vocab_size - BYTES_AND_ENDS]
        )
    return model


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vtcd_internvideo.convert", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="the published file")
    parser.add_argument("folder", type=Path, help="gets config.json and model.safetensors")
    parser.add_argument("--t-size", type=int, help="frames of a video, where they are not eight")
    parser.add_argument("--vocabulary", type=Path, help="upstream's bpe_simple_vocab_16e6.txt.gz")
    args = parser.parse_args()
    try:
        model = convert(
            args.checkpoint, args.folder, t_size=args.t_size, vocabulary=args.vocabulary
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{args.folder}: InternVideo of {millions:.1f} million parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
