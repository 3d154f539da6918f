// SPDX-License-Identifier: MIT
#include "core/interpolation.h"

namespace vtcd {
std::vector<AxisCell> axis_cells(int64_t num_tokens, int64_t num_voxels,
                                 Interpolation interpolation) {
  const AxisCells places(num_tokens, num_voxels, interpolation);
  std::vector<AxisCell> cells;
  for (int64_t place = 0; place < places.count(); ++place) {
    const AxisCell cell = places.cell(place);
    if (cell.count > 0) cells.push_back(cell);
  }
  return cells;
}

std::vector<AxisPoint> axis_points(int64_t num_tokens, int64_t num_voxels,
                                   Interpolation interpolation) {
  std::vector<AxisPoint> points(num_voxels);
  for (int64_t voxel = 0; voxel < num_voxels; ++voxel)
    points[voxel] = axis_point(voxel, num_tokens, num_voxels, interpolation);
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
