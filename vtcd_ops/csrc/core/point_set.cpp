// SPDX-License-Identifier: MIT
#include "core/point_set.h"

#include <cmath>
#include <utility>

namespace vtcd {

PointSet::PointSet(Eigen::MatrixXd columns)
    : points(std::move(columns)), squared_norms(points.cols()), inverse_norms(points.cols()) {
  for (Eigen::Index n = 0; n < points.cols(); ++n) {
    squared_norms[n] = points.col(n).squaredNorm();
    inverse_norms[n] = squared_norms[n] > 0 ? 1.0 / std::sqrt(squared_norms[n]) : 0.0;
  }
}

}  // namespace vtcd
