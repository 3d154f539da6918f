// SPDX-License-Identifier: MIT
// The arithmetic of SLIC, operation by operation as scikit-image does it: where distances differ by
// rounding alone, the same rounding gives the same label.
#pragma once

#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// A feature as the distances take it: shifted and scaled to [0, 1], then divided by the
// compactness.
struct FeatureScale {
  double low, length;  // the least interpolated feature, and the largest less the least
  double ratio;        // 1 / compactness
  int exponent;        // features are taken times 2^exponent, and so are low and length

  VTCD_HOST_DEVICE double apply(double feature) const {
    return length > 0 ? (feature - low) / length * ratio : (feature - low) * ratio;
  }
};

// Distances in space: the sum of the squared offsets along z, y and x, in this order, times weight.
struct SpatialScale {
  double spacing[3];
  double weight;  // 1 / step^2 for the largest step between seeds
};

// (spacing * (position - voxel))^2, the squared distance along an axis.
template <typename Number>
VTCD_HOST_DEVICE inline Number squared_offset(double spacing, double position, Number voxel) {
  const Number offset = spacing * (position - voxel);
  return offset * offset;
}

// sum + (feature - center)^2: the distance of the features is the sum over the channels in order.
template <typename Number>
VTCD_HOST_DEVICE inline Number add_squared_difference(Number sum, Number feature, double center) {
  const Number difference = feature - center;
  return sum + difference * difference;
}

// The voxels of an axis that a cluster at `position` may take: [begin, end).
VTCD_HOST_DEVICE inline void search_window(double position, int64_t reach, int64_t size,
                                           int64_t& begin, int64_t& end) {
  const double half = static_cast<double>(reach), bound = static_cast<double>(size);
  const double low = position - half, high = position + half + 1;
  begin = static_cast<int64_t>(low > 0 ? low : 0.0);
  end = static_cast<int64_t>(high < bound ? high : bound);
}

// What rounding can do to (feature - center)^2 where the feature was interpolated and the center is
// the mean of num_voxels such features, all of them at least 0; times the unit roundoff.
VTCD_HOST_DEVICE inline double squared_difference_error(double feature, double center,
                                                        double num_voxels) {
  const double difference = feature < center ? center - feature : feature - center;
  return 2 * difference * (16 * feature + (num_voxels + 16) * center);
}

}  // namespace vtcd
