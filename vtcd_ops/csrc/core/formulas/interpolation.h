// SPDX-License-Identifier: MIT
// Where a voxel lies between the tokens of an axis, what it is worth there, and the cells of voxels
// on which the interpolation is affine.
#pragma once

#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// Token grid (t, h, w) or volume (T, H, W).
struct Shape3 {
  int64_t t, h, w;
  VTCD_HOST_DEVICE int64_t count() const { return t * h * w; }
};

enum class Interpolation {
  kTrilinear,  // corners aligned: voxel x lies at token x * (t - 1) / (T - 1)
  kNearest,    // voxel x is token floor(x * t / T)
};

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

VTCD_HOST_DEVICE inline AxisPoint axis_point(int64_t voxel, int64_t num_tokens, int64_t num_voxels,
                                             Interpolation interpolation) {
  return interpolation == Interpolation::kTrilinear ? linear_point(voxel, num_tokens, num_voxels)
                                                    : nearest_point(voxel, num_tokens, num_voxels);
}

// Consecutive voxels of one axis between the same two tokens: voxel `first + d` has the value
// (1 - u) * token[lower] + u * token[upper] with u = weight + slope * d.
struct AxisCell {
  int64_t first, count;
  int64_t lower, upper;
  double weight, slope;

  VTCD_HOST_DEVICE double weight_at(int64_t offset) const {
    return weight + slope * static_cast<double>(offset);
  }
  // The adjoint of the interpolation: what voxels weigh on the two tokens, from the sum of their
  // values and the sum of value * offset. In: those sums; out: on the lower and the upper token.
  VTCD_HOST_DEVICE void to_tokens(double& values, double& offsets) const {
    const double on_upper = weight * values + slope * offsets;
    values -= on_upper;
    offsets = on_upper;
  }
};

// No cell is longer, so that its voxels fit fixed buffers.
inline constexpr int64_t kMaxCellLength = 16;

// Places of the cells of an axis, in order; a place may be empty. An interval of voxels between the
// same two tokens has `parts` places, for parts of almost equal length where it is longer than
// kMaxCellLength.
struct AxisCells {
  VTCD_HOST_DEVICE AxisCells(int64_t num_tokens, int64_t num_voxels, Interpolation interpolation)
      : num_tokens(num_tokens), num_voxels(num_voxels), interpolation(interpolation) {
    const bool linear = interpolation == Interpolation::kTrilinear;
    is_point = linear && (num_tokens == 1 || num_voxels == 1);
    steps = is_point ? 1 : linear ? num_voxels - 1 : num_voxels;
    num_intervals = is_point ? 1 : linear ? num_tokens - 1 : num_tokens;
    const int64_t longest =
        is_point ? num_voxels : (steps + num_intervals - 1) / num_intervals + (linear ? 1 : 0);
    parts = (longest + kMaxCellLength - 1) / kMaxCellLength;
  }

  VTCD_HOST_DEVICE int64_t count() const { return num_intervals * parts; }
  VTCD_HOST_DEVICE int64_t parts_of_interval() const { return parts; }

  VTCD_HOST_DEVICE AxisCell cell(int64_t place) const {
    const int64_t interval = place / parts, part = place % parts;
    const int64_t first = begin(interval), length = begin(interval + 1) - first;
    const int64_t own_parts = (length + kMaxCellLength - 1) / kMaxCellLength;
    if (part >= own_parts) return {first, 0, 0, 0, 0.0, 0.0};
    const int64_t from = length * part / own_parts, to = length * (part + 1) / own_parts;
    const AxisPoint point = axis_point(first, num_tokens, num_voxels, interpolation);
    const bool between = interpolation == Interpolation::kTrilinear && !is_point;
    const double slope =
        between ? static_cast<double>(num_tokens - 1) / static_cast<double>(num_voxels - 1) : 0.0;
    const AxisCell whole{first, length, point.lower, point.upper, point.weight, slope};
    return {first + from, to - from, point.lower, point.upper, whole.weight_at(from), slope};
  }

  // Whether any voxel is interpolated from a token, with whatever weight.
  VTCD_HOST_DEVICE bool uses(int64_t token) const {
    if (is_point) return token == 0;
    const bool as_lower = token < num_intervals && begin(token) < begin(token + 1);
    const bool as_upper =
        interpolation == Interpolation::kTrilinear && token > 0 && begin(token - 1) < begin(token);
    return as_lower || as_upper;
  }

 private:
  // The first voxel of an interval, or of a later one.
  VTCD_HOST_DEVICE int64_t begin(int64_t interval) const {
    if (interval >= num_intervals) return num_voxels;
    return (interval * steps + num_intervals - 1) / num_intervals;
  }

  int64_t num_tokens, num_voxels;
  Interpolation interpolation;
  bool is_point;  // all voxels are on the first token
  int64_t steps, num_intervals, parts;
};

}  // namespace vtcd
