// SPDX-License-Identifier: MIT
#include "core/slic3d/slic3d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "core/slic3d/cell_rounds.h"
#include "core/slic3d/corners.h"
#include "core/slic3d/exact.h"
#include "core/slic3d/margins.h"
#include "core/slic3d/range.h"
#include "core/slic3d/seeds.h"
#include "core/slic3d/tokens.h"
#include "core/slic3d/voxel_rounds.h"
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
  const FeatureRange range = interpolated_range(features.data(), 1, cells, TokensInUse(cells));
  EXPECT_EQ(range.low, 0);
  EXPECT_NEAR(range.high, 6, 1e-12);
  EXPECT_EQ(range.channel_high[0], 9);
}

// A round of clusters at tokens of a volume, and all that is needed to find distances.
struct RoundOfTokens {
  RoundOfTokens(int64_t num_channels, double compactness)
      : features(scattered(num_channels * grid.count())),
        range(interpolated_range(features.data(), num_channels, cells, TokensInUse(cells))),
        tokens(features.data(), num_channels, grid, range,
               1 / (compactness * (range.high - range.low)), unit) {
    for (int64_t k = 0; k < kNumClusters; ++k) {
      const double at = static_cast<double>(k + 1) / (kNumClusters + 1);
      round.clusters.push_back({true, {6 * at, 31 * at, 29 * at}, {0, 0, 0}, {6, 31, 29}});
      const double* token = tokens.token(17 * k + 5);
      round.centers.insert(round.centers.end(), token, token + tokens.channel_stride());
    }
  }

  // The squared distance of a voxel in scores' units, in double precision.
  double distance(const Box& box, int64_t z, int64_t y, int64_t x, int64_t k) const {
    double sum = 0;
    for (int64_t c = 0; c < tokens.num_channels(); ++c) {
      auto at = [&](int64_t t, int64_t h, int64_t w) {
        return tokens.token((t * grid.h + h) * grid.w + w)[c];
      };
      const double wz = box.z.weight_at(z), wy = box.y.weight_at(y), wx = box.x.weight_at(x);
      auto row = [&](int64_t t, int64_t h) {
        return at(t, h, box.x.lower) * (1 - wx) + at(t, h, box.x.upper) * wx;
      };
      auto plane = [&](int64_t t) {
        return row(t, box.y.lower) * (1 - wy) + row(t, box.y.upper) * wy;
      };
      const double feature = plane(box.z.lower) * (1 - wz) + plane(box.z.upper) * wz;
      const double difference = feature - round.centers[k * tokens.channel_stride() + c];
      sum += difference * difference;
    }
    const int64_t voxel[3] = {box.z.first + z, box.y.first + y, box.x.first + x};
    for (int axis = 0; axis < 3; ++axis)
      sum += spatial.distance(round.clusters[k], axis, voxel[axis]);
    return sum * unit * unit;
  }

  static constexpr int64_t kNumClusters = 5;
  static constexpr double unit = 1.0 / 64;
  Shape3 grid{3, 5, 7}, size{6, 31, 29};
  SpatialWeights spatial{{0.01, 0.02, 0.015}};
  CellGrid cells{grid, size, Interpolation::kTrilinear};
  std::vector<float> features;
  FeatureRange range;
  Tokens tokens;
  Round round;
};

