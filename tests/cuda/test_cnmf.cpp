// SPDX-License-Identifier: MIT
// The kernels of cnmf against the core: the same error, by factors that give it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/cnmf/cnmf.h"
#include "core/formulas/philox.h"
#include "cuda/cnmf.cuh"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr Stream kStream{nullptr};
constexpr int kThreads = 64;  // fewer than on a GPU: an emulated one takes its time

struct Problem {
  MatrixXd columns;  // [C, N]
  int64_t num_concepts;
  std::vector<int64_t> labels;
};

struct Found {
  MatrixXd weights, encoding, centers;  // [N, K], [K, N], [C, K]
  double error;
  int64_t num_iter;
};

struct Outcome {
  std::vector<Found> found;
  std::array<int64_t, 3> report{};
};

template <typename T>
std::vector<T> rows_of(const std::vector<Problem>& problems) {
  std::vector<T> rows;
  for (const Problem& problem : problems) {
    for (const double value : problem.columns.reshaped()) rows.push_back(static_cast<T>(value));
  }
  return rows;
}

// What a problem's part of the outputs holds.
template <typename T>
Found cut(const cuda::CnmfBatch<T>& batch, const cuda::CnmfProblem& problem) {
  const int64_t n = problem.num_rows, k = problem.num_concepts, max_k = batch.max_k;
  Found found{MatrixXd(n, k), MatrixXd(k, n), MatrixXd(batch.num_channels, k),
              static_cast<double>(batch.error[problem.index]), batch.num_iter[problem.index]};
  for (int64_t j = 0; j < max_k; ++j) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t entry = (problem.first_row + i) * max_k + j;
      if (j < k) {
        found.weights(i, j) = static_cast<double>(batch.weights[entry]);
        found.encoding(j, i) = static_cast<double>(batch.encoding[entry]);
      } else {
        EXPECT_EQ(batch.weights[entry], 0);
        EXPECT_EQ(batch.encoding[entry], 0);
      }
    }
    for (int64_t c = 0; c < batch.num_channels; ++c) {
      const T value = batch.centers[(problem.index * max_k + j) * batch.num_channels + c];
      if (j < k) {
        found.centers(c, j) = static_cast<double>(value);
      } else {
        EXPECT_EQ(value, 0);
      }
    }
  }
  return found;
}

// All problems in one launch. Fills the outputs with what no result is.
template <typename T>
Outcome run_kernel(const std::vector<Problem>& problems, const cuda::CnmfSettings& settings,
                   bool in_shared, bool with_near = true) {
  const int64_t num_channels = problems[0].columns.rows();
  const std::vector<T> data = rows_of<T>(problems);
  std::vector<int64_t> labels;
  std::vector<cuda::CnmfProblem> table;
  int64_t first_row = 0, bytes = 0, shared = 0, max_k = 0;
  for (const Problem& problem : problems) {
    const int64_t n = problem.columns.cols(), k = problem.num_concepts;
    const cuda::CnmfBytes needed =
        cuda::count_cnmf_bytes<T, kThreads>(n, num_channels, k, settings.multiplicative);
    table.push_back({static_cast<int64_t>(table.size()), first_row, n, k, bytes});
    labels.insert(labels.end(), problem.labels.begin(), problem.labels.end());
    first_row += n;
    bytes += needed.workspace;
    shared = std::max(shared, with_near ? needed.wanted : needed.shared);
    max_k = std::max(max_k, k);
  }
  const int64_t count = static_cast<int64_t>(problems.size());
  std::vector<double> workspace(bytes / 8 + 1, 1e30), summary(3 * count);
  std::vector<T> weights(first_row * max_k, 9), encoding(first_row * max_k, 9),
      centers(count * max_k * num_channels, 9), error(count, 9);
  std::vector<int64_t> num_iter(count, -1);
  Outcome run;
  const cuda::CnmfBatch<T> batch{data.data(),
                                 first_row,
                                 num_channels,
                                 max_k,
                                 labels.data(),
                                 table.data(),
                                 reinterpret_cast<unsigned char*>(workspace.data()),
                                 weights.data(),
                                 encoding.data(),
                                 centers.data(),
                                 error.data(),
                                 num_iter.data(),
                                 summary.data(),
                                 run.report.data(),
                                 count};
  cuda::launch_cnmf<T, kThreads>(batch, count, in_shared ? shared : 0, settings, kStream);
  if (run.report[0] == 0 && run.report[1] == 0) {
    for (const cuda::CnmfProblem& problem : table) run.found.push_back(cut(batch, problem));
  }
  return run;
}

