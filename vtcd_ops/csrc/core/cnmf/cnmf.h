// SPDX-License-Identifier: MIT
// Convex non-negative matrix factorisation (Ding, Li, Jordan 2010): X ~ W U with W = X G, where the
// columns of X [C, N] are tubelets, those of G [N, K] >= 0 sum to 1, and U [K, N] >= 0. Minimises
// |X - X G U|, Frobenius norm (equations 2 and 3 of the paper). X is the points of a PointSet.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "core/parallel.h"
#include "core/point_set.h"

namespace vtcd {

struct CnmfOptions {
  int64_t max_num_iter = 1000;
  double tol = 1e-6;  // stop when changing the weights alone, or the encoding alone, gains less
                      // than this share of the squared error
};

struct CnmfFactors {
  Eigen::MatrixXd weights;   // G [N, K]
  Eigen::MatrixXd encoding;  // U [K, N]
  Eigen::MatrixXd centers;   // W = X G [C, K]
  double error = 0;          // |X - W U|
  int64_t num_iter = 0;
};

// Coordinate and active-set descent. labels [N] in [0, K): the start. Needs X^T X only through
// products with X: O(N C K) a sweep.
CnmfFactors cnmf_descent(const PointSet& data, const int32_t* labels, int64_t num_concepts,
                         const CnmfOptions& options, const ParallelFor& parallel_for);

// The multiplicative updates of Ding, Li, Jordan 2010. Holds two N x N matrices, O(N^2 K) an
// iteration.
CnmfFactors cnmf_multiplicative(const PointSet& data, const int32_t* labels, int64_t num_concepts,
                                const CnmfOptions& options);

// Columns of a chunk: few enough that many threads share one head's tubelets.
inline constexpr int64_t kCnmfChunk = 128;

}  // namespace vtcd
