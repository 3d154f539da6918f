// SPDX-License-Identifier: MIT
// Interpolation of a token grid to a volume, one axis at a time, as every operator here sees it:
// the voxels of an axis fall into cells on which the interpolation is affine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/formulas/interpolation.h"

namespace vtcd {

// Token grid (t, h, w) or volume (T, H, W).
struct Shape3 {
  int64_t t, h, w;
  int64_t count() const { return t * h * w; }
};

enum class Interpolation {
  kTrilinear,  // corners aligned: voxel x lies at token x * (t - 1) / (T - 1)
  kNearest,    // voxel x is token floor(x * t / T)
};

// Consecutive voxels of one axis between the same two tokens: voxel `first + d` has the value
// (1 - u) * token[lower] + u * token[upper] with u = weight + slope * d.
struct AxisCell {
  int64_t first, count;
  int64_t lower, upper;
  double weight, slope;

  double weight_at(int64_t offset) const { return weight + slope * static_cast<double>(offset); }
  // The adjoint of the interpolation: what voxels weigh on the two tokens, from the sum of their
  // values and the sum of value * offset. In: those sums; out: on the lower and the upper token.
  void to_tokens(double& values, double& offsets) const {
    const double on_upper = weight * values + slope * offsets;
    values -= on_upper;
    offsets = on_upper;
  }
};

// No cell is longer, so that its voxels fit fixed buffers.
inline constexpr int64_t kMaxCellLength = 16;

// The cells of an axis of `num_tokens` brought to `num_voxels`, in order. Every voxel is in one.
std::vector<AxisCell> axis_cells(int64_t num_tokens, int64_t num_voxels,
                                 Interpolation interpolation);

// Where each voxel of an axis lies.
std::vector<AxisPoint> axis_points(int64_t num_tokens, int64_t num_voxels,
                                   Interpolation interpolation);

// The cells of the three axes. A product of three cells is a box on which the interpolated
// features are affine in each coordinate, so their extremes are at the box's corner voxels.
struct CellGrid {
  CellGrid(Shape3 grid, Shape3 size, Interpolation interpolation);

  Shape3 grid, size;
  Interpolation interpolation;
  std::vector<AxisCell> z, y, x;
};

}  // namespace vtcd
