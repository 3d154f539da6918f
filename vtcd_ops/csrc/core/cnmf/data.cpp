// SPDX-License-Identifier: MIT
#include "core/cnmf/data.h"

#include <algorithm>
#include <utility>

#include "core/formulas/cnmf.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

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
  if (!is_offset_large(middle.squaredNorm(), spread)) return;
  offset_ = middle;
  rest_ = std::move(centred);
  offset_products_ = rest_.transpose() * offset_;
  height_ = cone_height(spread, lengths.maxCoeff());
  raised_.resize(rest_.rows() + 1, rest_.cols());
  raised_.topRows(rest_.rows()) = rest_;
  raised_.bottomRows(1).setConstant(height_);
  raised_inverse_lengths_ = raised_.colwise().norm().cwiseInverse();
}

}  // namespace vtcd
