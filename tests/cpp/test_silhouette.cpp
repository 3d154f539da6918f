// SPDX-License-Identifier: MIT
#include "core/silhouette.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/formulas/philox.h"
#include "threads.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;

std::vector<double> coefficients(const MatrixXd& points, const std::vector<int64_t>& labels,
                                 const ParallelFor& parallel_for = serial_for) {
  std::vector<double> values(points.cols(), -7.0);
  silhouette(points, labels.data(), values.data(), parallel_for);
  return values;
}

TEST(Silhouette, FourPointsOnALine) {
  MatrixXd points(1, 4);
  points << 0, 1, 10, 11;
  const std::vector<double> found = coefficients(points, {0, 0, 1, 1});
  // a = 1; b = (10 + 11) / 2 for the outer points, (9 + 10) / 2 for the inner ones.
  EXPECT_NEAR(found[0], 9.5 / 10.5, 1e-12);
  EXPECT_NEAR(found[1], 8.5 / 9.5, 1e-12);
  EXPECT_NEAR(found[2], 8.5 / 9.5, 1e-12);
  EXPECT_NEAR(found[3], 9.5 / 10.5, 1e-12);
}

TEST(Silhouette, WrongClusterIsNegative) {
  MatrixXd points(1, 5);
  points << 0, 1, 10, 11, 0.5;
  EXPECT_LT(coefficients(points, {0, 0, 1, 1, 1})[4], -0.9);
}

TEST(Silhouette, AloneInAClusterOrOneClusterOnlyIsZero) {
  MatrixXd points(1, 3);
  points << 0, 1, 10;
  EXPECT_EQ(coefficients(points, {5, 5, 2})[2], 0.0);
  EXPECT_EQ(coefficients(points, {3, 3, 3}), (std::vector<double>{0, 0, 0}));
}

TEST(Silhouette, EqualPointsInTwoClustersAreZero) {
  EXPECT_EQ(coefficients(MatrixXd::Ones(2, 4), {0, 0, 1, 1}), (std::vector<double>{0, 0, 0, 0}));
}

TEST(Silhouette, ThreadsDoNotChangeABit) {
  PhiloxStream random(PhiloxDomain::kTests, 6, 0);
  MatrixXd points(7, 300);
  for (double& value : points.reshaped()) value = random.uniform();
  std::vector<int64_t> labels(300);
  for (int64_t n = 0; n < 300; ++n) labels[n] = n % 4;
  const std::vector<double> alone = coefficients(points, labels);
  for (const int num_threads : {2, 3}) {
    EXPECT_EQ(coefficients(points, labels, threaded_for(num_threads)), alone);
  }
}

}  // namespace
}  // namespace vtcd
