// SPDX-License-Identifier: MIT
#include "core/slic3d/box_sums.h"

#include <cmath>

namespace vtcd {

void BoxSums::subtract(const BoxSums& other) {
  extent.count -= other.extent.count;
  for (int axis = 0; axis < 3; ++axis) extent.coordinates[axis] -= other.extent.coordinates[axis];
  for (int i = 0; i < 8; ++i) weights[i] -= other.weights[i];
}

BoxAdjoint::BoxAdjoint(const CellGrid& cells)
    : axes_{axis_of(cells.z, cells.grid.t, cells.size.t, cells.interpolation),
            axis_of(cells.y, cells.grid.h, cells.size.h, cells.interpolation),
            axis_of(cells.x, cells.grid.w, cells.size.w, cells.interpolation)} {}

BoxAdjoint::Axis BoxAdjoint::axis_of(const std::vector<AxisCell>& cells, int64_t num_tokens,
                                     int64_t num_voxels, Interpolation interpolation) {
  const bool between =
      interpolation == Interpolation::kTrilinear && num_tokens > 1 && num_voxels > 1;
  const double scale = between ? static_cast<double>(num_voxels - 1) : 1;
  const double slope = between ? static_cast<double>(num_tokens - 1) : 0;
  Axis axis{scale, num_tokens, {}};
  for (const AxisCell& cell : cells) {
    const int64_t offsets = cell.count * (cell.count - 1) / 2;
    Cell found{cell,
               std::nearbyint(cell.weight * scale),
               slope,
               static_cast<double>(cell.count),
               static_cast<double>(offsets),
               cell.first * cell.count + offsets};
    found.to_tokens(scale, found.all_lower, found.all_upper);
    axis.cells.push_back(found);
  }
  return axis;
}

BoxSums BoxAdjoint::all(const BoxPlace& box) const {
  const Cell &z = axes_[0].cells[box.z], &y = axes_[1].cells[box.y], &x = axes_[2].cells[box.x];
  const int64_t zy = z.cell.count * y.cell.count;
  const double lower = z.all_lower * y.all_lower, middle = z.all_lower * y.all_upper,
               inner = z.all_upper * y.all_lower, upper = z.all_upper * y.all_upper;
  return {{zy * x.cell.count,
           {z.coordinates * (y.cell.count * x.cell.count),
            y.coordinates * (z.cell.count * x.cell.count), x.coordinates * zy}},
          {lower * x.all_lower, lower * x.all_upper, middle * x.all_lower, middle * x.all_upper,
           inner * x.all_lower, inner * x.all_upper, upper * x.all_lower, upper * x.all_upper}};
}

BoxSums BoxAdjoint::sums(const BoxPlace& box, const Moments& m) const {
  const Cell &z = axes_[0].cells[box.z], &y = axes_[1].cells[box.y], &x = axes_[2].cells[box.x];
  const int64_t count = static_cast<int64_t>(m[0]);
  BoxSums found{{count,
                 {z.cell.first * count + static_cast<int64_t>(m[4]),
                  y.cell.first * count + static_cast<int64_t>(m[2]),
                  x.cell.first * count + static_cast<int64_t>(m[1])}},
                m};
  TokenWeights& w = found.weights;
  for (int i = 0; i < 4; ++i) z.to_tokens(axes_[0].scale, w[i], w[i + 4]);
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) y.to_tokens(axes_[1].scale, w[i + j], w[i + j + 2]);
  for (int i = 0; i < 8; i += 2) x.to_tokens(axes_[2].scale, w[i], w[i + 1]);
  return found;
}

std::vector<double> BoxAdjoint::of_seeds(int axis, const std::vector<int32_t>& nearest,
                                         size_t num_seeds) const {
  const auto& [scale, num_tokens, cells] = axes_[axis];
  std::vector<double> sums(num_seeds * num_tokens);
  for (const Cell& each : cells)
    for (int64_t d = 0; d < each.cell.count; ++d) {
      double* of_seed = &sums[nearest[each.cell.first + d] * num_tokens];
      double lower = 1, upper = static_cast<double>(d);
      each.to_tokens(scale, lower, upper);
      of_seed[each.cell.lower] += lower;
      of_seed[each.cell.upper] += upper;
    }
  return sums;
}

}  // namespace vtcd
