// SPDX-License-Identifier: MIT
// Where a voxel lies between the tokens of an axis, and what it is worth there.
#pragma once

#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// A voxel of one axis has the value (1 - weight) * token[lower] + weight * token[upper].
struct AxisPoint {
  int64_t lower, upper;
  double weight;
};

// Aligned corners: voxel x lies at token x * (num_tokens - 1) / (num_voxels - 1). The division of
// integers makes a voxel that lies on a token lie there exactly.
VTCD_HOST_DEVICE inline AxisPoint linear_point(int64_t voxel, int64_t num_tokens,
                                               int64_t num_voxels) {
  if (num_tokens == 1 || num_voxels == 1) return {0, 0, 0.0};
  const int64_t steps = num_voxels - 1, position = voxel * (num_tokens - 1);
  const int64_t lower = position / steps;
  // The last voxel is between the last two tokens, with weight 1.
  if (lower == num_tokens - 1) return {lower - 1, lower, 1.0};
  return {lower, lower + 1, static_cast<double>(position % steps) / static_cast<double>(steps)};
}

// Voxel x is token floor(x * num_tokens / num_voxels).
VTCD_HOST_DEVICE inline AxisPoint nearest_point(int64_t voxel, int64_t num_tokens,
                                                int64_t num_voxels) {
  const int64_t token = voxel * num_tokens / num_voxels;
  return {token, token, 0.0};
}

// Between a and b by a weight from 0 to 1: a and b themselves at the ends, never beyond them, and
// accurate to a few roundings of the result where both have the same sign.
VTCD_HOST_DEVICE inline double interpolate(double a, double b, double weight) {
  const double value = (1 - weight) * a + weight * b;
  const double low = a < b ? a : b, high = a < b ? b : a;
  return value < low ? low : value > high ? high : value;
}

}  // namespace vtcd
