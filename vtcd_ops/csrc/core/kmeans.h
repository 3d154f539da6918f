// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "core/formulas/kmeans.h"
#include "core/parallel.h"

namespace vtcd {

struct KMeansResult {
  std::vector<int32_t> labels;  // [N]
  Eigen::MatrixXd centers;      // [C, K]
  double inertia = 0;           // sum of squared distances of the points to their centres, over
  int inertia_exponent = 0;     // 2 to this: it may lie outside what a double can hold
  int64_t num_iter = 0;         // of the best run
};

// Lloyd's k-means from greedy k-means++ starts (Arthur and Vassilvitskii 2007), the best of
// num_restarts runs. An emptied cluster moves to the point farthest from its centre. columns
// [C, N], one point a column. Equal points are worked on as one with a weight; where there are no
// more than num_clusters different ones, each is a cluster.
KMeansResult kmeans(const Eigen::MatrixXd& columns, int64_t num_clusters,
                    const KMeansOptions& options, const ParallelFor& parallel_for);

}  // namespace vtcd
