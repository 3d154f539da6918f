// SPDX-License-Identifier: MIT
#include "core/slic3d/seeds.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vtcd {

std::array<RegularAxis, 3> regular_grid(Shape3 size, int64_t num_points) {
  const double points = static_cast<double>(num_points);
  if (static_cast<double>(size.count()) <= points) return {{{0, 1}, {0, 1}, {0, 1}}};
  const std::array<int64_t, 3> extent = {size.t, size.h, size.w};
  std::array<int, 3> order = {0, 1, 2};  // axes, shortest first
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return extent[a] < extent[b]; });
  std::array<double, 3> steps;
  steps.fill(std::pow(static_cast<double>(size.count()) / points, 1.0 / 3.0));
  auto fits = [&] {
    for (int i = 0; i < 3; ++i)
      if (static_cast<double>(extent[order[i]]) < steps[i]) return false;
    return true;
  };
  // An axis too short for a step has one step; the points are spread over the longer ones.
  double rest = static_cast<double>(size.count());
  for (int i = 0; i < 2 && !fits(); ++i) {
    steps[i] = static_cast<double>(extent[order[i]]);
    rest /= steps[i];
    std::fill(steps.begin() + i + 1, steps.end(), std::pow(rest / points, 1.0 / (2 - i)));
  }
  std::array<RegularAxis, 3> axes;
  for (int i = 0; i < 3; ++i)
    axes[order[i]] = {static_cast<int64_t>(std::floor(steps[i] / 2)),
                      static_cast<int64_t>(std::nearbyint(steps[i]))};
  return axes;
}

Seeds::Seeds(Shape3 size, int64_t num_segments) {
  const std::array<int64_t, 3> extent = {size.t, size.h, size.w};
  const auto asked = regular_grid(size, num_segments);
  for (int axis = 0; axis < 3; ++axis) {
    auto& seeds = coordinates[axis];
    for (int64_t at = asked[axis].start; at < extent[axis]; at += asked[axis].step)
      seeds.push_back(at);
    axes[axis] = {asked[axis].start, asked[axis].step, static_cast<int64_t>(seeds.size())};
    for (int64_t voxel = 0; voxel < extent[axis]; ++voxel)
      nearest[axis].push_back(static_cast<int32_t>(axes[axis].nearest(voxel)));
  }
  const int64_t step = std::max({asked[0].step, asked[1].step, asked[2].step});
  spatial_weight = 1.0 / static_cast<double>(step * step);
  const auto actual = regular_grid(size, count());
  for (int axis = 0; axis < 3; ++axis) reach[axis] = 2 * actual[axis].step;
}

int64_t Seeds::count() const {
  return static_cast<int64_t>(coordinates[0].size() * coordinates[1].size() *
                              coordinates[2].size());
}

std::vector<Cluster> Seeds::clusters(Shape3 size) const {
  std::vector<Cluster> found;
  for (const int64_t z : coordinates[0])
    for (const int64_t y : coordinates[1])
      for (const int64_t x : coordinates[2]) {
        found.emplace_back();
        move_to_mean(found.back(), {1, {z, y, x}}, size, reach);
      }
  return found;
}

void Seeds::write_labels(Shape3 size, int32_t* labels) const {
  const int64_t num_y = static_cast<int64_t>(coordinates[1].size());
  const int64_t num_x = static_cast<int64_t>(coordinates[2].size());
  for (int64_t z = 0; z < size.t; ++z)
    for (int64_t y = 0; y < size.h; ++y, labels += size.w) {
      const int64_t first = (nearest[0][z] * num_y + nearest[1][y]) * num_x;
      for (int64_t x = 0; x < size.w; ++x) labels[x] = static_cast<int32_t>(first) + nearest[2][x];
    }
}

}  // namespace vtcd
