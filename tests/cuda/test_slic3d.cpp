// SPDX-License-Identifier: MIT
// The kernels of slic3d against the core, voxel by voxel.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/slic3d/slic3d.h"
#include "cuda/slic3d.cuh"
#include "cuda/slic3d_plan.h"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

struct Problem {
  std::string name;
  int64_t batch, num_channels;
  Shape3 grid, size;
  Slic3dOptions options;
  int64_t levels = 0;  // of the features: whole numbers; 0: any numbers
  double factor = 1;
};

std::vector<double> features_of(const Problem& problem) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  std::vector<double> features(problem.batch * problem.num_channels * problem.grid.count());
  for (double& feature : features) {
    const double number = normal(random);
    feature = (problem.levels > 0 ? static_cast<double>(random() % problem.levels) : number) *
              problem.factor;
  }
  return features;
}

// by_cells: whether no volume had to be labelled voxel by voxel.
template <typename Scalar>
std::vector<int32_t> labels_of_kernel(const Problem& problem, const std::vector<Scalar>& features,
                                      bool& finite, bool* by_cells = nullptr) {
  const cuda::SlicPlan plan = cuda::slic_plan(problem.batch, problem.num_channels, problem.grid,
                                              problem.size, problem.options);
  std::vector<uint64_t> workspace(cuda::SlicWork(plan, nullptr).bytes / sizeof(uint64_t) + 1);
  std::vector<int32_t> labels(problem.batch * problem.size.count(), -7);
  finite = cuda::slic3d(plan, features.data(), workspace.data(), labels.data(), kStream);
  if (by_cells != nullptr && problem.batch > 0)
    *by_cells = cuda::SlicWork(plan, workspace.data()).found[1] == 0;
  return labels;
}

template <typename Scalar>
void expect_equal_to_core(const Problem& problem) {
  const std::vector<double> numbers = features_of(problem);
  const std::vector<Scalar> features(numbers.begin(), numbers.end());
  std::vector<int32_t> expected(problem.batch * problem.size.count());
  const int64_t volume = problem.num_channels * problem.grid.count();
  for (int64_t b = 0; b < problem.batch; ++b)
    ASSERT_EQ(slic3d(features.data() + b * volume, problem.num_channels, problem.grid, problem.size,
                     problem.options, serial_for, expected.data() + b * problem.size.count()),
              Slic3dStatus::kOk);
  bool finite;
  EXPECT_EQ(labels_of_kernel(problem, features, finite), expected) << problem.name;
  EXPECT_TRUE(finite);
}

Slic3dOptions options(int64_t num_segments, double compactness = 0.1) {
  Slic3dOptions given;
  given.num_segments = num_segments;
  given.compactness = compactness;
  given.max_num_iter = 4;  // the later rounds are all alike
  return given;
}

Slic3dOptions sizes(int64_t num_segments, double compactness, double min_size, double max_size) {
  Slic3dOptions given = options(num_segments, compactness);
  given.min_size_factor = min_size;
  given.max_size_factor = max_size;
  return given;
}

Slic3dOptions nearest(int64_t num_segments) {
  Slic3dOptions given = options(num_segments);
  given.interpolation = Interpolation::kNearest;
  return given;
}

Slic3dOptions rounds(int64_t count, bool connected) {
  Slic3dOptions given = options(4);
  given.max_num_iter = count;
  given.enforce_connectivity = connected;
  return given;
}

class Slic3dKernel : public testing::TestWithParam<Problem> {};

TEST_P(Slic3dKernel, EqualsTheCore) { expect_equal_to_core<float>(GetParam()); }

TEST(Slic3dKernels, TakeDoublePrecision) {
  expect_equal_to_core<double>({"noise", 2, 3, {2, 3, 4}, {5, 9, 11}, options(4)});
  expect_equal_to_core<double>({"voxels", 1, 3, {3, 4, 5}, {3, 4, 5}, options(4)});
}

