"""Scores of segmented video objects: region similarity J and contour accuracy F, as DAVIS has them.

>>> import numpy as np
>>> truth = np.zeros((1, 8, 8), dtype=bool)
>>> truth[:, 2:6, 2:6] = True
>>> prediction = np.roll(truth, 1, axis=2)
>>> float(region_similarity(prediction, truth)[0])  # 12 of 20 pixels
0.6
>>> float(contour_accuracy(prediction, truth, tolerance=0)[0])  # 10 of 20 contour pixels coincide
0.5
"""

from vtcd_ops.vos_metrics.folders import RULES, evaluate
from vtcd_ops.vos_metrics.measures import (
    Statistics,
    contour_accuracy,
    region_similarity,
    statistics,
)
from vtcd_ops.vos_metrics.table import Evaluation, ObjectScores

__all__ = [
    "RULES",
    "Evaluation",
    "ObjectScores",
    "Statistics",
    "contour_accuracy",
    "evaluate",
    "region_similarity",
    "statistics",
]