CnmfFactors run_core(const Problem& problem, const cuda::CnmfSettings& settings) {
  const PointSet data(problem.columns);
  const std::vector<int32_t> labels(problem.labels.begin(), problem.labels.end());
  const CnmfOptions options{settings.max_num_iter, settings.tol};
  CnmfFactors factors =
      settings.multiplicative
          ? cnmf_multiplicative(data, labels.data(), problem.num_concepts, options)
          : cnmf_descent(data, labels.data(), problem.num_concepts, options, serial_for);
  factors.error = std::ldexp(factors.error, data.exponent);
  return factors;
}

// Convex, and with the error of the core, that of its own factors. tolerance: of the dtype.
void expect_factors(const Problem& problem, const Found& found, double error, double tolerance) {
  const double length = problem.columns.norm();
  EXPECT_GE(found.weights.minCoeff(), 0.0);
  EXPECT_GE(found.encoding.minCoeff(), 0.0);
  const VectorXd sums = found.weights.colwise().sum();
  EXPECT_LT((sums.array() - 1).abs().maxCoeff(), 10 * tolerance);
  const MatrixXd centers = problem.columns * found.weights;
  EXPECT_LT((centers - found.centers).norm(), 10 * tolerance * (length + 1e-300));
  const double own = (problem.columns - centers * found.encoding).norm();
  EXPECT_LE(std::abs(own - found.error), 10 * tolerance * length);
  EXPECT_LE(std::abs(found.error - error), 1e-6 * error + 10 * tolerance * length);
}

template <typename T>
void expect_as_core(const std::vector<Problem>& problems, const cuda::CnmfSettings& settings,
                    bool in_shared) {
  const Outcome run = run_kernel<T>(problems, settings, in_shared);
  EXPECT_EQ(run.report, (std::array<int64_t, 3>{}));
  ASSERT_EQ(run.found.size(), problems.size());
  for (size_t p = 0; p < problems.size(); ++p) {
    SCOPED_TRACE("problem " + std::to_string(p));
    Problem rounded = problems[p];
    for (double& value : rounded.columns.reshaped()) value = static_cast<T>(value);
    const CnmfFactors core = run_core(rounded, settings);
    expect_factors(rounded, run.found[p], core.error, sizeof(T) == 4 ? 1e-6 : 1e-13);
    EXPECT_LE(std::abs(run.found[p].num_iter - core.num_iter), 1 + core.num_iter / 20);
  }
}

// Noisy non-negative mixtures of a few directions about a common offset.
Problem mixtures(int64_t num_channels, int64_t num_points, int64_t num_concepts, uint32_t stream,
                 double offset = 0) {
  PhiloxStream random(PhiloxDomain::kTests, 4, stream);
  MatrixXd directions(num_channels, num_concepts), shares(num_concepts, num_points);
  for (double& value : directions.reshaped()) value = random.uniform() - 0.2;
  for (double& value : shares.reshaped()) value = std::pow(random.uniform(), 4);
  Problem problem{directions * shares, num_concepts, {}};
  for (double& value : problem.columns.reshaped()) value += 0.1 * (random.uniform() - 0.5) + offset;
  for (int64_t n = 0; n < num_points; ++n) {
    Eigen::Index largest;
    shares.col(n).maxCoeff(&largest);
    problem.labels.push_back(largest);
  }
  return problem;
}

// Numbers of any sign, without structure, from labels that say nothing.
Problem noise(int64_t num_channels, int64_t num_points, int64_t num_concepts, uint32_t stream) {
  PhiloxStream random(PhiloxDomain::kTests, 5, stream);
  Problem problem{MatrixXd(num_channels, num_points), num_concepts, {}};
  for (double& value : problem.columns.reshaped()) value = random.uniform() - 0.5;
  for (int64_t n = 0; n < num_points; ++n) problem.labels.push_back(n % num_concepts);
  return problem;
}

// Not to the end: an emulated sweep takes its time, and errors on the way there are to agree too.
const cuda::CnmfSettings kDescent{false, 8, 1e-6}, kUpdates{true, 12, 1e-6};

TEST(CnmfKernel, DescentEndsWhereTheCoreDoes) {
  const std::vector<std::vector<Problem>> batches{
      {mixtures(9, 40, 4, 0), mixtures(9, 17, 3, 1), mixtures(9, 5, 1, 2), mixtures(9, 7, 4, 3)},
      {mixtures(1, 12, 2, 4), mixtures(1, 1, 1, 5)},
      {mixtures(70, 15, 2, 6)},
  };
  for (const std::vector<Problem>& batch : batches) {
    expect_as_core<float>(batch, kDescent, true);
    expect_as_core<double>(batch, kDescent, true);
    expect_as_core<float>(batch, kDescent, false);
  }
  expect_as_core<double>({mixtures(5, 20, 3, 7)}, {false, 1000, 1e-6}, true);
}

TEST(CnmfKernel, DescentOfNoise) {
  expect_as_core<double>({noise(4, 20, 3, 0), noise(4, 12, 2, 1)}, {false, 200, 1e-6}, true);
}

