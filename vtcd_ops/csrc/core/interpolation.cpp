// SPDX-License-Identifier: MIT
#include "core/interpolation.h"

#include <algorithm>
#include <cmath>

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
  const bool linear = interpolation == Interpolation::kTrilinear;
  const double scale =
      num_voxels > 1 ? static_cast<double>(num_tokens - 1) / static_cast<double>(num_voxels - 1)
                     : 0.0;
  // The last voxel belongs to the cell before the last token, with u = 1.
  const int64_t last_lower = std::max<int64_t>(num_tokens - 2, 0);
  auto lower_token = [&](int64_t voxel) {
    if (!linear) return voxel * num_tokens / num_voxels;
    return std::min(static_cast<int64_t>(scale * static_cast<double>(voxel)), last_lower);
  };
  std::vector<AxisCell> cells;
  for (int64_t first = 0; first < num_voxels;) {
    const int64_t lower = lower_token(first);
    int64_t end = first + 1;
    while (end < num_voxels && lower_token(end) == lower) ++end;
    const bool between = linear && num_tokens > 1;
    const double weight = scale * static_cast<double>(first) - static_cast<double>(lower);
    append(cells, {first, end - first, lower, between ? lower + 1 : lower, between ? weight : 0.0,
                   between ? scale : 0.0});
    first = end;
  }
  return cells;
}

CellGrid::CellGrid(Shape3 grid, Shape3 size, Interpolation interpolation)
    : grid(grid),
      size(size),
      z(axis_cells(grid.t, size.t, interpolation)),
      y(axis_cells(grid.h, size.h, interpolation)),
      x(axis_cells(grid.w, size.w, interpolation)) {}

}  // namespace vtcd
