// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "core/parallel.h"

namespace vtcd {

// Silhouette coefficients (Rousseeuw 1987) with Euclidean distances: (b - a) / max(a, b), a the
// mean distance of a point to the others of its cluster, b the smallest mean distance to another
// cluster. 0 for a point alone in its cluster and where there is one cluster only. columns [C, N],
// one point a column; labels [N] >= 0, coefficients [N].
void silhouette(const Eigen::MatrixXd& columns, const int64_t* labels, double* coefficients,
                const ParallelFor& parallel_for);

}  // namespace vtcd
