"""Rank the heads and neurons of the bundled classifier, prune a third of its cost, train the rest.

python examples/prune_and_finetune.py FOLDER

It needs no network: the clips come with the miniature. FOLDER/smaller is the model that is left,
to load with vtcd_ops.load_model; the same command goes on where a killed one stopped.
"""

import sys
from importlib.resources import files
from pathlib import Path

import torch

import vtcd_ops
from vtcd_ops.pruning.batches import ClipBatches
from vtcd_ops.video.samples import as_samples


def accuracy(adapter, samples):
    right = 0
    for batch in ClipBatches(adapter, samples):
        with torch.no_grad():
            logits = adapter.predict(batch.clips)["logits"]
        right += int((logits.argmax(1) == batch.labels).sum())
    return right / len(samples)


def main(folder, per_class=4, masks=256, epochs=2):
    manifest = files("vtcd_hf_videomae") / "clips" / "evaluation" / "manifest.csv"
    by_class = {}
    for sample in as_samples(str(manifest)):
        by_class.setdefault(sample.label, []).append(sample)
    train = [one for some in by_class.values() for one in some[:per_class]]
    test = [one for some in by_class.values() for one in some[6 : 6 + per_class]]

    whole = vtcd_ops.load_model("hf_videomae:mini")
    run = vtcd_ops.discover(whole, train[:2], out=folder / "run")  # a run holds the ranking
    ranked = vtcd_ops.rank(
        run, whole, train, units="heads+neurons", part="outputs", num_masks=masks, assign=True
    )
    smaller = vtcd_ops.prune_and_finetune(
        whole, ranked, train, 1 / 3, of="cost", epochs=epochs, out=folder / "training"
    )
    vtcd_ops.save_pruned(smaller, folder / "smaller", overwrite=True)
    for adapter in (whole, vtcd_ops.prune(whole, ranked, 1 / 3, of="cost"), smaller):
        print(f"{accuracy(adapter, test):.0%} right, {vtcd_ops.count_cost(adapter)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
