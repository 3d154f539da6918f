// SPDX-License-Identifier: MIT
// The two non-negative least squares solvers against their optimality conditions, which are
// sufficient: the problems are convex.
#include "core/cnmf/nnls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/formulas/philox.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

MatrixXd random_matrix(int64_t rows, int64_t columns, uint32_t stream, double offset = 0.0) {
  PhiloxStream random(PhiloxDomain::kTests, 1, stream);
  MatrixXd matrix(rows, columns);
  for (double& value : matrix.reshaped()) value = random.uniform() - 0.5 + offset;
  return matrix;
}

// Slope 0 where u is positive, not descending where it is 0.
void expect_optimal(const MatrixXd& gram, const VectorXd& p, const VectorXd& u, double tolerance) {
  const VectorXd slope = gram * u - p;
  for (int64_t i = 0; i < u.size(); ++i) {
    EXPECT_GE(u[i], 0.0);
    if (u[i] > 0) {
      EXPECT_NEAR(slope[i], 0.0, tolerance);
    } else {
      EXPECT_GE(slope[i], -tolerance);
    }
  }
}

TEST(GramNnls, IsOptimalFromAnyStart) {
  for (uint32_t size = 1; size <= 15; ++size) {
    const MatrixXd basis = random_matrix(20, size, size, 0.3);
    const MatrixXd gram = basis.transpose() * basis;
    GramNnls nnls(gram);
    const MatrixXd targets = random_matrix(20, 50, 100 + size);
    for (int64_t n = 0; n < targets.cols(); ++n) {
      const VectorXd p = basis.transpose() * targets.col(n);
      VectorXd cold = VectorXd::Zero(size), warm = VectorXd::Constant(size, 2.0);
      nnls.solve(p.data(), cold.data());
      nnls.solve(p.data(), warm.data());
      expect_optimal(gram, p, cold, 1e-10);
      EXPECT_TRUE(cold.isApprox(warm, 1e-8));
    }
  }
}

TEST(GramNnls, EqualColumnsShareWithoutLoss) {
  MatrixXd basis = random_matrix(10, 4, 1, 0.5);
  basis.col(2) = basis.col(0);
  const VectorXd target = basis * VectorXd::Constant(4, 1.0);
  GramNnls nnls(basis.transpose() * basis);
  const VectorXd p = basis.transpose() * target;
  VectorXd u = VectorXd::Constant(4, 1.0);
  nnls.solve(p.data(), u.data());
  EXPECT_GE(u.minCoeff(), 0.0);
  EXPECT_LT((basis * u - target).norm(), 1e-5 * target.norm());
}

TEST(GramNnls, ZeroMatrixGivesZero) {
  GramNnls nnls(MatrixXd::Zero(3, 3));
  const VectorXd p = VectorXd::Zero(3);
  VectorXd u = VectorXd::Constant(3, 1.0);
  nnls.solve(p.data(), u.data());
  EXPECT_EQ(u, VectorXd::Zero(3));
}

// Offers all points until none is taken.
void project(ConeProjection* projection, const PointSet& points, const VectorXd& target) {
  std::vector<int64_t> all(points.size());
  std::iota(all.begin(), all.end(), 0);
  projection->solve_on_support(target);
  projection->add_candidates(all, target);
  projection->add_candidates(all, target);  // what was refused before others left
}

void expect_projected(const ConeProjection& projection, const PointSet& points,
                      const VectorXd& target) {
  const VectorXd residual = target - projection.combination();
  const VectorXd slopes = points.points.transpose() * residual;
  EXPECT_LE(slopes.maxCoeff(), 1e-8);
  const SparseCoefficients found = projection.coefficients();
  for (size_t i = 0; i < found.points.size(); ++i) {
    EXPECT_GT(found.values[i], 0.0);
    EXPECT_NEAR(slopes[found.points[i]], 0.0, 1e-8);
  }
}

TEST(ConeProjection, IsOptimalForOneTargetAfterTheOther) {
  for (const double offset : {0.0, 0.4, 2.0}) {  // from a cone that is all of space to a narrow one
    const PointSet points(random_matrix(12, 80, 3, offset));
    ConeProjection projection(points, 1e-12);
    VectorXd target = random_matrix(12, 1, 4, offset);
    for (uint32_t step = 0; step < 30; ++step) {
      target += 0.3 * random_matrix(12, 1, 10 + step);
      project(&projection, points, target);
      expect_projected(projection, points, target);
    }
  }
}

TEST(ConeProjection, TargetInTheConeIsReached) {
  const PointSet points(random_matrix(6, 30, 5, 0.5));
  const VectorXd target = points.points * VectorXd::Constant(30, 0.1);
  ConeProjection projection(points, 1e-12);
  project(&projection, points, target);
  EXPECT_LT((projection.combination() - target).norm(), 1e-10);
  EXPECT_LE(projection.coefficients().points.size(), 6u);
}

TEST(ConeProjection, TargetInThePolarConeGivesZero) {
  const PointSet points(random_matrix(6, 30, 5, 1.0));
  ConeProjection projection(points, 1e-12);
  project(&projection, points, VectorXd::Constant(6, -1.0));
  EXPECT_EQ(projection.combination().norm(), 0.0);
}

TEST(ConeProjection, DuplicatesAndZeroVectors) {
  MatrixXd columns = random_matrix(5, 20, 6, 0.5);
  columns.rightCols(10) = columns.leftCols(10);
  columns.col(0).setZero();
  const PointSet points(columns);
  const VectorXd target = random_matrix(5, 1, 7, 0.5);
  ConeProjection projection(points, 1e-12);
  project(&projection, points, target);
  expect_projected(projection, points, target);
}

TEST(ConeProjection, ExtrapolationStaysNonNegativeAndCanBeTakenBack) {
  const PointSet points(random_matrix(8, 40, 8, 0.5));
  ConeProjection projection(points, 1e-12);
  project(&projection, points, random_matrix(8, 1, 9, 0.5));
  const SparseCoefficients before = projection.coefficients();
  project(&projection, points, random_matrix(8, 1, 10, 0.5));
  projection.normalise();
  EXPECT_NEAR(projection.coefficient_sum(), 1.0, 1e-14);
  const SparseCoefficients now = projection.coefficients();
  projection.extrapolate(before, 3.0);
  for (const double value : projection.coefficients().values) EXPECT_GE(value, 0.0);
  EXPECT_NE(projection.coefficients().values, now.values);
  projection.restore(now);
  EXPECT_EQ(projection.coefficients().values, now.values);
}

}  // namespace
}  // namespace vtcd
