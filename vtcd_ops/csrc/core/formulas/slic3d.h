// SPDX-License-Identifier: MIT
// The arithmetic of SLIC, operation by operation as scikit-image does it: where distances differ by
// rounding alone, the same rounding gives the same label.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// A feature as the distances take it: brought into the numbers' range, shifted and scaled to
// [0, 1], then divided by the compactness.
struct FeatureScale {
  double low, length;  // the least interpolated feature, and the largest less the least
  double ratio;        // 1 / compactness
  int exponent;        // features are taken times 2^exponent, and so are low and length

  VTCD_HOST_DEVICE double apply(double feature) const {
    return length > 0 ? (feature - low) / length * ratio : (feature - low) * ratio;
  }

  // Powers of 2 change no digit; in two steps, for their product may be beyond the numbers' range.
  VTCD_HOST_DEVICE double scaled(double feature) const {
    return apply(exponent == 0 ? feature : std::scalbn(feature, exponent));
  }
};

// low, high: of the interpolated features; largest: of the tokens' magnitudes.
VTCD_HOST_DEVICE inline FeatureScale feature_scale(double low, double high, double largest,
                                                   double compactness) {
  constexpr double kLeastCompactness = 1e-150;
  constexpr int kLargestExponent = 900;
  const int exponent = largest > 0 ? std::ilogb(largest) : 0;
  const int taken = exponent > kLargestExponent || exponent < -kLargestExponent ? -exponent : 0;
  const double scaled_low = std::scalbn(low, taken), scaled_high = std::scalbn(high, taken);
  const double divisor = compactness > kLeastCompactness ? compactness : kLeastCompactness;
  return {scaled_low, scaled_high - scaled_low, 1 / divisor, taken};
}

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

// The seeds of an axis: at start, start + step, ...
struct SeedAxis {
  int64_t start, step, count;

  VTCD_HOST_DEVICE int64_t position(int64_t seed) const { return start + seed * step; }

  // The nearest to a voxel, the lower one of two.
  VTCD_HOST_DEVICE int64_t nearest(int64_t voxel) const {
    const int64_t below = voxel > start ? (voxel - start) / step : 0;
    if (below >= count - 1) return count - 1;
    const int64_t offset = voxel - position(below);
    return position(below + 1) - voxel < (offset < 0 ? -offset : offset) ? below + 1 : below;
  }
};

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

// Distances of interpolated features that differ by no more than rounding are equal, and the first
// cluster has the voxel: d and e are where |d - e| <= tie * (2 d + |f|^2). The bound comes from
// that of squared_difference_error() for the cluster of the most voxels: |f - c| (16 |f| + (n + 16)
// |c|) with |c| <= |f| + |f - c|, for two clusters.
VTCD_HOST_DEVICE inline double tie_bound(int64_t most_voxels) {
  return 0x1p-50 * static_cast<double>(most_voxels + 32);
}

// What a distance must not exceed to be equal to the least one.
VTCD_HOST_DEVICE inline double tie_limit(double least, double tie, double squared_feature) {
  return least + tie * (2 * least + squared_feature);
}

// A distance, and how far rounding can have moved it.
struct Measured {
  double distance, error;

  // Whether rounding alone can have made it the larger one of two.
  VTCD_HOST_DEVICE bool as_near_as(const Measured& nearest) const {
    return distance - error <= nearest.distance + nearest.error;
  }
};

// The number of voxels that is `factor` of a mean segment: no fragment is larger than the volume.
VTCD_HOST_DEVICE inline int64_t voxels_of_segments(double factor, int64_t num_voxels,
                                                   int64_t num_segments) {
  const double voxels = static_cast<double>(num_voxels);
  const double share = factor * (voxels / static_cast<double>(num_segments));
  return static_cast<int64_t>(share < voxels + 1 ? share : voxels + 1);
}

}  // namespace vtcd
