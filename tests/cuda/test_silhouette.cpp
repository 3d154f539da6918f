// SPDX-License-Identifier: MIT
// The kernels of silhouette against the core.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/point_set.h"
#include "core/silhouette.h"
#include "cuda/finite.cuh"
#include "cuda/silhouette.cuh"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

template <typename Scalar>
struct Problems {
  int64_t num_channels;
  std::vector<Scalar> data;
  std::vector<int64_t> offsets{0};
  std::vector<int32_t> labels;

  int64_t num_rows() const { return offsets.back(); }
  // Points about a few places, in clusters that are not quite those.
  void add(int64_t num_points, int num_clusters, double scale, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (int64_t n = 0; n < num_points; ++n) {
      const int place = static_cast<int>(random() % 3);
      for (int64_t c = 0; c < num_channels; ++c)
        data.push_back(static_cast<Scalar>(scale * (place * (c % 3) + normal(random))));
      labels.push_back(static_cast<int32_t>(7 * (random() % num_clusters)));
    }
    offsets.push_back(offsets.back() + num_points);
  }
};

template <typename Scalar>
std::vector<Scalar> expected(const Problems<Scalar>& problems) {
  std::vector<Scalar> values;
  for (size_t p = 0; p + 1 < problems.offsets.size(); ++p) {
    const int64_t first = problems.offsets[p], count = problems.offsets[p + 1] - first;
    const std::vector<int64_t> labels(problems.labels.begin() + first,
                                      problems.labels.begin() + first + count);
    std::vector<double> coefficients(count);
    silhouette(columns_from_rows(problems.data.data() + first * problems.num_channels, count,
                                 problems.num_channels),
               labels.data(), coefficients.data(), serial_for);
    values.insert(values.end(), coefficients.begin(), coefficients.end());
  }
  return values;
}

template <typename Scalar>
std::vector<Scalar> found(const Problems<Scalar>& problems, int64_t* report) {
  const auto num_problems = static_cast<int64_t>(problems.offsets.size()) - 1;
  std::vector<int64_t> tiles{0};
  for (int64_t p = 0; p < num_problems; ++p) {
    const int64_t count = problems.offsets[p + 1] - problems.offsets[p];
    tiles.push_back(tiles.back() + (count + 63) / 64);
  }
  const int64_t num_rows = problems.num_rows();
  std::vector<double> origins(num_problems * problems.num_channels), points(problems.data.size()),
      norms(num_rows);
  std::vector<Centring> centring(num_problems);
  std::vector<int64_t> labels(num_rows), order(num_rows);
  std::vector<Scalar> coefficients(num_rows, Scalar(-7));
  const cuda::SilhouetteBatch<Scalar, int32_t> batch{
      problems.data.data(), problems.offsets.data(), tiles.data(), problems.labels.data(), num_rows,
      num_problems,         problems.num_channels,   tiles.back()};
  cuda::silhouette(
      batch,
      {origins.data(), centring.data(), points.data(), norms.data(), labels.data(), order.data()},
      coefficients.data(), report, kStream);
  return coefficients;
}

template <typename Scalar>
void expect_equal_to_core(const Problems<Scalar>& problems) {
  int64_t report = 0;
  const std::vector<Scalar> kernels = found(problems, &report), core = expected(problems);
  // float32 is rounded from nearly equal float64
  const double tolerance = std::max(1e-12, double{std::numeric_limits<Scalar>::epsilon()});
  for (size_t n = 0; n < core.size(); ++n) EXPECT_NEAR(kernels[n], core[n], tolerance) << n;
  EXPECT_EQ(report, 0);
}

TEST(SilhouetteKernel, IsTheCore) {
  for (const int64_t num_channels : {1, 5, 33, 64}) {
    Problems<double> problems{num_channels, {}, {0}, {}};
    problems.add(1, 1, 1.0, 1);
    problems.add(65, 4, 1.0, 2);
    problems.add(2, 2, 1.0, 3);
    problems.add(130, 70, 1e-3, 4);
    expect_equal_to_core(problems);
  }
  Problems<float> problems{8, {}, {0}, {}};
  problems.add(64, 3, 1.0, 5);
  problems.add(20, 1, 1.0, 6);
  expect_equal_to_core(problems);
}

TEST(SilhouetteKernel, TakesExtremeNumbers) {
  for (const double scale : {1e-320, 1e-200, 1e200, 3e306}) {
    Problems<double> problems{6, {}, {0}, {}};
    problems.add(40, 3, scale, 7);
    expect_equal_to_core(problems);
  }
}

TEST(SilhouetteKernel, KeepsTheDigitsOfCloseAndOfEqualPoints) {
  Problems<double> problems{3, {}, {0}, {}};
  problems.add(70, 3, 1.0, 8);
  for (size_t i = 0; i < problems.data.size(); ++i)
    problems.data[i] = i % 2 == 0 ? 1e6 + 1e-9 * problems.data[i] : 0.25 * (i % 4);
  for (int64_t c = 0; c < 3; ++c) problems.data[c] = problems.data[3 + c];
  problems.data[60] = -1e9;  // far from all others
  expect_equal_to_core(problems);
}

TEST(SilhouetteKernel, IsTheSameAloneAndInABatch) {
  Problems<double> alone{9, {}, {0}, {}}, batch{9, {}, {0}, {}};
  alone.add(75, 3, 1.0, 9);
  batch.add(13, 2, 1.0, 10);
  batch.add(75, 3, 1.0, 9);
  int64_t report = 0;
  const std::vector<double> together = found(batch, &report);
  EXPECT_EQ(std::vector<double>(together.begin() + 13, together.end()), found(alone, &report));
}

TEST(SilhouetteKernel, ReportsTheFirstNegativeLabel) {
  Problems<float> problems{2, {}, {0}, {}};
  problems.add(5, 2, 1.0, 11);
  problems.add(5, 2, 1.0, 12);
  problems.labels[6] = -3;
  problems.labels[8] = -1;
  int64_t report = 0;
  found(problems, &report);
  EXPECT_EQ(report, 10 - 6);
}

TEST(FiniteKernel, FindsOneValueAmongMany) {
  std::vector<float> values(9000, 1.0f);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{4096}, size_t{8999}}) {
      int64_t report = 0;
      cuda::find_non_finite(values.data(), 9000, &report, kStream);
      EXPECT_EQ(report, 0);
      values[at] = bad;
      cuda::find_non_finite(values.data(), 9000, &report, kStream);
      EXPECT_EQ(report, 1);
      values[at] = 1.0f;
    }
  }
}

}  // namespace
}  // namespace vtcd