INSTANTIATE_TEST_SUITE_P(
    Problems, Slic3dKernel,
    testing::Values(
        Problem{"noise", 2, 3, {2, 3, 4}, {5, 9, 11}, rounds(10, true)},
        Problem{"one voxel", 1, 1, {1, 1, 1}, {1, 1, 1}, options(3)},
        Problem{"one token", 1, 2, {1, 1, 1}, {2, 5, 7}, options(3)},
        Problem{"many segments", 1, 5, {2, 3, 4}, {4, 10, 12}, options(24)},
        Problem{"a segment a voxel", 1, 2, {2, 2, 2}, {3, 4, 5}, options(1000)},
        Problem{"more channels than a group", 1, 40, {2, 3, 4}, {4, 9, 11}, options(5)},
        Problem{"windows bound the clusters", 1, 3, {2, 4, 4}, {4, 12, 12}, options(12, 1e-4)},
        Problem{"no interpolation", 2, 3, {3, 6, 7}, {3, 6, 7}, options(5)},
        Problem{"fewer voxels", 1, 3, {4, 9, 8}, {2, 5, 6}, options(4)},
        Problem{
            "fewer along one axis, more along another", 1, 3, {1, 9, 3}, {4, 5, 17}, options(4)},
        Problem{"nearest", 1, 3, {2, 3, 4}, {5, 9, 11}, nearest(4)},
        Problem{"nearest, fewer", 1, 3, {4, 9, 8}, {2, 5, 6}, nearest(4)},
        Problem{"constant", 1, 3, {2, 3, 4}, {5, 9, 11}, options(4), 1},
        Problem{"whole numbers", 1, 2, {2, 5, 5}, {4, 9, 9}, options(6), 2},
        Problem{"whole numbers, no interpolation", 1, 2, {3, 7, 7}, {3, 7, 7}, options(6), 2},
        Problem{"a wide cell", 1, 2, {1, 2, 2}, {2, 3, 40}, options(4)},
        Problem{"many voxels in a plane of a cell", 1, 3, {2, 2, 2}, {3, 15, 16}, options(4)},
        Problem{"one round", 1, 3, {2, 3, 4}, {4, 8, 8}, rounds(1, true)},
        Problem{"two rounds", 1, 3, {2, 3, 4}, {4, 8, 8}, rounds(2, false)},
        Problem{"until nothing changes", 1, 1, {1, 2, 3}, {1, 5, 9}, rounds(1000000000, true)},
        Problem{"small", 1, 2, {2, 4, 4}, {4, 8, 8}, sizes(8, 0.01, 1.0, 3.0)},
        Problem{"all small but the first", 1, 2, {2, 4, 4}, {4, 8, 8}, sizes(8, 0.01, 3.0, 50.0)},
        Problem{"cut", 1, 2, {2, 4, 4}, {4, 8, 8}, sizes(4, 0.05, 0.1, 0.3)},
        Problem{"cut and small", 1, 2, {2, 4, 4}, {4, 8, 8}, sizes(8, 0.02, 0.45, 0.5)},
        Problem{"smaller than the cut", 1, 2, {2, 3, 4}, {3, 8, 8}, sizes(4, 0.05, 0.5, 0.2)},
        Problem{"every voxel for itself", 1, 2, {2, 3, 4}, {3, 4, 5}, sizes(4, 0.1, 0.0, 1e-9)},
        Problem{"constant, cut", 1, 1, {1, 1, 1}, {3, 9, 9}, sizes(1, 0.1, 0.02, 0.2), 1}),
    [](const auto& info) { return "Case" + std::to_string(info.index); });

INSTANTIATE_TEST_SUITE_P(
    Extremes, Slic3dKernel,
    testing::Values(Problem{"1e-300", 1, 2, {2, 3, 3}, {4, 7, 7}, options(4), 0, 1e-30},
                    Problem{"1e37", 1, 2, {2, 3, 3}, {4, 7, 7}, options(4), 0, 1e37},
                    Problem{"denormal", 1, 2, {2, 3, 3}, {4, 7, 7}, options(4), 3, 1e-44},
                    Problem{"compact", 1, 2, {2, 3, 3}, {4, 7, 7}, options(4, 1e150)},
                    Problem{"loose", 1, 2, {2, 3, 3}, {4, 7, 7}, options(4, 1e-149)}),
    [](const auto& info) { return "Case" + std::to_string(info.index); });

