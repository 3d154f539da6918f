// SPDX-License-Identifier: MIT
// Boxes by the intervals of their rows: against every voxel of every row, in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "core/formulas/slic3d_margin.h"
#include "core/slic3d/box_rows.h"
#include "core/slic3d/box_sums.h"

namespace vtcd {
namespace {

constexpr float kRoundoff = 0x1p-24f;

// Corner values of `Count` clusters on a box, those of the first 0.
template <int Count>
using CornerValues = std::array<std::array<float, 8>, Count>;

// Numbers from -1 to 1: without a pattern, or whole multiples of 1/4, which tie often.
template <int Count>
CornerValues<Count> drawn(std::mt19937& engine, bool ties) {
  CornerValues<Count> values{};
  std::uniform_real_distribution<float> any(-1, 1);
  for (int k = 1; k < Count; ++k)
    for (float& value : values[k])
      value = ties ? std::round(4 * any(engine)) / 4 : any(engine) / static_cast<float>(k);
  return values;
}

double interpolated(const std::array<float, 8>& corner, double z, double y, double x) {
  double sum = 0;
  for (int i = 0; i < 8; ++i)
    sum += static_cast<double>(corner[i]) * (i / 4 ? z : 1 - z) * (i / 2 % 2 ? y : 1 - y) *
           (i % 2 ? x : 1 - x);
  return sum;
}

double fraction(int64_t offset, int64_t count) {
  return count > 1 ? static_cast<double>(offset) / static_cast<double>(count - 1) : 0;
}

template <int Count>
RowValues on_rows(const CornerValues<Count>& values, const RowLanes& rows, int64_t pack, int k,
                  int64_t length) {
  const float inverse = length > 1 ? 1.0f / static_cast<float>(length - 1) : 0.0f;
  float corner[4][2];
  for (int i = 0; i < 8; ++i) corner[i / 2][i % 2] = values[k][i];
  return row_values(corner, rows, pack, inverse);
}

// How many rows were certain, and how many had all voxels farther from a tie than `clear`.
struct Seen {
  int64_t certain = 0, clear = 0, all = 0;
};

template <int Count>
void compare(const CornerValues<Count>& values, int64_t num_z, int64_t num_y, int64_t length,
             Seen& seen) {
  float largest = 0;
  for (const auto& corners : values)
    for (const float value : corners) largest = std::max(largest, std::abs(value));
  const double error = row_rounding(kRoundoff) * static_cast<double>(largest);
  const float margin = 3 * static_cast<float>(error) + 1e-6f;
  const RowLanes rows(num_z, num_y);
  for (int64_t row = 0; row < num_z * num_y; ++row) {
    const int64_t pack = row / kFloatPackSize, lane = row % kFloatPackSize;
    RowValues distance[Count];
    for (int k = 0; k < Count; ++k) distance[k] = on_rows<Count>(values, rows, pack, k, length);
    RowIntervals interval[Count];
    find_intervals(distance, static_cast<float>(length), interval);
    const IntPack certain = certain_rows(distance, interval, static_cast<float>(length), margin);
    bool clear = true;
    const double z = fraction(row / num_y, num_z), y = fraction(row % num_y, num_y);
    for (int64_t x = 0; x < length; ++x) {
      double exact[Count];
      for (int k = 0; k < Count; ++k) {
        exact[k] = interpolated(values[k], z, y, fraction(x, length));
        const FloatPack at = distance[k].at(broadcast(static_cast<float>(x)));
        ASSERT_LE(std::abs(static_cast<double>(at[lane]) - exact[k]), error / 2);
      }
      const int nearest = static_cast<int>(std::min_element(exact, exact + Count) - exact);
      for (int k = 0; k < Count; ++k) {
        clear &= k == nearest || exact[k] - exact[nearest] > 2 * static_cast<double>(margin);
        const bool inside = static_cast<float>(x) >= interval[k].begin[lane] &&
                            static_cast<float>(x) < interval[k].end[lane];
        if (certain[lane]) {
          ASSERT_EQ(inside, k == nearest);
        }
      }
    }
    if (clear) {
      ASSERT_TRUE(certain[lane]);
    }
    ++seen.all;
    seen.clear += clear;
    seen.certain += certain[lane] != 0;
  }
}

template <int Count>
void compare_many(bool ties) {
  std::mt19937 engine(Count);
  Seen seen;
  const std::array<std::array<int64_t, 3>, 8> sizes{{{2, 9, 9},
                                                     {1, 1, 1},
                                                     {3, 8, 1},
                                                     {1, 7, 2},
                                                     {2, 1, 16},
                                                     {16, 16, 16},
                                                     {1, 5, 15},
                                                     {5, 3, 8}}};
  for (int i = 0; i < 40; ++i)
    for (const auto& [num_z, num_y, length] : sizes)
      compare<Count>(drawn<Count>(engine, ties), num_z, num_y, length, seen);
  EXPECT_GT(seen.certain, seen.all / 4);
  EXPECT_GT(seen.clear, seen.all / 4);
  if (ties) {
    EXPECT_LT(seen.certain, seen.all);
  }
}

TEST(Slic3dRows, CertainRowsAreThoseOfEveryVoxel) {
  for (const bool ties : {false, true}) {
    compare_many<2>(ties);
    compare_many<3>(ties);
    compare_many<5>(ties);
    compare_many<8>(ties);
  }
}

TEST(Slic3dRows, EqualDistancesAreNeverCertain) {
  const RowLanes rows(2, 4);
  CornerValues<3> values{};
  values[2].fill(1);
  RowValues distance[3];
  for (int k = 0; k < 3; ++k) distance[k] = on_rows<3>(values, rows, 0, k, 6);
  RowIntervals interval[3];
  find_intervals(distance, 6.0f, interval);
  const IntPack certain = certain_rows(distance, interval, 6.0f, 1e-6f);
  for (int lane = 0; lane < kFloatPackSize; ++lane) EXPECT_FALSE(certain[lane]);
}

// What voxels of a box add up to, from where each voxel of the volume lies between tokens.
BoxSums added_up(const CellGrid& cells, const BoxPlace& place, double scale,
                 const std::vector<bool>& chosen, Moments& moments) {
  const AxisCell* axis[3] = {&cells.z[place.z], &cells.y[place.y], &cells.x[place.x]};
  const std::vector<AxisPoint> at[3] = {
      axis_points(cells.grid.t, cells.size.t, cells.interpolation),
      axis_points(cells.grid.h, cells.size.h, cells.interpolation),
      axis_points(cells.grid.w, cells.size.w, cells.interpolation)};
  BoxSums sums{};
  moments = {};
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (!chosen[i]) continue;
    const int64_t voxel = static_cast<int64_t>(i), row = voxel / axis[2]->count;
    const int64_t offset[3] = {row / axis[1]->count, row % axis[1]->count, voxel % axis[2]->count};
    sums.extent.add(
        {1, {axis[0]->first + offset[0], axis[1]->first + offset[1], axis[2]->first + offset[2]}});
    for (int j = 0; j < 8; ++j) {
      double moment = 1, weight = scale;
      for (int a = 0; a < 3; ++a) {
        const bool upper = (j >> (2 - a) & 1) != 0;
        const double of_upper = at[a][axis[a]->first + offset[a]].weight;
        if (upper) moment *= static_cast<double>(offset[a]);
        weight *= upper ? of_upper : 1 - of_upper;
      }
      moments[j] += moment;
      sums.weights[j] += weight;
    }
  }
  return sums;
}

void expect_same(const BoxSums& found, const BoxSums& expected, double scale) {
  EXPECT_EQ(found.extent, expected.extent);
  for (int j = 0; j < 8; ++j) {
    EXPECT_EQ(found.weights[j], std::round(found.weights[j]));
    EXPECT_NEAR(found.weights[j], expected.weights[j], 1e-9 * scale);
  }
}

TEST(Slic3dSums, AdjointOfTheInterpolationIsExact) {
  std::mt19937 engine(1);
  for (const Interpolation interpolation : {Interpolation::kTrilinear, Interpolation::kNearest}) {
    const CellGrid cells({3, 5, 1}, {7, 31, 6}, interpolation);
    const BoxAdjoint adjoint(cells);
    const double scale = adjoint.scale();
    for (int64_t z = 0; z < static_cast<int64_t>(cells.z.size()); ++z)
      for (int64_t y = 0; y < static_cast<int64_t>(cells.y.size()); ++y)
        for (int64_t x = 0; x < static_cast<int64_t>(cells.x.size()); ++x) {
          std::vector<bool> some(cells.z[z].count * cells.y[y].count * cells.x[x].count);
          for (size_t i = 0; i < some.size(); ++i) some[i] = engine() % 2 == 0;
          Moments moments;
          const BoxSums expected = added_up(cells, {z, y, x}, scale, some, moments);
          const BoxSums found = adjoint.sums({z, y, x}, moments);
          expect_same(found, expected, scale);
          some.flip();
          BoxSums others = adjoint.all({z, y, x});
          others.subtract(found);
          expect_same(others, added_up(cells, {z, y, x}, scale, some, moments), scale);
        }
  }
}

}  // namespace
}  // namespace vtcd
