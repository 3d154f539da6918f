# SPDX-License-Identifier: MIT
"""Convert a published checkpoint: ``python -m vtcd_tcow.convert checkpoint.pth FOLDER``.

The published file also holds the command line of its training, an ``argparse.Namespace``. That
class does nothing but carry values, so it alone is let through; everything else is refused as in
``TCOW.from_checkpoint``. The folder gets config.json and model.safetensors, and loads by its name:
``vtcd discover FOLDER ...``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from vtcd_ops.adapters import InputError, load_strictly
from vtcd_tcow.checkpoint import CONFIG_FILE, MODEL_TYPE, WEIGHTS_FILE, read_checkpoint
from vtcd_tcow.model import TCOW

__all__ = ["convert", "save"]


def convert(source: str | Path, folder: str | Path) -> TCOW:
    """Write a checkpoint of torch.save as a folder that loads without a pickle; return the model.

    Raises:
        InputError: the checkpoint cannot be read, needs other classes, or does not fit.
    """
    weights, arguments = read_checkpoint(source, allowed=[argparse.Namespace])
    model = TCOW.from_config(arguments)
    load_strictly(model, weights, source)
    save(model, folder)
    return model


def save(model: TCOW, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a model as config.json and model.safetensors.

    Args:
        model: the model.
        folder: is made if it is not there.
        dtype: of the stored weights; that of the model by default.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS_FILE)
    config = {"model_type": MODEL_TYPE, **model.config.to_dict()}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vtcd_tcow.convert", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="file of torch.save")
    parser.add_argument("folder", type=Path, help="gets config.json and model.safetensors")
    args = parser.parse_args()
    try:
        model = convert(args.checkpoint, args.folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{args.folder}: TCOW of {millions:.1f} million parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
