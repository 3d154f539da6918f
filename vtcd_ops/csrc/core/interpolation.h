// SPDX-License-Identifier: MIT
// Interpolation of a token grid to a volume, one axis at a time, as every operator here sees it:
// the voxels of an axis fall into cells on which the interpolation is affine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/formulas/interpolation.h"

namespace vtcd {

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
