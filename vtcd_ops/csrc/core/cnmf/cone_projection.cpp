// SPDX-License-Identifier: MIT
#include "core/cnmf/cone_projection.h"

#include <algorithm>
#include <cmath>

#include "core/formulas/cnmf.h"

namespace vtcd {

using Eigen::MatrixXd;
using Eigen::VectorXd;

ConeProjection::ConeProjection(const MatrixXd& points, const VectorXd& inverse_norms,
                               bool is_raised, double tolerance)
    : points_(points),
      inverse_norms_(inverse_norms),
      is_raised_(is_raised),
      tolerance_(tolerance),
      capacity_(std::min(points.rows(), points.cols())),
      basis_(points.rows(), capacity_),
      factor_(MatrixXd::Zero(capacity_, capacity_)),
      in_basis_(capacity_) {}

void ConeProjection::reset(int64_t point) {
  support_.clear();
  coefficients_.clear();
  if (append(point)) coefficients_[0] = 1.0;
}

// Extends the factorisation by one column, orthogonalised twice: once leaves what rounding lost.
bool ConeProjection::append(int64_t point) {
  const int64_t size = static_cast<int64_t>(support_.size());
  if (size == capacity_ || inverse_norms_[point] == 0) return false;
  const auto basis = basis_.leftCols(size);
  VectorXd outside = points_.col(point);
  VectorXd inside = basis.transpose() * outside;
  outside.noalias() -= basis * inside;
  const VectorXd correction = basis.transpose() * outside;
  outside.noalias() -= basis * correction;
  const double length = outside.norm();
  if (length * inverse_norms_[point] <= kDependent) return false;
  basis_.col(size) = outside / length;
  factor_.col(size).head(size) = inside + correction;
  factor_(size, size) = length;
  support_.push_back(point);
  coefficients_.push_back(0.0);
  return true;
}

// Deletes one column of the factor and brings it back to triangular form by plane rotations, which
// turn the basis and the target's coordinates along.
void ConeProjection::remove(int64_t position) {
  const int64_t size = static_cast<int64_t>(support_.size()) - 1;
  for (int64_t column = position; column < size; ++column) {
    factor_.col(column).head(column + 2) = factor_.col(column + 1).head(column + 2).eval();
  }
  for (int64_t row = position; row < size; ++row) {
    const double radius = std::hypot(factor_(row, row), factor_(row + 1, row));
    const double cosine = factor_(row, row) / radius, sine = factor_(row + 1, row) / radius;
    for (int64_t column = row; column < size; ++column) {
      const double upper = factor_(row, column), lower = factor_(row + 1, column);
      factor_(row, column) = cosine * upper + sine * lower;
      factor_(row + 1, column) = cosine * lower - sine * upper;
    }
    const VectorXd left = basis_.col(row);
    basis_.col(row) = cosine * left + sine * basis_.col(row + 1);
    basis_.col(row + 1) = cosine * basis_.col(row + 1) - sine * left;
    const double first = in_basis_[row];
    in_basis_[row] = cosine * first + sine * in_basis_[row + 1];
    in_basis_[row + 1] = cosine * in_basis_[row + 1] - sine * first;
  }
  support_.erase(support_.begin() + position);
  coefficients_.erase(coefficients_.begin() + position);
}

void ConeProjection::solve_on_support(const VectorXd& target) {
  int64_t size = static_cast<int64_t>(support_.size());
  in_basis_.head(size).noalias() = basis_.leftCols(size).transpose() * target;
  VectorXd solution;
  while (size > 0) {
    solution = in_basis_.head(size);
    factor_.topLeftCorner(size, size).triangularView<Eigen::Upper>().solveInPlace(solution);
    // Walk towards the solution until the first coefficient reaches zero.
    double step = 1.0;
    int64_t blocking = -1;
    for (int64_t i = 0; i < size; ++i) {
      if (solution[i] > 0) continue;
      const double ratio = step_to_zero(coefficients_[i], solution[i]);
      if (ratio < step || blocking < 0) {
        step = ratio;
        blocking = i;
      }
    }
    for (int64_t i = 0; i < size; ++i) {
      coefficients_[i] =
          blocking < 0 ? solution[i] : coefficients_[i] + step * (solution[i] - coefficients_[i]);
    }
    if (blocking < 0) return;
    remove(blocking);
    --size;
  }
}

void ConeProjection::add_candidates(const std::vector<int64_t>& candidates,
                                    const VectorXd& target) {
  std::vector<int64_t> waiting = candidates;
  while (!waiting.empty()) {
    const VectorXd left = residual(target);
    double best = threshold(target);
    int64_t chosen = -1;
    for (size_t i = 0; i < waiting.size(); ++i) {
      const double alignment = points_.col(waiting[i]).dot(left) * inverse_norms_[waiting[i]];
      if (alignment > best) {
        best = alignment;
        chosen = static_cast<int64_t>(i);
      }
    }
    if (chosen < 0) return;
    const bool added = append(waiting[chosen]);
    waiting.erase(waiting.begin() + chosen);
    if (added) solve_on_support(target);
  }
}

void ConeProjection::normalise() {
  const double sum = coefficient_sum();
  if (sum <= 0) return;
  for (double& coefficient : coefficients_) coefficient /= sum;
}

VectorXd ConeProjection::combination() const {
  VectorXd sum = VectorXd::Zero(points_.rows());
  for (size_t i = 0; i < support_.size(); ++i) sum += coefficients_[i] * points_.col(support_[i]);
  return sum;
}

// In the large last channel a difference would be rounding; the residual is at right angles to the
// combination, which gives it from the others.
VectorXd ConeProjection::residual(const VectorXd& target) const {
  const VectorXd sum = combination();
  VectorXd left = target - sum;
  const int64_t last = left.size() - 1;
  if (is_raised_ && sum[last] > 0) left[last] = -sum.head(last).dot(left.head(last)) / sum[last];
  return left;
}

// Where points are long by the constant alone, alignments are small by as much.
double ConeProjection::threshold(const VectorXd& target) const {
  const int64_t last = target.size() - 1;
  return tolerance_ * (is_raised_ ? target.head(last).squaredNorm() / target[last] : target.norm());
}

double ConeProjection::coefficient_sum() const {
  double sum = 0;
  for (const double coefficient : coefficients_) sum += coefficient;
  return sum;
}

double ConeProjection::length_sum() const {
  double sum = 0;
  for (size_t i = 0; i < support_.size(); ++i)
    sum += coefficients_[i] / inverse_norms_[support_[i]];
  return sum;
}

}  // namespace vtcd
