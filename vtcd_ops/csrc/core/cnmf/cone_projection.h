// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

namespace vtcd {

// min over g >= 0 of |points * g - target|^2 by an active set (Lawson and Hanson 1974) that is kept
// from call to call: the orthogonal factorisation of the support depends on the points alone, so it
// outlives the target, and with a target that moves little the next solution costs two products
// with the support and a triangular solve. Points that differ little against their common length
// keep their differences, which products of points would square away.
class ConeProjection {
 public:
  // points [C, N]; inverse_norms [N], of their lengths (0 for a zero vector). is_raised: the last
  // channel is a large constant, so that the coefficients sum to 1. tolerance: alignment of a point
  // with the residual, relative to the target, that counts as zero.
  ConeProjection(const Eigen::MatrixXd& points, const Eigen::VectorXd& inverse_norms,
                 bool is_raised, double tolerance);

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

  Eigen::VectorXd combination() const;                            // points * g, [C]
  Eigen::VectorXd residual(const Eigen::VectorXd& target) const;  // at the best coefficients, [C]
  double threshold(const Eigen::VectorXd& target) const;          // alignment that counts as zero
  double coefficient_sum() const;
  double length_sum() const;                                        // of g times the lengths
  const std::vector<int64_t>& support() const { return support_; }  // [S] indices of points
  const std::vector<double>& coefficients() const { return coefficients_; }  // [S] positive

 private:
  bool append(int64_t point);
  void remove(int64_t position);

  const Eigen::MatrixXd& points_;
  const Eigen::VectorXd& inverse_norms_;
  const bool is_raised_;
  const double tolerance_;
  int64_t capacity_;  // no support is larger than the rank of the points
  std::vector<int64_t> support_;
  std::vector<double> coefficients_;
  Eigen::MatrixXd basis_;     // [C, capacity]: support = basis * factor, orthonormal columns
  Eigen::MatrixXd factor_;    // [capacity, capacity], upper triangle
  Eigen::VectorXd in_basis_;  // [capacity] basis^T target
};

}  // namespace vtcd
