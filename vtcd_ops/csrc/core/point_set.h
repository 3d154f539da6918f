// SPDX-License-Identifier: MIT
// The vectors of one problem, in an own, aligned copy in double precision: sums then do not depend
// on where in a batch a problem lies. Scaled by a power of two, which is exact, to a size whose
// squares neither overflow nor vanish.
#pragma once

#include <Eigen/Core>
#include <cstdint>

namespace vtcd {

// data [N, C], row by row; one point a column of the result, [C, N].
template <typename T>
Eigen::MatrixXd columns_from_rows(const T* data, int64_t num_points, int64_t num_channels) {
  using Columns = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  return Eigen::Map<const Columns>(data, num_channels, num_points).template cast<double>();
}

// matrix * 2^exponent. Exponents beyond a double's own are taken in two steps.
Eigen::MatrixXd times_power_of_two(const Eigen::MatrixXd& matrix, int exponent);

// The median of some points, channel by channel. Unlike the mean it lies among the points where one
// of them is far away from the others, and no sum can overflow.
Eigen::VectorXd median_of_some(const Eigen::MatrixXd& columns);

// Vectors, and the lengths that algorithms on them need.
struct PointSet {
  explicit PointSet(const Eigen::MatrixXd& columns);

  int64_t size() const { return points.cols(); }

  int exponent;                   // columns = points * 2^exponent
  Eigen::MatrixXd points;         // [C, N], magnitudes below 1, the largest at least 1/2 (or all 0)
  Eigen::VectorXd squared_norms;  // [N]
  Eigen::VectorXd inverse_norms;  // [N], 0 for a zero vector: it adds nothing to any combination
};

// Vectors about an origin among them, for what depends on distances alone: a common offset would
// cost the digits of what differs.
struct CentredPoints {
  explicit CentredPoints(const Eigen::MatrixXd& columns);

  int64_t size() const { return points.cols(); }
  // Points of the centred and scaled space, one a column, where they lie among the columns.
  Eigen::MatrixXd restore(const Eigen::MatrixXd& centred) const;

  Eigen::VectorXd origin;  // [C]; columns = points * 2^exponent + origin
  int exponent;
  Eigen::MatrixXd points;  // [C, N], magnitudes below 1, the largest at least 1/2 (or all 0)
};

}  // namespace vtcd
