// SPDX-License-Identifier: MIT
#include "core/interpolation.h"

namespace vtcd {
namespace {

// Appends a cell, in parts of almost equal length where it is longer than kMaxCellLength.
void append(std::vector<AxisCell>& cells, const AxisCell& cell) {
  const int64_t parts = (cell.count + kMaxCellLength - 1) / kMaxCellLength;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = cell.count * part / parts;
    const int64_t end = cell.count * (part + 1) / parts;
    cells.push_back({cell.first + begin, end - begin, cell.lower, cell.upper, cell.weight_at(begin),
                     cell.slope});
  }
}

}  // namespace

std::vector<AxisCell> axis_cells(int64_t num_tokens, int64_t num_voxels,
                                 Interpolation interpolation) {
  const bool between = interpolation == Interpolation::kTrilinear && num_tokens > 1;
  const double slope = between && num_voxels > 1 ? static_cast<double>(num_tokens - 1) /
                                                       static_cast<double>(num_voxels - 1)
                                                 : 0.0;
  const std::vector<AxisPoint> points = axis_points(num_tokens, num_voxels, interpolation);
  std::vector<AxisCell> cells;
  for (int64_t first = 0; first < num_voxels;) {
    const AxisPoint& point = points[first];
    int64_t end = first + 1;
    while (end < num_voxels && points[end].lower == point.lower) ++end;
    append(cells, {first, end - first, point.lower, point.upper, point.weight, slope});
    first = end;
  }
  return cells;
}

std::vector<AxisPoint> axis_points(int64_t num_tokens, int64_t num_voxels,
                                   Interpolation interpolation) {
  std::vector<AxisPoint> points(num_voxels);
  for (int64_t voxel = 0; voxel < num_voxels; ++voxel)
    points[voxel] = interpolation == Interpolation::kTrilinear
                        ? linear_point(voxel, num_tokens, num_voxels)
                        : nearest_point(voxel, num_tokens, num_voxels);
  return points;
}

CellGrid::CellGrid(Shape3 grid, Shape3 size, Interpolation interpolation)
    : grid(grid),
      size(size),
      interpolation(interpolation),
      z(axis_cells(grid.t, size.t, interpolation)),
      y(axis_cells(grid.h, size.h, interpolation)),
      x(axis_cells(grid.w, size.w, interpolation)) {}

}  // namespace vtcd
