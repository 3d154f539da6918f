"""Public functions of the operators: argument checks, one call each."""

from vtcd_ops.ops import library

LIBRARY = library.load()  #: which instruction set, and the SHA-256 of the file

from vtcd_ops.ops import derivatives, registrations  # noqa: E402, F401
from vtcd_ops.ops.choose_num_concepts import NumConcepts, choose_num_concepts  # noqa: E402
from vtcd_ops.ops.clustering import ConvexNMF, KMeans, cnmf, kmeans, silhouette  # noqa: E402
from vtcd_ops.ops.contour_match import contour_match  # noqa: E402
from vtcd_ops.ops.masks import concept_mask, cris_accumulate, cris_sample  # noqa: E402
from vtcd_ops.ops.rosetta import RosettaTuples, pack_supports, rosetta_ratios, rosetta_search  # noqa: E402
from vtcd_ops.ops.volumes import slic3d, tubelet_pool  # noqa: E402

__all__ = [
    "ConvexNMF",
    "KMeans",
    "NumConcepts",
    "RosettaTuples",
    "choose_num_concepts",
    "cnmf",
    "concept_mask",
    "contour_match",
    "cris_accumulate",
    "cris_sample",
    "kmeans",
    "pack_supports",
    "rosetta_ratios",
    "rosetta_search",
    "silhouette",
    "slic3d",
    "tubelet_pool",
]
