// SPDX-License-Identifier: MIT
// Non-negative least squares, the two shapes of it that convex NMF is made of.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "core/point_set.h"

namespace vtcd {

// min over u >= 0 of u^T Q u - 2 p^T u for a small positive definite Q [K, K] and many p, by block
// principal pivoting (Kim and Park 2011): guess which entries are positive, solve for them,
// exchange what has the wrong sign. Holds the work space, so one object serves one thread.
class GramNnls {
 public:
  explicit GramNnls(const Eigen::MatrixXd& gram);  // [K, K]

  // p [K]; u [K]: in, a non-negative guess whose positive entries are tried first; out, the
  // minimiser.
  void solve(const double* p, double* u);

 private:
  void solve_positive(const double* p, double* u);
  int64_t count_wrong_signs(const double* p, const double* u);
  void descend_coordinates(const double* p, double* u) const;

  const int64_t size_;
  Eigen::MatrixXd gram_;                      // [K, K]
  std::vector<double> factor_;                // Cholesky factor of the positive part, row by row
  std::vector<double> solution_;              // [K]
  std::vector<int64_t> positive_;             // indices of the entries taken as positive
  std::vector<char> is_positive_, is_wrong_;  // [K]
};

// Coefficients of a combination of few points.
struct SparseCoefficients {
  std::vector<int64_t> points;  // [S]
  std::vector<double> values;   // [S]
};

// min over g >= 0 of |points * g - target|^2 by an active set (Lawson and Hanson 1974) that is kept
// from call to call: the Gram matrix of the support depends on the points alone, so its Cholesky
// factor outlives the target, and with a target that moves little the next solution costs two
// triangular solves.
class ConeProjection {
 public:
  ConeProjection(const PointSet& points, double tolerance);

  // Restarts from one point of coefficient 1.
  void reset(int64_t point);

  // The best coefficients on the present support; points whose coefficient would be negative leave
  // it.
  void solve_on_support(const Eigen::VectorXd& target);  // [C]

  // Lets candidates into the support, the one most aligned with the residual first, until none of
  // them helps.
  void add_candidates(const std::vector<int64_t>& candidates, const Eigen::VectorXd& target);

  // Makes the coefficients sum to 1, unless all are 0.
  void normalise();

  // Takes back coefficients of the present support.
  void restore(const SparseCoefficients& coefficients) { coefficients_ = coefficients.values; }

  // Moves on by `momentum` times the change since `before`, as far as coefficients stay
  // non-negative. The support stays: the coefficient of a point that has left it is 0 and was
  // larger before.
  void extrapolate(const SparseCoefficients& before, double momentum);

  Eigen::VectorXd combination() const;  // points * g, [C]
  double coefficient_sum() const;
  SparseCoefficients coefficients() const { return {support_, coefficients_}; }

 private:
  bool append(int64_t point);
  void remove(int64_t position);

  const PointSet& points_;
  const double tolerance_;
  int64_t capacity_;                    // no support is larger than the rank of the points
  std::vector<int64_t> support_;        // [S] indices of points
  std::vector<double> coefficients_;    // [S] positive
  std::vector<double> inner_products_;  // [S] point^T target
  Eigen::Matrix<double, -1, -1, Eigen::RowMajor>
      factor_;  // [capacity, capacity], lower: factor factor^T = Gram of the support
};

}  // namespace vtcd
