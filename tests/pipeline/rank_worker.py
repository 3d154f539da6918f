"""One process of a ranking, to be run beside others or killed: rank_worker.py RUN NAME [MASKS]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.additive import additive_adapter, samples

from vtcd_ops.importance.ranking import rank

if __name__ == "__main__":
    rank(
        sys.argv[1],
        additive_adapter(),
        samples(),
        "probability",
        num_masks=int(sys.argv[3]) if len(sys.argv) > 3 else 800,
        name=sys.argv[2],
        dtype="float32",
        masks_per_forward=8,
        stop_at=1.0,
        progress=False,
    )
