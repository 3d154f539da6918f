// SPDX-License-Identifier: MIT
// The kernels of k-means against the core, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "core/kmeans.h"
#include "core/point_set.h"
#include "cuda/kmeans.cuh"

namespace vtcd {

// The one that nvcc compiles is in kmeans.cu.
int64_t cuda::kmeans_workspace_bytes(const KMeansProblems& problems, const KMeansOptions& options) {
  return count_kmeans_bytes(problems, options);
}

namespace {

constexpr Stream kStream{nullptr};

struct Batch {
  int64_t num_channels;
  std::vector<double> data{};
  std::vector<int64_t> offsets{0}, k{};

  using Value = std::function<double(int64_t n, int64_t c)>;
  void add(int64_t num_points, int64_t num_clusters, const Value& value) {
    for (int64_t n = 0; n < num_points; ++n)
      for (int64_t c = 0; c < num_channels; ++c) data.push_back(value(n, c));
    offsets.push_back(offsets.back() + num_points);
    k.push_back(num_clusters);
  }
  int64_t max_k() const { return *std::max_element(k.begin(), k.end()); }
};

// Points about a few places.
Batch::Value scattered(unsigned seed, double noise = 0.5) {
  auto random = std::make_shared<std::mt19937>(seed);
  return [=](int64_t n, int64_t c) {
    std::normal_distribution<double> normal;
    return std::sin(static_cast<double>(n * n % 5 + 3 * c)) + noise * normal(*random);
  };
}

template <typename Scalar>
struct Clustering {
  std::vector<int32_t> labels;
  std::vector<Scalar> centers, inertia;
  std::vector<int64_t> num_iter;
};

template <typename Scalar>
Clustering<Scalar> of_the_core(const Batch& batch, const KMeansOptions& options) {
  Clustering<Scalar> all;
  const std::vector<Scalar> data(batch.data.begin(), batch.data.end());
  all.centers.resize(batch.k.size() * batch.max_k() * batch.num_channels);
  for (size_t p = 0; p < batch.k.size(); ++p) {
    const int64_t first = batch.offsets[p];
    const KMeansResult one =
        kmeans(columns_from_rows(data.data() + first * batch.num_channels,
                                 batch.offsets[p + 1] - first, batch.num_channels),
               batch.k[p], options, serial_for);
    all.labels.insert(all.labels.end(), one.labels.begin(), one.labels.end());
    for (int64_t i = 0; i < one.centers.size(); ++i) {
      all.centers[p * batch.max_k() * batch.num_channels + i] =
          static_cast<Scalar>(one.centers.data()[i]);
    }
    all.inertia.push_back(static_cast<Scalar>(std::ldexp(one.inertia, one.inertia_exponent)));
    all.num_iter.push_back(one.num_iter);
  }
  return all;
}

template <typename Scalar>
Clustering<Scalar> of_the_kernels(const Batch& batch, const KMeansOptions& options,
                                  int64_t* failed) {
  const std::vector<Scalar> data(batch.data.begin(), batch.data.end());
  const cuda::KMeansProblems problems{batch.offsets, batch.k, batch.num_channels};
  Clustering<Scalar> all;
  all.labels.resize(batch.offsets.back(), -7);
  all.centers.resize(batch.k.size() * batch.max_k() * batch.num_channels);
  all.inertia.resize(batch.k.size(), -7);
  all.num_iter.resize(batch.k.size(), -7);
  std::vector<char> workspace(cuda::kmeans_workspace_bytes(problems, options), '\xff');
  cuda::KMeansOutputs<Scalar> outputs{all.labels.data(), all.centers.data(), all.inertia.data(),
                                      all.num_iter.data()};
  outputs.failed = failed;
  cuda::kmeans(problems, options, data.data(), workspace.data(), outputs, kStream);
  return all;
}

template <typename Scalar>
void expect_equal_to_core(const Batch& batch, const KMeansOptions& options) {
  int64_t failed = 0;
  const Clustering<Scalar> kernels = of_the_kernels<Scalar>(batch, options, &failed);
  const Clustering<Scalar> core = of_the_core<Scalar>(batch, options);
  EXPECT_EQ(kernels.labels, core.labels);
  EXPECT_EQ(kernels.centers, core.centers);
  EXPECT_EQ(kernels.inertia, core.inertia);
  EXPECT_EQ(kernels.num_iter, core.num_iter);
}

KMeansOptions options_with(int64_t num_restarts, int64_t max_num_iter = 300, double tol = 1e-4,
                           int64_t seed = 0) {
  return {num_restarts, max_num_iter, tol, seed};
}

TEST(KMeansKernel, IsTheCore) {
  for (const int64_t num_channels : {1, 5, 37}) {
    Batch batch{num_channels};
    batch.add(num_channels == 5 ? 130 : 65, 4, scattered(1));
    batch.add(1, 1, scattered(3));
    batch.add(20, 9, scattered(4, 0.1));
    expect_equal_to_core<double>(batch, options_with(2, 6, 0, 7));
  }
  Batch batch{16};
  batch.add(33, 1, scattered(2));
  batch.add(90, 5, scattered(2));
  expect_equal_to_core<float>(batch, options_with(2));
}

TEST(KMeansKernel, StopsAfterTheRoundsAsked) {
  Batch batch{8};
  batch.add(150, 5, scattered(5));
  for (const int64_t rounds : {1, 3})
    expect_equal_to_core<double>(batch, options_with(1, rounds, 0));
}

TEST(KMeansKernel, CountsEqualPointsOnce) {
  Batch batch{3};
  const auto coarse = [](int64_t n, int64_t c) { return std::floor(2.5 * std::sin(n * 7.0 + c)); };
  batch.add(150, 4, coarse);
  batch.add(50, 7, [](int64_t n, int64_t) { return n % 3; });  // fewer points than clusters
  batch.add(20, 2, [](int64_t, int64_t) { return 4.0; });
  // 0 and -0 are equal
  batch.add(40, 3, [](int64_t n, int64_t c) { return n % 4 == 0 ? (n % 8 - 4) * 0.0 : n % 4 * c; });
  expect_equal_to_core<double>(batch, options_with(3));
}

// The points of a middle cluster, seeded at 1, go to its neighbours when these move to their many
// points at -1.1 and 2.1. The seeds are those for which it is so.
TEST(KMeansKernel, MovesEmptyClusters) {
  const std::vector<double> four{-3.1, -1.1, -1.1, -1.1, -1.1, -1, -1, 1, 2.1, 2.1, 2.1, 2.1, 3.1};
  std::vector<double> eight(four);
  eight.insert(eight.begin() + 1, 4, -1.1);
  eight.insert(eight.end() - 1, 4, 2.1);
  for (const auto& [points, seed] :
       {std::pair(four, 10755), std::pair(four, 12068), std::pair(eight, 14178)}) {
    Batch batch{1};
    batch.add(static_cast<int64_t>(points.size()), 3,
              [&points = points](int64_t n, int64_t) { return points[n]; });
    expect_equal_to_core<double>(batch, options_with(1, 300, 0, seed));
    // the rounds one by one, so that no later one mends an earlier
    for (const int64_t rounds : {1, 2})
      expect_equal_to_core<double>(batch, options_with(1, rounds, 0, seed));
  }
}

TEST(KMeansKernel, TakesExtremeNumbers) {
  for (const double scale : {1e-320, 1e-170, 1e170, 1e308}) {
    Batch batch{4};
    const Batch::Value value = scattered(6, 0.3);
    batch.add(50, 3, [&](int64_t n, int64_t c) { return scale * 0.3 * value(n, c); });
    // differences that a double cannot square, beside one that it can
    batch.add(40, 4,
              [&](int64_t n, int64_t c) { return n == 0 ? scale : scale * 1e-190 * (n + c); });
    expect_equal_to_core<double>(batch, options_with(2));
  }
}

TEST(KMeansKernel, WorksOutsideSharedMemory) {
  Batch wide{1200};  // 230 KB of centres
  wide.add(40, 24, scattered(7));
  expect_equal_to_core<float>(wide, options_with(1, 3));
  Batch batch{65};
  batch.add(420, 3, scattered(8));  // more points than fit
  batch.add(30, 4, scattered(9));
  expect_equal_to_core<double>(batch, options_with(1, 4));
}

TEST(KMeansKernel, IsPlacedAsTheTestsMeanIt) {
  const std::vector<int64_t> offsets{0, 40}, more{0, 420, 450};
  const std::vector<int64_t> k{24}, two{3, 4};
  const int64_t bytes = cuda::run_shared_bytes();
  const cuda::KMeansPlan wide({offsets, k, 1200}, {}, bytes), long_one({more, two, 65}, {}, bytes);
  EXPECT_EQ(wide.counts[2], 1);
  EXPECT_EQ(long_one.counts[1], 1);
  EXPECT_EQ(long_one.counts[0], 1);
  const std::vector<int64_t> usual{0, 360}, six{6};
  const cuda::KMeansPlan usual_plan({usual, six, 64}, {}, bytes);
  EXPECT_EQ(usual_plan.counts[0], 1);
}

TEST(KMeansKernel, KeepsTheBestOfManyParts) {
  Batch batch{5};
  batch.add(40, 4, scattered(10));
  batch.add(34, 3, scattered(11));
  const std::vector<int64_t>& offsets = batch.offsets;
  const cuda::KMeansProblems problems{offsets, batch.k, 5};
  int64_t failed = 0;
  for (const int64_t restarts : {1, 4}) {
    const auto options = options_with(restarts);
    const Clustering<double> core = of_the_core<double>(batch, options);
    for (const int64_t at_once : {1, 3}) {
      cuda::KMeansPlan plan(problems, options, cuda::run_shared_bytes());
      plan.runs_at_once = std::min(at_once, restarts);
      cuda::Carver counter(nullptr);
      plan.workspace(counter);
      std::vector<char> workspace(counter.used());
      std::vector<int32_t> labels(74);
      cuda::KMeansOutputs<double> outputs{labels.data()};
      outputs.failed = &failed;
      cuda::kmeans(plan, problems, options, batch.data.data(), workspace.data(), outputs, kStream);
      EXPECT_EQ(labels, core.labels);
    }
  }
}

TEST(KMeansKernel, IsTheSameAloneAndInABatch) {
  Batch alone{9}, batch{9};
  alone.add(75, 3, scattered(12));
  batch.add(13, 2, scattered(13));
  batch.add(75, 3, scattered(12));
  int64_t failed = 0;
  const auto one = of_the_kernels<double>(alone, options_with(2), &failed);
  const auto two = of_the_kernels<double>(batch, options_with(2), &failed);
  EXPECT_EQ(std::vector<int32_t>(two.labels.begin() + 13, two.labels.end()), one.labels);
  EXPECT_EQ(two.inertia[1], one.inertia[0]);
}

TEST(KMeansKernel, ReportsTheFirstInertiaThatItsTypeCannotHold) {
  Batch batch{2};
  batch.add(10, 2, scattered(14));
  batch.add(10, 2, [](int64_t n, int64_t c) { return 1e25 * (n * n + c); });
  batch.add(10, 2, [](int64_t n, int64_t c) { return 1e-30 * (n * n + c); });
  int64_t failed = 0;
  of_the_kernels<float>(batch, options_with(1), &failed);
  EXPECT_EQ(failed, 3 - 1);
  failed = 0;
  of_the_kernels<double>(batch, options_with(1), &failed);
  EXPECT_EQ(failed, 0);
}

TEST(KMeansKernel, TakesAnEmptyBatch) {
  const std::vector<int64_t> offsets{0}, k;
  const cuda::KMeansProblems problems{offsets, k, 5};
  std::vector<char> workspace(cuda::kmeans_workspace_bytes(problems, {}) + 1);
  cuda::kmeans<float>(problems, {}, nullptr, workspace.data(), {nullptr}, kStream);
}

}  // namespace
}  // namespace vtcd
