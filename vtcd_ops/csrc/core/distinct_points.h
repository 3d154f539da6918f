// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

namespace vtcd {

// Points without repetition, in the order of their first occurrence, and how often each occurs.
struct DistinctPoints {
  explicit DistinctPoints(const Eigen::MatrixXd& all);  // [C, N]

  std::vector<int64_t> group;     // [N] the distinct point that each column is
  std::vector<int64_t> columns;   // [D] where each occurs first
  Eigen::MatrixXd points;         // [C, D]
  Eigen::VectorXd weights;        // [D] its number of columns
  Eigen::VectorXd squared_norms;  // [D]
};

}  // namespace vtcd
