// SPDX-License-Identifier: MIT
#include "core/point_set.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/formulas/cnmf.h"
#include "core/formulas/scaling.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// e with 2^(e - 1) <= largest magnitude < 2^e; 0 where all are 0.
int largest_exponent(const MatrixXd& matrix) {
  return exponent_above(matrix.cwiseAbs().maxCoeff());
}

}  // namespace

VectorXd median_of_some(const MatrixXd& columns) {
  const int64_t count = std::min<int64_t>(kMedianSample, columns.cols());
  std::vector<double> values(count);
  VectorXd median(columns.rows());
  for (int64_t c = 0; c < columns.rows(); ++c) {
    for (int64_t i = 0; i < count; ++i)
      values[i] = columns(c, median_sample(i, count, columns.cols()));
    std::nth_element(values.begin(), values.begin() + count / 2, values.end());
    median[c] = values[count / 2];
  }
  return median;
}

MatrixXd times_power_of_two(const MatrixXd& matrix, int exponent) {
  const PowerOfTwo factor = PowerOfTwo::of(exponent);
  if (factor.second == 1) return matrix * factor.first;
  return (matrix * factor.first) * factor.second;
}

PointSet::PointSet(const MatrixXd& columns)
    : exponent(largest_exponent(columns)),
      points(times_power_of_two(columns, -exponent)),
      squared_norms(points.cols()),
      inverse_norms(points.cols()) {
  for (Eigen::Index n = 0; n < points.cols(); ++n) {
    // norms of points far shorter than the longest: their squares would vanish
    const double largest = points.col(n).cwiseAbs().maxCoeff();
    const double norm = largest > 0 ? largest * (points.col(n) / largest).norm() : 0.0;
    squared_norms[n] = points.col(n).squaredNorm();
    inverse_norms[n] = inverse_length(norm);
  }
}

CentredPoints::CentredPoints(const MatrixXd& columns) : origin(median_of_some(columns)) {
  const int headroom = headroom_of(largest_exponent(columns));
  const double shrink = std::ldexp(1.0, -headroom);
  points = (columns * shrink).colwise() - origin * shrink;
  exponent = largest_exponent(points);
  points = times_power_of_two(points, -exponent);
  exponent += headroom;
}

MatrixXd CentredPoints::restore(const MatrixXd& centred) const {
  MatrixXd result(centred.rows(), centred.cols());
  for (Eigen::Index k = 0; k < centred.cols(); ++k) {
    for (Eigen::Index c = 0; c < centred.rows(); ++c)
      result(c, k) = restored(centred(c, k), origin[c], exponent);
  }
  return result;
}

}  // namespace vtcd