TEST(CnmfKernel, UpdatesAreThoseOfTheCore) {
  expect_as_core<double>({mixtures(9, 40, 5, 0), mixtures(9, 7, 1, 1)}, kUpdates, true);
  expect_as_core<float>({noise(3, 20, 9, 0)}, kUpdates, false);
}

TEST(CnmfKernel, MoreConceptsThanAThreadKeepsInRegisters) {
  expect_as_core<double>({mixtures(24, 30, 11, 0)}, {false, 3, 0.0}, true);
  expect_as_core<double>({mixtures(24, 30, 18, 1)}, {false, 2, 0.0}, false);
}

TEST(CnmfKernel, ACommonOffset) {
  for (const double offset : {1e3, 1e8}) {
    expect_as_core<double>({mixtures(6, 30, 3, 0, offset)}, kDescent, true);
    expect_as_core<double>({mixtures(6, 30, 3, 1, offset)}, kDescent, false);
  }
  expect_as_core<float>({mixtures(6, 30, 3, 2, 1e3)}, kDescent, true);
}

TEST(CnmfKernel, DegenerateData) {
  Problem zeros{MatrixXd::Zero(3, 5), 2, {0, 1, 0, 1, 0}};
  Problem equal{MatrixXd::Ones(3, 6), 3, {0, 1, 2, 0, 1, 2}};
  Problem identity{MatrixXd::Identity(3, 3), 3, {0, 0, 0}};  // two clusters are empty
  Problem mixed{MatrixXd::Zero(3, 5), 2, {0, 1, 0, 1, 0}};
  mixed.columns.col(0) << 1, 0, 2;
  mixed.columns.col(3) << 1, 0, 2;
  mixed.columns.col(4) << 0, 1, 0;
  for (const cuda::CnmfSettings& settings :
       {cuda::CnmfSettings{false, 20, 1e-6}, cuda::CnmfSettings{true, 20, 1e-6}}) {
    expect_as_core<double>({zeros, equal, mixed}, settings, true);
    expect_as_core<float>({zeros, equal, mixed}, settings, false);
  }
  expect_as_core<double>({identity}, {false, 20, 1e-6}, true);
}

TEST(CnmfKernel, DataOfAnySize) {
  for (const double size : {1e-300, 1e-150, 1e150, 1e300}) {
    Problem problem = mixtures(6, 20, 3, 0);
    problem.columns *= size;
    const Outcome run = run_kernel<double>({problem}, kDescent, true);
    ASSERT_EQ(run.found.size(), 1u);
    EXPECT_NEAR(run.found[0].error / run_core(problem, kDescent).error, 1, 1e-6);
  }
}

TEST(CnmfKernel, IsTheSameAloneAndInABatchAndWhereverItsTablesLie) {
  const std::vector<Problem> problems{mixtures(9, 40, 5, 0), mixtures(9, 12, 2, 1)};
  const Outcome together = run_kernel<double>(problems, kDescent, true);
  for (size_t p = 0; p < problems.size(); ++p) {
    for (const int place : {0, 1, 2}) {
      const Found alone =
          run_kernel<double>({problems[p]}, kDescent, place > 0, place > 1).found[0];
      EXPECT_EQ(alone.weights, together.found[p].weights);
      EXPECT_EQ(alone.encoding, together.found[p].encoding);
      EXPECT_EQ(alone.centers, together.found[p].centers);
      EXPECT_EQ(alone.error, together.found[p].error);
    }
  }
}

TEST(CnmfKernel, ReportsWhatItCannotWorkOn) {
  Problem good = mixtures(4, 6, 2, 0), bad = good;
  bad.columns(2, 3) = std::nan("");
  EXPECT_EQ(run_kernel<float>({good, bad}, kDescent, true).report[0], 1);
  bad.columns(2, 3) = HUGE_VAL;
  EXPECT_EQ(run_kernel<double>({good, bad}, kUpdates, false).report[0], 1);
  bad = good;
  bad.labels[4] = 2;
  bad.labels[5] = -1;
  EXPECT_EQ(run_kernel<double>({good, bad}, kDescent, true).report[1], 12 - 10);
}

TEST(CnmfKernel, ReportsAnErrorThatTheDtypeCannotHold) {
  Problem large{MatrixXd::Zero(2, 8), 1, std::vector<int64_t>(8, 0)};
  for (int64_t n = 0; n < 8; ++n) large.columns(n % 2, n) = 3e38;
  Problem small = large;
  small.columns /= 1e30;
  EXPECT_EQ(run_kernel<float>({small, large, large}, kDescent, true).report[2], 3 - 1);
  EXPECT_EQ(run_kernel<float>({small}, kDescent, true).report[2], 0);
}

}  // namespace
}  // namespace vtcd
