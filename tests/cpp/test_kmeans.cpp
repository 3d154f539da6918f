// SPDX-License-Identifier: MIT
#include "core/kmeans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/formulas/philox.h"
#include "threads.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Points around the corners of a simplex, the corner of point n is n % num_clusters: [C, N].
MatrixXd corners(int64_t num_channels, int64_t num_points, int64_t num_clusters, double noise) {
  PhiloxStream random(PhiloxDomain::kTests, 4, 0);
  MatrixXd points(num_channels, num_points);
  for (double& value : points.reshaped()) value = noise * (random.uniform() - 0.5);
  for (int64_t n = 0; n < num_points; ++n) points(n % num_clusters, n) += 10;
  return points;
}

TEST(KMeans, FindsTheCorners) {
  const MatrixXd data(corners(6, 60, 6, 1.0));
  const KMeansResult found = kmeans(data, 6, {}, serial_for);
  for (int64_t n = 6; n < 60; ++n) EXPECT_EQ(found.labels[n], found.labels[n % 6]);
  EXPECT_EQ(std::set<int32_t>(found.labels.begin(), found.labels.begin() + 6).size(), 6u);
  double inertia = 0;
  for (int64_t n = 0; n < 60; ++n) {
    inertia += (data.col(n) - found.centers.col(found.labels[n])).squaredNorm();
  }
  EXPECT_NEAR(std::ldexp(found.inertia, found.inertia_exponent), inertia, 1e-9);
}

TEST(KMeans, OneClusterIsTheMean) {
  const MatrixXd data(corners(3, 30, 3, 2.0));
  const KMeansResult found = kmeans(data, 1, {}, serial_for);
  const VectorXd mean = data.rowwise().mean();
  EXPECT_TRUE(found.centers.col(0).isApprox(mean, 1e-12));
  EXPECT_NEAR(std::ldexp(found.inertia, found.inertia_exponent),
              (data.colwise() - mean).squaredNorm(), 1e-9);
}

TEST(KMeans, DuplicatesLeaveClustersEmptyWithoutHarm) {
  MatrixXd points(2, 6);
  points << 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0;
  const KMeansResult found = kmeans(points, 4, {}, serial_for);
  EXPECT_EQ(found.inertia, 0.0);
  EXPECT_TRUE(found.centers.allFinite());
}

TEST(KMeans, SeedDecides) {
  const MatrixXd data(corners(8, 100, 8, 12.0));
  KMeansOptions options;
  options.num_restarts = 1;
  const KMeansResult first = kmeans(data, 5, options, serial_for);
  EXPECT_EQ(kmeans(data, 5, options, serial_for).labels, first.labels);
  std::set<double> inertias;
  for (options.seed = 0; options.seed < 10; ++options.seed) {
    inertias.insert(kmeans(data, 5, options, serial_for).inertia);
  }
  EXPECT_GT(inertias.size(), 1u);
}

TEST(KMeans, ThreadsDoNotChangeABit) {
  const MatrixXd data(corners(5, 2000, 5, 8.0));
  KMeansOptions options;
  options.num_restarts = 2;
  const KMeansResult alone = kmeans(data, 7, options, serial_for);
  for (const int num_threads : {2, 3}) {
    const KMeansResult shared = kmeans(data, 7, options, threaded_for(num_threads));
    EXPECT_EQ(shared.labels, alone.labels);
    EXPECT_EQ(shared.centers, alone.centers);
    EXPECT_EQ(shared.inertia, alone.inertia);
  }
}

}  // namespace
}  // namespace vtcd
