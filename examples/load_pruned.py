"""Load a pruned VideoMAE, ViViT, DINOv2 or V-JEPA 2 without vtcd_ops: a plain module to train.

python examples/load_pruned.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file


class ConstantAttention(torch.nn.Module):
    """A layer without heads: the bias of its output projection is left."""

    def __init__(self, bias, returns):
        super().__init__()
        self.bias, self.returns = torch.nn.Parameter(bias), returns

    def forward(self, tokens, *args, **kwargs):
        out = self.bias.expand(*tokens.shape[:-1], -1)
        return {"tensor": out, "single": (out,), "pair": (out, None)}[self.returns]


def load_pruned(folder):
    saved = json.loads((Path(folder) / "config.json").read_text())
    weights = load_file(Path(folder) / "pruned.safetensors")
    made = getattr(transformers, saved["config"]["architectures"][0])
    model = made(made.config_class.from_dict(saved["config"]))
    new = dict(saved["attributes"])  # how many heads each layer has left
    for name, returns in saved["constant_attention"].items():
        new[name] = ConstantAttention(weights[f"{name}.bias"], returns)
    whole = {name: x.shape for name, x in model.named_parameters() if name in weights}
    new |= {n: torch.nn.Parameter(weights[n]) for n, x in whole.items() if x != weights[n].shape}
    for name, value in new.items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, value)
    model.load_state_dict(weights)  # all is there, nothing is left over
    return model.eval()


if __name__ == "__main__":
    print(load_pruned(sys.argv[1]))
