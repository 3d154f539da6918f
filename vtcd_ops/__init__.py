"""Find out what a video transformer has learnt: the concepts of every attention head."""

from __future__ import annotations

from importlib.metadata import version as _version

from vtcd_ops.common.waiting import sleep_while_waiting

sleep_while_waiting()  # before anything imports torch

from vtcd_ops.common import fork  # noqa: E402
from vtcd_ops.ops import LIBRARY  # noqa: E402

fork.register()
INSTRUCTION_SET: str = LIBRARY.instruction_set  #: default, avx2 or avx512
__version__: str = _version("vtcd-ops")

from vtcd_ops.adapters import load_model, randomize_weights  # noqa: E402
from vtcd_ops.adapters.adapter import Adapter  # noqa: E402
from vtcd_ops.adapters.capture import capture  # noqa: E402
from vtcd_ops.adapters.edit import edit  # noqa: E402
from vtcd_ops.common.errors import InputError  # noqa: E402
from vtcd_ops.concept_evidence.evidence import evidence  # noqa: E402
from vtcd_ops.concept_evidence.result import Evidence  # noqa: E402
from vtcd_ops.discovery.compactness import choose_compactness  # noqa: E402
from vtcd_ops.discovery.discover import discover  # noqa: E402
from vtcd_ops.discovery.foreign import store_concepts  # noqa: E402
from vtcd_ops.discovery.run import Run, load  # noqa: E402
from vtcd_ops.discovery.uniqueness import head_uniqueness  # noqa: E402
from vtcd_ops.estimates.cris_accumulator import CrisAccumulator  # noqa: E402
from vtcd_ops.importance.curves import Curves, curves  # noqa: E402
from vtcd_ops.importance.importance import Importance  # noqa: E402
from vtcd_ops.importance.ranking import rank  # noqa: E402
from vtcd_ops.ops import (  # noqa: E402
    ConvexNMF,
    KMeans,
    NumConcepts,
    RosettaTuples,
    choose_num_concepts,
    cnmf,
    concept_mask,
    contour_match,
    cris_accumulate,
    cris_sample,
    kmeans,
    pack_supports,
    rosetta_ratios,
    rosetta_search,
    silhouette,
    slic3d,
    tubelet_pool,
)
from vtcd_ops.pruning.cost import Cost, count_cost  # noqa: E402
from vtcd_ops.pruning.finetune import finetune  # noqa: E402
from vtcd_ops.pruning.learned_keep import LearnedKeep, learn_keep  # noqa: E402
from vtcd_ops.pruning.prune import prune  # noqa: E402
from vtcd_ops.pruning.rounds import prune_and_finetune  # noqa: E402
from vtcd_ops.pruning.saving import save_pruned  # noqa: E402
from vtcd_ops.reporting import card, report, suggest_names  # noqa: E402
from vtcd_ops.rosetta_concepts.comparison import RunComparison, compare  # noqa: E402
from vtcd_ops.rosetta_concepts.rosetta import rosetta  # noqa: E402
from vtcd_ops.rosetta_concepts.store import Rosetta, load_rosetta  # noqa: E402
from vtcd_ops.segmentation.choose_heads import choose_heads  # noqa: E402
from vtcd_ops.segmentation.segment import Segmentation, segment  # noqa: E402
from vtcd_ops.storage.executor import on_executor  # noqa: E402
from vtcd_ops.video.samples import Sample  # noqa: E402

__all__ = [
    "INSTRUCTION_SET",
    "LIBRARY",
    "Adapter",
    "ConvexNMF",
    "Cost",
    "CrisAccumulator",
    "Curves",
    "Evidence",
    "Importance",
    "InputError",
    "KMeans",
    "LearnedKeep",
    "NumConcepts",
    "Rosetta",
    "RosettaTuples",
    "Run",
    "RunComparison",
    "Sample",
    "Segmentation",
    "__version__",
    "capture",
    "card",
    "choose_compactness",
    "choose_heads",
    "choose_num_concepts",
    "cnmf",
    "compare",
    "concept_mask",
    "contour_match",
    "count_cost",
    "cris_accumulate",
    "cris_sample",
    "curves",
    "discover",
    "edit",
    "evidence",
    "finetune",
    "head_uniqueness",
    "kmeans",
    "learn_keep",
    "load",
    "load_model",
    "load_rosetta",
    "on_executor",
    "pack_supports",
    "prune",
    "prune_and_finetune",
    "randomize_weights",
    "rank",
    "report",
    "rosetta",
    "rosetta_ratios",
    "rosetta_search",
    "save_pruned",
    "segment",
    "silhouette",
    "slic3d",
    "store_concepts",
    "suggest_names",
    "tubelet_pool",
]
