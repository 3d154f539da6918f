// SPDX-License-Identifier: MIT
#include "core/cnmf/cnmf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/formulas/philox.h"
#include "threads.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Noisy non-negative mixtures of a few directions, [C, N].
MatrixXd mixtures(int64_t num_channels, int64_t num_points, int64_t num_directions,
                  uint32_t stream) {
  PhiloxStream random(PhiloxDomain::kTests, 2, stream);
  MatrixXd directions(num_channels, num_directions), shares(num_directions, num_points);
  for (double& value : directions.reshaped()) value = random.uniform();
  for (double& value : shares.reshaped()) value = std::pow(random.uniform(), 4);
  MatrixXd data = directions * shares;
  for (double& value : data.reshaped()) value += 0.05 * (random.uniform() - 0.5);
  return data;
}

std::vector<int32_t> cyclic_labels(int64_t num_points, int64_t num_concepts) {
  std::vector<int32_t> labels(num_points);
  for (int64_t n = 0; n < num_points; ++n) labels[n] = static_cast<int32_t>(n % num_concepts);
  return labels;
}

void expect_convex(const PointSet& data, const CnmfFactors& factors) {
  EXPECT_GE(factors.weights.minCoeff(), 0.0);
  EXPECT_GE(factors.encoding.minCoeff(), 0.0);
  const VectorXd sums = factors.weights.colwise().sum();
  EXPECT_TRUE(sums.isApproxToConstant(1.0, 1e-12));
  const MatrixXd centers = data.points * factors.weights;
  EXPECT_LT((centers - factors.centers).norm(), 1e-12 * (1 + centers.norm()));
  EXPECT_NEAR((data.points - centers * factors.encoding).norm(), factors.error, 1e-9);
}

// Few, as they are slow under a sanitizer; tests/ops/test_cnmf.py has more of both.
TEST(Cnmf, DescentEndsNoHigherThanManyMultiplicativeUpdates) {
  for (uint32_t stream = 0; stream < 2; ++stream) {
    const PointSet data(mixtures(16, 60, 4, stream));
    const std::vector<int32_t> labels = cyclic_labels(60, 4);
    const CnmfFactors descent = cnmf_descent(data, labels.data(), 4, {}, serial_for);
    const CnmfFactors updates = cnmf_multiplicative(data, labels.data(), 4, {500, 0.0});
    expect_convex(data, descent);
    expect_convex(data, updates);
    EXPECT_LE(descent.error, updates.error * (1 + 1e-4));
    EXPECT_LT(descent.num_iter, 300);
  }
}

TEST(Cnmf, ConceptsOfEmptyClustersAreUsed) {
  const PointSet data(mixtures(10, 40, 4, 9));
  const std::vector<int32_t> labels(40, 1);  // clusters 0, 2 and 3 are empty
  const CnmfFactors factors = cnmf_descent(data, labels.data(), 4, {}, serial_for);
  expect_convex(data, factors);
  EXPECT_GT(factors.encoding.rowwise().maxCoeff().minCoeff(), 0.0);
}

TEST(Cnmf, ZeroDataIsRepresentedExactly) {
  const PointSet data(MatrixXd::Zero(3, 5));
  const std::vector<int32_t> labels = cyclic_labels(5, 2);
  for (const CnmfFactors& factors : {cnmf_descent(data, labels.data(), 2, {}, serial_for),
                                     cnmf_multiplicative(data, labels.data(), 2, {})}) {
    expect_convex(data, factors);
    EXPECT_EQ(factors.error, 0.0);
  }
}

TEST(Cnmf, CornersOfASimplexAreFound) {
  MatrixXd points = MatrixXd::Zero(4, 40);
  points.leftCols(4).setIdentity();
  PhiloxStream random(PhiloxDomain::kTests, 3, 0);
  for (int64_t n = 4; n < 40; ++n) {
    for (int64_t c = 0; c < 4; ++c) points(c, n) = random.uniform();
    points.col(n) /= points.col(n).sum();
  }
  std::vector<int32_t> labels(40);  // by the largest share
  for (int64_t n = 0; n < 40; ++n) {
    Eigen::Index largest;
    points.col(n).maxCoeff(&largest);
    labels[n] = static_cast<int32_t>(largest);
  }
  const CnmfFactors factors =
      cnmf_descent(PointSet(points), labels.data(), 4, {1000, 0.0}, serial_for);
  EXPECT_LT(factors.error, 1e-6);
  EXPECT_TRUE(factors.weights.topRows(4).isIdentity(1e-6));
}

TEST(Cnmf, ThreadsDoNotChangeABit) {
  const int64_t num_points = 3 * kCnmfChunk + 17;
  const PointSet data(mixtures(12, num_points, 3, 5));
  const std::vector<int32_t> labels = cyclic_labels(num_points, 3);
  const CnmfFactors alone = cnmf_descent(data, labels.data(), 3, {8, 0.0}, serial_for);
  for (const int num_threads : {2, 3}) {
    const CnmfFactors shared =
        cnmf_descent(data, labels.data(), 3, {8, 0.0}, threaded_for(num_threads));
    EXPECT_EQ(shared.weights, alone.weights);
    EXPECT_EQ(shared.encoding, alone.encoding);
    EXPECT_EQ(shared.centers, alone.centers);
    EXPECT_EQ(shared.error, alone.error);
  }
}

}  // namespace
}  // namespace vtcd
