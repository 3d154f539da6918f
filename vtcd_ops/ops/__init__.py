"""Public functions of the operators: argument checks, one call each."""

from vtcd_ops.num_concepts import NumConcepts, choose_num_concepts
from vtcd_ops.ops.clustering import ConvexNMF, KMeans, cnmf, kmeans, silhouette
from vtcd_ops.ops.volumes import slic3d, tubelet_pool

__all__ = [
    "ConvexNMF",
    "KMeans",
    "NumConcepts",
    "choose_num_concepts",
    "cnmf",
    "kmeans",
    "silhouette",
    "slic3d",
    "tubelet_pool",
]
