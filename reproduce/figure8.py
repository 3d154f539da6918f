# SPDX-License-Identifier: MIT
"""Figure 8: how important is each layer?"""

from __future__ import annotations

from reproduce.models import ROLES
from reproduce.registry import experiment
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import Study

PAPER_ROLES = ("tcow", "videomae")


@experiment("figure8", roles=PAPER_ROLES)
def figure8(study: Study) -> Result:
    """Return the mean of (n - rank) / n over the concepts of each layer (equation 8)."""
    shares = {}
    for role in PAPER_ROLES:
        runs = [(seed, study.run(role, seed)) for seed in study.seeds]
        shares[role] = [study.importance(run, role, seed).per_layer() for seed, run in runs]
    layers = sorted({layer for found in shares.values() for layer in found[0]})
    rows = []
    for layer in layers:
        cells = {
            role: Cell.of([share[layer] for share in found])
            for role, found in shares.items()
            if layer in found[0]
        }
        rows.append(Row(f"layer {layer}", cells))
    return Result(
        name="figure8",
        title="Importance of the layers",
        paper="Figure 8 of the paper",
        unit="mean of (n - rank) / n over a layer's concepts; .5 for all layers alike",
        columns={role: ROLES[role].title for role in PAPER_ROLES},
        rows=rows,
        claims=_claims(shares),
        notes=[
            f"CRIS with {study.scale.masks} masks, fewer than Table 1 has, and a seed each. Layers "
            "count from 0."
        ],
        setting={role: study.setting(role) for role in PAPER_ROLES},
    )


def _claims(shares: dict[str, list[dict[int, float]]]) -> list[Claim]:
    """The paper: the first two layers matter less than the middle ones, in both models."""
    claims = []
    for role, found in shares.items():
        count = len(found[0])
        middle = range(count // 3, count - count // 3)
        mean = {layer: sum(share[layer] for share in found) / len(found) for layer in found[0]}
        most = max(mean, key=lambda layer: mean[layer])
        claims.append(
            compare(
                f"{ROLES[role].title}: the first two layers matter less than the middle ones.",
                [(share[0] + share[1]) / 2 for share in found],
                [sum(share[layer] for layer in middle) / len(middle) for share in found],
                lower=True,
                more=f"; most of all layer {most}",
            )
        )
    return claims
