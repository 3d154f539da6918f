# SPDX-License-Identifier: MIT
"""The paper's numbers, of the full-size models on Kubric and Something-Something v2."""

from __future__ import annotations

#: Table 1: area under the attribution curve, (method, role, order).
TABLE_1 = {
    ("Random crops, occlusion", "tcow"): {"positive": 0.174, "negative": 0.274},
    ("Random crops, CRIS", "tcow"): {"positive": 0.166, "negative": 0.284},
    ("SLIC, CRIS (VTCD)", "tcow"): {"positive": 0.102, "negative": 0.288},
    ("Random crops, occlusion", "videomae"): {"positive": 0.240, "negative": 0.300},
    ("Random crops, CRIS", "videomae"): {"positive": 0.157, "negative": 0.607},
    ("SLIC, CRIS (VTCD)", "videomae"): {"positive": 0.094, "negative": 0.625},
}

#: Table 2: accuracy in per cent on the six classes, by the per cent of the heads that is pruned.
TABLE_2 = {"0": 37.1, "33": 41.4, "50": 37.8}

#: Table 3: mean IoU on DAVIS'16 val over all frames, (model, way).
TABLE_3 = {
    ("VideoMAE, self-supervised", "paper mode"): 0.450,
    ("VideoMAE", "paper mode"): 0.431,
    ("InternVideo", "paper mode"): 0.458,
}

#: Table 4: mean IoU of the best concept with the true masks, in per cent.
TABLE_4 = {
    "Random crops": {"target": 3.0, "occluder": 31.5, "container": 43.3},
    "SLIC (VTCD)": {"target": 19.2, "occluder": 69.7, "container": 73.8},
    "The tracker itself": {"target": 36.8, "occluder": 76.8, "container": 78.2},
}

#: Section 5.3: Rosetta concepts of all four models, two classes; scores in hundredths.
ROSETTA = {"tuples": 40, "mean score": 17.1, "mean of all tuples": 0.6}
