// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "core/point_set.h"

namespace vtcd {

// The data of a factorisation, taken apart where they lie close together far from the origin:
// points = offset 1^T + rest. Centres are convex combinations, so they are offset + rest * g, and
// no sum needs the offset's digits. Elsewhere there is no offset and rest is the points.
class CnmfData {
 public:
  explicit CnmfData(const PointSet& points);

  int64_t size() const { return points_.size(); }
  bool has_offset() const { return offset_.size() > 0; }
  const Eigen::VectorXd& offset() const { return offset_; }  // [C]; empty: there is none
  double squared_offset() const { return offset_.squaredNorm(); }
  const Eigen::VectorXd& offset_products() const { return offset_products_; }  // [N] offset^T rest

  const Eigen::MatrixXd& rest() const { return has_offset() ? rest_ : points_.points; }  // [C, N]

  // Centres are sought in the cone of these: the points, or with an offset the rest above a large
  // constant, the height, which keeps the sum of the coefficients at 1. [C, N] or [C + 1, N]
  const Eigen::MatrixXd& cone() const { return has_offset() ? raised_ : points_.points; }
  const Eigen::VectorXd& cone_inverse_lengths() const {  // [N], 0 for a zero vector
    return has_offset() ? raised_inverse_lengths_ : points_.inverse_norms;
  }
  double height() const { return height_; }

 private:
  const PointSet& points_;
  Eigen::VectorXd offset_, offset_products_, raised_inverse_lengths_;
  Eigen::MatrixXd rest_, raised_;  // with an offset only
  double height_ = 0;
};

}  // namespace vtcd
