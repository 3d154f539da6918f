// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>

namespace vtcd {

// The vectors of one problem, and the lengths every algorithm on them needs. An own, aligned copy
// in double precision: sums then do not depend on where in a batch a problem lies.
struct PointSet {
  explicit PointSet(Eigen::MatrixXd columns);

  // data [N, C], row by row.
  template <typename T>
  static PointSet from_rows(const T* data, Eigen::Index num_points, Eigen::Index num_channels) {
    using Columns = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
    return PointSet(
        Eigen::Map<const Columns>(data, num_channels, num_points).template cast<double>());
  }

  Eigen::Index size() const { return points.cols(); }

  Eigen::MatrixXd points;         // [C, N], one point a column
  Eigen::VectorXd squared_norms;  // [N]
  Eigen::VectorXd inverse_norms;  // [N], 0 for a zero vector: it adds nothing to any combination
};

}  // namespace vtcd
