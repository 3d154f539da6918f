// SPDX-License-Identifier: MIT
// The two non-negative least squares solvers against their optimality conditions, which are
// sufficient: the problems are convex.
#include "core/cnmf/cone_projection.h"
#include "core/formulas/small_nnls.h"
#include "core/point_set.h"

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

// Solves for one point; columns [C, K].
class Nnls {
 public:
  explicit Nnls(const MatrixXd& gram, const VectorXd& with_offset = {}, double squared_offset = 0)
      : gram_(gram),
        with_offset_(with_offset),
        doubles_(SmallNnls::num_doubles(gram.rows())),
        indices_(SmallNnls::num_indices(gram.rows())),
        nnls_({gram.rows(), gram_.data(), with_offset.size() > 0 ? with_offset_.data() : nullptr,
               squared_offset},
              doubles_.data(), indices_.data()) {}

  void solve(const VectorXd& products, VectorXd* u, double offset_product = 0) {
    nnls_.solve(products.data(), offset_product, u->data());
  }

 private:
  const MatrixXd gram_;
  const VectorXd with_offset_;
  std::vector<double> doubles_;
  std::vector<int32_t> indices_;
  SmallNnls nnls_;
};

TEST(SmallNnls, IsOptimalFromAnyStart) {
  for (uint32_t size = 1; size <= 15; ++size) {
    const MatrixXd basis = random_matrix(20, size, size, 0.3);
    const MatrixXd gram = basis.transpose() * basis;
    Nnls nnls(gram);
    const MatrixXd targets = random_matrix(20, 50, 100 + size);
    for (int64_t n = 0; n < targets.cols(); ++n) {
      const VectorXd p = basis.transpose() * targets.col(n);
      VectorXd cold = VectorXd::Zero(size), warm = VectorXd::Constant(size, 2.0);
      nnls.solve(p, &cold);
      nnls.solve(p, &warm);
      expect_optimal(gram, p, cold, 1e-10);
      EXPECT_TRUE(cold.isApprox(warm, 1e-8));
    }
  }
}

TEST(SmallNnls, EqualColumnsShareWithoutLoss) {
  MatrixXd basis = random_matrix(10, 4, 1, 0.5);
  basis.col(2) = basis.col(0);
  const VectorXd target = basis * VectorXd::Constant(4, 1.0);
  Nnls nnls(basis.transpose() * basis);
  const VectorXd p = basis.transpose() * target;
  VectorXd u = VectorXd::Constant(4, 1.0);
  nnls.solve(p, &u);
  EXPECT_GE(u.minCoeff(), 0.0);
  EXPECT_LT((basis * u - target).norm(), 1e-5 * target.norm());
}

TEST(SmallNnls, ZeroMatrixGivesZero) {
  Nnls nnls(MatrixXd::Zero(3, 3));
  const VectorXd p = VectorXd::Zero(3);
  VectorXd u = VectorXd::Constant(3, 1.0);
  nnls.solve(p, &u);
  EXPECT_EQ(u, VectorXd::Zero(3));
}

TEST(SmallNnls, ColumnsOfAllLengths) {
  MatrixXd basis = random_matrix(12, 6, 40, 0.3);
  const VectorXd lengths{{1e-8, 1e6, 1.0, 1e-3, 1e8, 1e2}};
  const VectorXd target = random_matrix(12, 1, 41, 0.3);
  VectorXd plain = VectorXd::Zero(6), scaled = VectorXd::Zero(6);
  Nnls(basis.transpose() * basis).solve(basis.transpose() * target, &plain);
  basis = (basis * lengths.asDiagonal()).eval();
  Nnls(basis.transpose() * basis).solve(basis.transpose() * target, &scaled);
  EXPECT_TRUE(plain.isApprox(lengths.cwiseProduct(scaled), 1e-8));
}

