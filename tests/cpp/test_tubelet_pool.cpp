// SPDX-License-Identifier: MIT
#include "core/tubelet_pool.h"

#include <gtest/gtest.h>

#include <vector>

#include "threads.h"

namespace vtcd {
namespace {

TEST(AxisCells, AlignedCornersCoverEveryVoxelOnce) {
  for (const int64_t tokens : {1, 2, 3, 8}) {
    for (const int64_t voxels : {1, 2, 7, 40}) {
      int64_t next = 0;
      for (const AxisCell& cell : axis_cells(tokens, voxels, Interpolation::kTrilinear)) {
        EXPECT_EQ(cell.first, next);
        EXPECT_LE(cell.count, kMaxCellLength);
        for (int64_t d = 0; d < cell.count; ++d) {
          const double position = static_cast<double>(cell.lower) + cell.weight_at(d);
          const double expected = voxels > 1
                                      ? static_cast<double>((cell.first + d) * (tokens - 1)) /
                                            static_cast<double>(voxels - 1)
                                      : 0.0;
          EXPECT_NEAR(position, expected, 1e-12);
          EXPECT_LT(cell.upper, tokens);
        }
        next += cell.count;
      }
      EXPECT_EQ(next, voxels);
    }
  }
}

TEST(AxisCells, NearestIsTheFloor) {
  for (const AxisCell& cell : axis_cells(3, 7, Interpolation::kNearest))
    for (int64_t d = 0; d < cell.count; ++d) {
      EXPECT_EQ(cell.lower, (cell.first + d) * 3 / 7);
      EXPECT_EQ(cell.weight_at(d), 0.0);
    }
}

TEST(TubeletPool, MeansOfARamp) {
  const std::vector<double> features = {0, 2};  // voxels 0, 0.5, 1, 1.5, 2
  const std::vector<int32_t> labels = {0, 0, 2, -1, 2};
  const CellGrid cells({1, 1, 2}, {1, 1, 5}, Interpolation::kTrilinear);
  std::vector<double> means(3, -7);
  std::vector<int64_t> counts(3, -7);
  tubelet_pool(features.data(), 1, labels.data(), 3, cells, serial_for, means.data(),
               counts.data());
  EXPECT_EQ(counts, (std::vector<int64_t>{2, 0, 2}));
  EXPECT_DOUBLE_EQ(means[0], 0.25);
  EXPECT_EQ(means[1], 0);
  EXPECT_DOUBLE_EQ(means[2], 1.5);
}

TEST(TubeletPool, BackwardIsTheTranspose) {
  // <means(f), g> = <f, backward(g)> for a linear map.
  const CellGrid cells({2, 3, 3}, {3, 7, 20}, Interpolation::kTrilinear);
  const int64_t num_channels = 3, num_tokens = 18, num_labels = 70;
  std::vector<double> features(num_channels * num_tokens), grad(num_labels * num_channels);
  std::vector<int64_t> labels(cells.size.count());
  for (size_t i = 0; i < features.size(); ++i) features[i] = static_cast<double>(i * 37 % 19) - 9;
  for (size_t i = 0; i < grad.size(); ++i) grad[i] = static_cast<double>(i * 53 % 23) - 11;
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i * 31 % 71) - 1;
  std::vector<double> means(grad.size()), back(features.size());
  std::vector<int64_t> counts(num_labels);
  tubelet_pool(features.data(), num_channels, labels.data(), num_labels, cells, threaded_for(3),
               means.data(), counts.data());
  tubelet_pool_backward(grad.data(), num_channels, labels.data(), counts.data(), num_labels, cells,
                        threaded_for(3), back.data());
  double forward = 0, backward = 0;
  for (size_t i = 0; i < grad.size(); ++i) forward += means[i] * grad[i];
  for (size_t i = 0; i < back.size(); ++i) backward += back[i] * features[i];
  EXPECT_NEAR(forward, backward, 1e-9);
}

}  // namespace
}  // namespace vtcd
