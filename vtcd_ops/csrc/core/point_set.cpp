// SPDX-License-Identifier: MIT
#include "core/point_set.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Points whose median is the origin.
constexpr int64_t kSample = 31;
// Above this exponent a difference of two numbers may overflow.
constexpr int kLargestSafeExponent = 1020;

// e with 2^(e - 1) <= largest magnitude < 2^e; 0 where all are 0.
int largest_exponent(const MatrixXd& matrix) {
  int exponent = 0;
  std::frexp(matrix.cwiseAbs().maxCoeff(), &exponent);
  return exponent;
}

}  // namespace

VectorXd median_of_some(const MatrixXd& columns) {
  const int64_t count = std::min<int64_t>(kSample, columns.cols());
  std::vector<double> values(count);
  VectorXd median(columns.rows());
  for (int64_t c = 0; c < columns.rows(); ++c) {
    for (int64_t i = 0; i < count; ++i) values[i] = columns(c, i * columns.cols() / count);
    std::nth_element(values.begin(), values.begin() + count / 2, values.end());
    median[c] = values[count / 2];
  }
  return median;
}

MatrixXd times_power_of_two(const MatrixXd& matrix, int exponent) {
  const int half = exponent / 2;
  if (std::abs(exponent) <= 1000) return matrix * std::ldexp(1.0, exponent);
  return (matrix * std::ldexp(1.0, half)) * std::ldexp(1.0, exponent - half);
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
    inverse_norms[n] = norm > 0 ? 1.0 / norm : 0.0;
  }
}

CentredPoints::CentredPoints(const MatrixXd& columns) : origin(median_of_some(columns)) {
  const int headroom = largest_exponent(columns) > kLargestSafeExponent ? 2 : 0;
  const double shrink = std::ldexp(1.0, -headroom);
  points = (columns * shrink).colwise() - origin * shrink;
  exponent = largest_exponent(points);
  points = times_power_of_two(points, -exponent);
  exponent += headroom;
}

MatrixXd CentredPoints::restore(const MatrixXd& centred) const {
  const int headroom = exponent > kLargestSafeExponent ? 2 : 0;
  const MatrixXd offset = origin * std::ldexp(1.0, -headroom);
  const MatrixXd sum = times_power_of_two(centred, exponent - headroom).colwise() + offset.col(0);
  return sum * std::ldexp(1.0, headroom);
}

}  // namespace vtcd