// The solution beside a large offset m tends to that with coefficients that sum to 1: of least
// squares with a heavy row of ones, here taken from the optimality conditions of that problem.
TEST(SmallNnls, ALargeOffsetKeepsTheDigitsOfTheDifferences) {
  for (const double offset : {1e2, 1e5, 1e8, 1e11}) {
    for (uint32_t size = 1; size <= 8; ++size) {
      const MatrixXd columns = random_matrix(20, size, 50 + size);
      const VectorXd middle = VectorXd::Constant(20, offset);
      Nnls nnls(columns.transpose() * columns, columns.transpose() * middle, middle.squaredNorm());
      const MatrixXd points = random_matrix(20, 30, 70 + size);
      for (int64_t n = 0; n < points.cols(); ++n) {
        const VectorXd point = points.col(n);
        VectorXd u = VectorXd::Zero(size);
        nnls.solve(columns.transpose() * point, &u, middle.dot(point));
        EXPECT_GE(u.minCoeff(), 0.0);
        EXPECT_NEAR(u.sum(), 1.0, 3.0 / offset);
        // No exchange of a share between two columns helps.
        const VectorXd residual = (1 - u.sum()) * middle + point - columns * u;
        const VectorXd slopes = columns.transpose() * residual;
        for (int64_t i = 0; i < size; ++i) {
          for (int64_t j = 0; j < size; ++j) {
            if (u[j] == 0) continue;
            EXPECT_LE(slopes[i] - slopes[j], 1e-9 + 1e-14 * offset);
          }
        }
      }
    }
  }
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
  for (size_t i = 0; i < projection.support().size(); ++i) {
    EXPECT_GT(projection.coefficients()[i], 0.0);
    EXPECT_NEAR(slopes[projection.support()[i]], 0.0, 1e-8);
  }
}

TEST(ConeProjection, IsOptimalForOneTargetAfterTheOther) {
  for (const double offset : {0.0, 0.4, 2.0}) {  // from a cone that is all of space to a narrow one
    const PointSet points(random_matrix(12, 80, 3, offset));
    ConeProjection projection(points.points, points.inverse_norms, false, 1e-12);
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
  ConeProjection projection(points.points, points.inverse_norms, false, 1e-12);
  project(&projection, points, target);
  EXPECT_LT((projection.combination() - target).norm(), 1e-10);
  EXPECT_LE(projection.support().size(), 6u);
}

TEST(ConeProjection, TargetInThePolarConeGivesZero) {
  const PointSet points(random_matrix(6, 30, 5, 1.0));
  ConeProjection projection(points.points, points.inverse_norms, false, 1e-12);
  project(&projection, points, VectorXd::Constant(6, -1.0));
  EXPECT_EQ(projection.combination().norm(), 0.0);
}

TEST(ConeProjection, DuplicatesAndZeroVectors) {
  MatrixXd columns = random_matrix(5, 20, 6, 0.5);
  columns.rightCols(10) = columns.leftCols(10);
  columns.col(0).setZero();
  const PointSet points(columns);
  const VectorXd target = random_matrix(5, 1, 7, 0.5);
  ConeProjection projection(points.points, points.inverse_norms, false, 1e-12);
  project(&projection, points, target);
  expect_projected(projection, points, target);
}

// Products of these points agree to 16 digits; their differences decide.
TEST(ConeProjection, PointsThatDifferLittleAgainstTheirLength) {
  MatrixXd columns(13, 60);
  columns.topRows(12) = random_matrix(12, 60, 8);
  columns.row(12).setConstant(1e7);
  const VectorXd inverse_norms = columns.colwise().norm().cwiseInverse();
  const VectorXd shares = random_matrix(60, 1, 9, 0.6);
  const VectorXd target = columns * shares / shares.sum();
  ConeProjection projection(columns, inverse_norms, true, 1e-10);
  std::vector<int64_t> all(60);
  std::iota(all.begin(), all.end(), 0);
  for (int look = 0; look < 4; ++look) projection.add_candidates(all, target);
  EXPECT_LT((projection.combination() - target).norm(), 1e-6);
  EXPECT_NEAR(projection.coefficient_sum(), 1.0, 1e-12);
  projection.normalise();
  EXPECT_NEAR(projection.coefficient_sum(), 1.0, 1e-15);
}

}  // namespace
}  // namespace vtcd