TEST(Slic3dMargin, BoundsTheErrorOfInterpolatedDistances) {
  for (const int64_t num_channels : {1, 24, 200}) {
    const RoundOfTokens given(num_channels, 0.3);
    const int64_t num_clusters = RoundOfTokens::kNumClusters;
    const RowMask all(given.tokens.num_rows() * num_clusters, 1);
    std::vector<float> scores(num_clusters * given.tokens.num_scores());
    const ScoreBound bound =
        given.tokens.score(given.round.centers, num_clusters, all, serial_for, scores.data());
    const double unit2 = RoundOfTokens::unit * RoundOfTokens::unit;
    const Margins margins = margins_of(bound, unit2 * given.spatial.largest(given.size), 0);
    const double margin = static_cast<double>(margins.corner);
    SpatialWeights spatial = given.spatial;
    for (double& weight : spatial.weight) weight *= unit2;
    Corners corners(given.cells, num_clusters, spatial);
    corners.start_round(given.round, scores.data(), given.tokens.num_scores(),
                        {Corners::kFar / 2, Corners::kFar / 2, 0});
    CornerRow row(corners);
    std::vector<Candidate> found;
    double largest_error = 0, largest = 0;
    for (const AxisCell& z : given.cells.z) {
      row.start_layer(z);
      for (const AxisCell& y : given.cells.y) {
        row.start_row(y);
        for (size_t cell = 0; cell < given.cells.x.size(); ++cell) {
          const Box box{z, y, given.cells.x[cell]};
          row.candidates(static_cast<int64_t>(cell), found);
          ASSERT_EQ(found.size(), num_clusters);
          for (int corner = 0; corner < 8; ++corner) {
            const int i = corner / 4, j = corner / 2 % 2, l = corner % 2;
            auto exact = [&](int64_t k) {
              return given.distance(box, i * (z.count - 1), j * (y.count - 1),
                                    l * (box.x.count - 1), k);
            };
            for (int64_t k = 1; k < num_clusters; ++k) {
              const double difference = static_cast<double>(found[k].corner[i][j][l]) -
                                        static_cast<double>(found[0].corner[i][j][l]);
              const double expected = exact(k) - exact(0);
              largest_error = std::max(largest_error, std::abs(difference - expected));
              largest = std::max(largest, std::abs(expected));
            }
          }
        }
      }
    }
    EXPECT_GT(largest_error, 0);
    EXPECT_LT(largest_error, margin);
    EXPECT_LT(margin, 2e-3 * largest);
    EXPECT_LT(margins.corner, margins.voxel);
  }
}

// Candidates that are not found or dropped win no voxel, by distances in double precision.
TEST(Slic3dCandidates, HaveTheNearestClusterOfEveryVoxel) {
  const RoundOfTokens given(24, 0.3);
  const int64_t num_clusters = RoundOfTokens::kNumClusters;
  const double unit2 = RoundOfTokens::unit * RoundOfTokens::unit;
  const RowMask all(given.tokens.num_rows() * num_clusters, 1);
  std::vector<float> scores(num_clusters * given.tokens.num_scores());
  const ScoreBound bound =
      given.tokens.score(given.round.centers, num_clusters, all, serial_for, scores.data());
  SpatialWeights spatial = given.spatial;
  for (double& weight : spatial.weight) weight *= unit2;
  Corners corners(given.cells, num_clusters, spatial);
  corners.start_round(given.round, scores.data(), given.tokens.num_scores(),
                      margins_of(bound, unit2 * given.spatial.largest(given.size), 0));
  CornerRow row(corners);
  std::vector<Candidate> found;
  int64_t not_candidates = 0;
  for (const AxisCell& z : given.cells.z) {
    row.start_layer(z);
    for (const AxisCell& y : given.cells.y) {
      row.start_row(y);
      for (size_t cell = 0; cell < given.cells.x.size(); ++cell) {
        const Box box{z, y, given.cells.x[cell]};
        row.candidates(static_cast<int64_t>(cell), found);
        std::set<int64_t> candidates;
        for (const Candidate& candidate : found) candidates.insert(candidate.cluster);
        not_candidates += num_clusters - static_cast<int64_t>(candidates.size());
        for (int64_t i = 0; i < z.count * y.count * box.x.count; ++i) {
          int64_t nearest = 0;
          auto at = [&](int64_t k) {
            return given.distance(box, i / box.x.count / y.count, i / box.x.count % y.count,
                                  i % box.x.count, k);
          };
          for (int64_t k = 1; k < num_clusters; ++k)
            if (at(k) < at(nearest)) nearest = k;
          ASSERT_TRUE(candidates.count(nearest));
        }
      }
    }
  }
  EXPECT_GT(not_candidates, 0);
}

