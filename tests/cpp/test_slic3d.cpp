// SPDX-License-Identifier: MIT
#include "core/slic3d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "core/slic3d_range.h"
#include "core/slic3d_seeds.h"
#include "threads.h"

namespace vtcd {
namespace {

// Numbers without a pattern, in [0, 1).
std::vector<float> scattered(int64_t count) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    const double x = std::sin(12.9898 * static_cast<double>(i + 1)) * 43758.5453;
    values[i] = static_cast<float>(x - std::floor(x));
  }
  return values;
}

std::vector<int32_t> label(const std::vector<float>& features, int64_t num_channels, Shape3 grid,
                           Shape3 size, const Slic3dOptions& options,
                           const ParallelFor& parallel_for = serial_for) {
  std::vector<int32_t> labels(size.count(), -7);
  EXPECT_EQ(slic3d(features.data(), num_channels, grid, size, options, parallel_for, labels.data()),
            Slic3dStatus::kOk);
  return labels;
}

TEST(Slic3dSeeds, GridOfThePapersVolumes) {
  // 12 asked give 9 on 16 x 112 x 112 (steps 16, 32, 32; windows from 16, 37, 37).
  const Seeds seeds({16, 112, 112}, 12);
  EXPECT_EQ(seeds.count(), 9);
  EXPECT_EQ(seeds.coordinates[0], (std::vector<int64_t>{8}));
  EXPECT_EQ(seeds.coordinates[1], (std::vector<int64_t>{16, 48, 80}));
  EXPECT_EQ(seeds.reach, (std::array<int64_t, 3>{32, 74, 74}));
  EXPECT_EQ(seeds.spatial_weight, 1.0 / (32 * 32));
}

TEST(Slic3dSeeds, MoreSeedsThanVoxelsIsOneEach) { EXPECT_EQ(Seeds({2, 3, 4}, 1000).count(), 24); }

TEST(Slic3dSeeds, VoxelsHalfwayGoToTheLowerSeed) {
  const Seeds seeds({1, 1, 8}, 2);  // at 2 and 6
  EXPECT_EQ(seeds.nearest[2], (std::vector<int32_t>{0, 0, 0, 0, 0, 1, 1, 1}));
}

TEST(Slic3dRange, ExtremesOfInterpolatedVoxelsNotOfTokens) {
  // Four voxels over three tokens lie at 0, 2/3, 4/3, 2: the middle token's 9 is never reached.
  const std::vector<double> features = {0, 9, 0};
  const CellGrid cells({1, 1, 3}, {1, 1, 4}, Interpolation::kTrilinear);
  const FeatureRange range = interpolated_range(features.data(), 1, cells);
  EXPECT_EQ(range.low, 0);
  EXPECT_NEAR(range.high, 6, 1e-12);
  EXPECT_EQ(range.channel_high[0], 9);
}

TEST(Slic3d, TwoHalves) {
  const std::vector<float> features = {0, 0, 0, 1, 1, 1};
  Slic3dOptions options;
  options.num_segments = 2;
  options.interpolation = Interpolation::kNearest;
  const auto labels = label(features, 1, {1, 1, 6}, {1, 1, 12}, options);
  EXPECT_EQ(labels, (std::vector<int32_t>{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}));
}

TEST(Slic3d, LabelsCoverTheVolumeFromZero) {
  const Shape3 grid{3, 5, 7}, size{6, 31, 29};
  const auto features = scattered(4 * grid.count());
  for (const bool connected : {false, true}) {
    Slic3dOptions options;
    options.enforce_connectivity = connected;
    const auto labels = label(features, 4, grid, size, options);
    const std::set<int32_t> found(labels.begin(), labels.end());
    EXPECT_EQ(*found.begin(), 0);
    EXPECT_GT(found.size(), 1u);
    if (connected) {
      EXPECT_EQ(*found.rbegin() + 1, static_cast<int32_t>(found.size()));
    }
  }
}

TEST(Slic3d, ConstantVolumeIsDividedBySpaceAlone) {
  const std::vector<float> features(2 * 3 * 3, 4.0f);
  Slic3dOptions options;
  options.num_segments = 4;
  const auto labels = label(features, 2, {1, 3, 3}, {1, 8, 8}, options);
  for (int64_t y = 0; y < 8; ++y)
    for (int64_t x = 0; x < 8; ++x) EXPECT_EQ(labels[y * 8 + x], (y > 4) * 2 + (x > 4));
}

TEST(Slic3d, ThreadsDoNotMatter) {
  const Shape3 grid{5, 6, 9}, size{10, 40, 50};
  const auto features = scattered(20 * grid.count());
  for (const double compactness : {0.003, 0.1}) {  // windows end inside cells at the first
    Slic3dOptions options;
    options.compactness = compactness;
    options.num_segments = 30;
    const auto expected = label(features, 20, grid, size, options);
    EXPECT_EQ(label(features, 20, grid, size, options, threaded_for(3)), expected);
  }
}

TEST(Slic3d, ThreadsDoNotMatterWithoutContrast) {
  const std::vector<float> features(2 * 3 * 3, 4.0f);
  const auto expected = label(features, 2, {1, 3, 3}, {4, 20, 30}, {});
  EXPECT_EQ(label(features, 2, {1, 3, 3}, {4, 20, 30}, {}, threaded_for(3)), expected);
}

TEST(Slic3d, NanAndInfinityAreRefused) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> features = scattered(8);
    features[5] = value;
    std::vector<int32_t> labels(64);
    EXPECT_EQ(slic3d(features.data(), 1, {2, 2, 2}, {4, 4, 4}, {}, serial_for, labels.data()),
              Slic3dStatus::kNotFinite);
  }
}

}  // namespace
}  // namespace vtcd