TEST(Slic3dKernels, GoesVoxelByVoxelWhereRoundingMayDecide) {
  const Problem problems[] = {
      {"noise", 2, 3, {2, 3, 4}, {5, 9, 11}, options(4)},
      {"outside all windows", 1, 3, {2, 4, 4}, {4, 16, 16}, options(12, 1e-4)},
      {"many voxels in a plane of a cell", 1, 3, {2, 2, 2}, {3, 15, 16}, options(4)},
      {"constant", 1, 3, {2, 3, 4}, {5, 9, 11}, options(4), 1},
      {"no interpolation", 2, 3, {3, 6, 7}, {3, 6, 7}, options(5)},
  };
  const bool expected[] = {true, true, true, false, false};
  for (int i = 0; i < 5; ++i) {
    bool finite, by_cells;
    labels_of_kernel(problems[i], features_of(problems[i]), finite, &by_cells);
    EXPECT_EQ(by_cells, expected[i]) << problems[i].name;
  }
}

// Features that vary along x alone make rows of clusters equally near.
TEST(Slic3dKernels, GoesVoxelByVoxelWhereClustersAreEquallyNear) {
  const Problem problem{"ties", 1, 1, {1, 4, 4}, {2, 12, 12}, options(4)};
  std::vector<double> features(16);
  for (int i = 0; i < 16; ++i) features[i] = i % 4;
  std::vector<int32_t> expected(problem.size.count());
  ASSERT_EQ(slic3d(features.data(), 1, problem.grid, problem.size, problem.options, serial_for,
                   expected.data()),
            Slic3dStatus::kOk);
  bool finite, by_cells;
  EXPECT_EQ(labels_of_kernel(problem, features, finite, &by_cells), expected);
  EXPECT_FALSE(by_cells);
}

TEST(Slic3dKernels, TakesEmptyInput) {
  const Problem problem{"empty", 0, 3, {2, 3, 4}, {5, 9, 11}, options(4)};
  bool finite;
  EXPECT_TRUE(labels_of_kernel<float>(problem, {}, finite).empty());
}

TEST(Slic3dKernels, ReportsWhatIsNotFinite) {
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    const Problem problem{"not finite", 2, 3, {2, 3, 4}, {3, 4, 5}, options(4)};
    std::vector<double> features = features_of(problem);
    features[30] = value;
    bool finite;
    const auto labels = labels_of_kernel(problem, features, finite);
    EXPECT_FALSE(finite);
    for (const int32_t label : labels) EXPECT_TRUE(label >= 0 && label < 60);
  }
}

TEST(Slic3dKernels, LeavesOutTokensThatAreNotUsed) {
  // Every other row of tokens lies between no two voxels. The first volume is made; of the second,
  // which has more voxels than tokens, tokens are multiplied whether they are in use or not.
  const Problem problems[] = {{"unused", 1, 1, {1, 9, 2}, {1, 3, 2}, options(2)},
                              {"unused, large", 1, 2, {1, 9, 2}, {2, 3, 9}, options(4)}};
  for (const Problem& problem : problems) {
    for (const double value : {std::numeric_limits<double>::infinity(), 1e308}) {
      std::vector<double> features = features_of(problem);
      std::vector<int32_t> expected(problem.size.count());
      ASSERT_EQ(slic3d(features.data(), problem.num_channels, problem.grid, problem.size,
                       problem.options, serial_for, expected.data()),
                Slic3dStatus::kOk);
      features[2 * 2] = value;
      bool finite;
      EXPECT_EQ(labels_of_kernel(problem, features, finite), expected) << problem.name;
      EXPECT_TRUE(finite);
      std::vector<int32_t> labels(problem.size.count());
      EXPECT_EQ(slic3d(features.data(), problem.num_channels, problem.grid, problem.size,
                       problem.options, serial_for, labels.data()),
                Slic3dStatus::kOk);
      EXPECT_EQ(labels, expected) << problem.name;
    }
  }
}

}  // namespace
}  // namespace vtcd