// Two clusters with the same features, mirror images of each other: the voxels halfway are equally
// near in exact arithmetic, and single precision cannot tell those beside them either.
TEST(Slic3dExact, OnlyTiesAreNotCertain) {
  RoundOfTokens given(24, 0.3);
  given.round.clusters.resize(2);
  for (int k = 0; k < 2; ++k) {
    given.round.clusters[k].position = {2, 15, k == 0 ? 4.0 : 24.0};
    const int64_t stride = given.tokens.channel_stride();
    std::copy_n(given.tokens.token(8), stride, &given.round.centers[k * stride]);
  }
  const ExactDistances exact(given.tokens, given.spatial, given.cells, 10);
  std::vector<double> feature(given.tokens.channel_stride());
  const std::vector<Candidate> both = {{0, false, {}}, {1, false, {}}};
  for (const AxisCell& x : given.cells.x)
    for (int64_t offset = 0; offset < x.count; ++offset) {
      const Box box{given.cells.z[0], given.cells.y[1], x};
      const Nearest found = exact.nearest(given.round, box, {0, 1, offset}, both, feature);
      const int64_t voxel = x.first + offset;
      EXPECT_EQ(found.certain, voxel != 14);
      if (voxel != 14) {
        EXPECT_EQ(found.cluster, voxel > 14 ? 1 : 0);
      }
    }
}

TEST(Slic3dExact, BoundsAreRoundedUp) {
  for (const double bound : {0.0, 1.0, 1.0 + 1e-12, 0.1, 1.0 / 3, 3e-39, 1e-60})
    EXPECT_GE(static_cast<double>(rounded_up(bound)), bound);
  EXPECT_EQ(rounded_up(0.25), 0.25f);
}

// The rounds over cells and the rounds voxel by voxel are two ways to the same labels.
TEST(Slic3d, CellsGiveTheLabelsOfVoxels) {
  for (const int64_t num_channels : {1, 3, 20}) {
    for (const double compactness : {0.003, 0.1}) {
      const Shape3 grid{4, 6, 9}, size{9, 40, 50};
      const auto features = scattered(num_channels * grid.count());
      const CellGrid cells(grid, size, Interpolation::kTrilinear);
      const FeatureRange range =
          interpolated_range(features.data(), num_channels, cells, TokensInUse(cells));
      const Seeds seeds(size, 20);
      const FeatureScale scale{range.low, range.high - range.low, 1 / compactness, 0};
      const SpatialScale space{{1, 1.5, 0.8}, seeds.spatial_weight};
      const DistanceBounds bounds(range, scale, space, size);
      ASSERT_TRUE(bounds.space_decides_first_round());
      std::vector<int32_t> of_cells(size.count()), of_voxels(size.count());
      ASSERT_TRUE(CellRounds(features.data(), num_channels, cells, seeds, range, scale, bounds,
                             threaded_for(2), of_cells.data())
                      .run(10));
      const FeatureRows rows(features.data(), num_channels, cells, scale, serial_for);
      VoxelRounds(rows, seeds, scale, space, threaded_for(3), of_voxels.data())
          .run(10, num_channels == 3);  // the first round closed or not
      EXPECT_EQ(of_cells, of_voxels);
    }
  }
}

TEST(Interpolate, NeverBeyondItsEnds) {
  const auto values = scattered(300);
  for (size_t i = 0; i + 2 < values.size(); ++i) {
    const double a = values[i], b = i % 3 == 0 ? a : values[i + 1], weight = values[i + 2];
    EXPECT_GE(interpolate(a, b, weight), std::min(a, b));
    EXPECT_LE(interpolate(a, b, weight), std::max(a, b));
    EXPECT_EQ(interpolate(a, b, 0), a);
    EXPECT_EQ(interpolate(a, b, 1), b);
  }
  const double most = std::numeric_limits<double>::max();
  EXPECT_EQ(interpolate(-most, most, 0.5), 0);
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
    for (const Shape3 of_labels : {size, grid}) {  // in cells, voxel by voxel
      const auto expected = label(features, 20, grid, of_labels, options);
      EXPECT_EQ(label(features, 20, grid, of_labels, options, threaded_for(3)), expected);
    }
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
