// SPDX-License-Identifier: MIT
#include "core/cnmf/data.h"

#include <algorithm>
#include <utility>

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Products of points keep enough digits of their differences up to this ratio of their lengths to
// their median distance from the middle, squared.
constexpr double kLargestRatio = 1e4;
// The constant above the rest, over its median length: how closely the coefficients sum to 1.
constexpr double kHeight = 1e4;

double median(VectorXd values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

CnmfData::CnmfData(const PointSet& points) : points_(points) {
  const VectorXd middle = median_of_some(points.points);
  MatrixXd centred = points.points.colwise() - middle;
  const VectorXd lengths = centred.colwise().norm();
  const double spread = median(lengths);
  if (spread == 0 || middle.squaredNorm() <= kLargestRatio * spread * spread) return;
  offset_ = middle;
  rest_ = std::move(centred);
  offset_products_ = rest_.transpose() * offset_;
  height_ = std::max(kHeight * spread, lengths.maxCoeff());
  raised_.resize(rest_.rows() + 1, rest_.cols());
  raised_.topRows(rest_.rows()) = rest_;
  raised_.bottomRows(1).setConstant(height_);
  raised_inverse_lengths_ = raised_.colwise().norm().cwiseInverse();
}

}  // namespace vtcd
