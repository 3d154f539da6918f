"""One process of a discovery, to be run beside others or killed: discover_worker.py OUT."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.videos import moving_square

from vtcd_ops.adapters import example_adapter
from vtcd_ops.discovery.discover import discover

if __name__ == "__main__":
    clips = [moving_square(seed=seed) for seed in range(6)]
    discover(example_adapter(), clips, out=sys.argv[1], parts=("keys", "values"), progress=False)
