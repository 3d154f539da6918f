"""Public functions of the operators: argument checks, one call each."""

from vtcd_ops.num_concepts import NumConcepts, choose_num_concepts
from vtcd_ops.ops.clustering import ConvexNMF, KMeans, cnmf, kmeans, silhouette
from vtcd_ops.ops.contour_match import contour_match
from vtcd_ops.ops.masks import concept_mask, cris_accumulate, cris_sample
from vtcd_ops.ops.rosetta import RosettaTuples, pack_supports, rosetta_ratios, rosetta_search
from vtcd_ops.ops.volumes import slic3d, tubelet_pool

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
