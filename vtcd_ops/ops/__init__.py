"""Public functions of the operators: argument checks, one call each."""

from vtcd_ops.ops import library

LIBRARY = library.load()  #: which instruction set, and the SHA-256 of the file
HAS_CUDA_KERNELS = library.load_cuda()  #: whether they were built; a GPU is another question

from vtcd_ops.ops.choose_num_concepts import NumConcepts, choose_num_concepts  # noqa: E402
from vtcd_ops.ops.cnmf import ConvexNMF, cnmf  # noqa: E402
from vtcd_ops.ops.concept_mask import concept_mask  # noqa: E402
from vtcd_ops.ops.contour_match import contour_match  # noqa: E402
from vtcd_ops.ops.cris_accumulate import cris_accumulate  # noqa: E402
from vtcd_ops.ops.cris_sample import cris_sample  # noqa: E402
from vtcd_ops.ops.kmeans import KMeans, kmeans  # noqa: E402
from vtcd_ops.ops.rosetta_ratios import rosetta_ratios  # noqa: E402
from vtcd_ops.ops.rosetta_search import RosettaTuples, rosetta_search  # noqa: E402
from vtcd_ops.ops.silhouette import silhouette  # noqa: E402
from vtcd_ops.ops.slic3d import slic3d  # noqa: E402
from vtcd_ops.ops.supports import pack_supports  # noqa: E402
from vtcd_ops.ops.tubelet_pool import tubelet_pool  # noqa: E402

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
