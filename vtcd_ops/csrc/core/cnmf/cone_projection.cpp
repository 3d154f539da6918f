// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "core/cnmf/nnls.h"

namespace vtcd {
namespace {

// A point whose part outside the span of the support is below this share of its squared length is
// taken as inside: it could not lower the residual, and would spoil the factor.
constexpr double kDependent = 1e-10;

}  // namespace

ConeProjection::ConeProjection(const PointSet& points, double tolerance)
    : points_(points),
      tolerance_(tolerance),
      capacity_(std::min(points.points.rows(), points.points.cols())),
      factor_(capacity_, capacity_) {}

void ConeProjection::reset(int64_t point) {
  support_.clear();
  coefficients_.clear();
  inner_products_.clear();
  if (append(point)) coefficients_[0] = 1.0;
}

// Extends the Cholesky factor by one row.
bool ConeProjection::append(int64_t point) {
  const int64_t size = static_cast<int64_t>(support_.size());
  if (size == capacity_) return false;
  auto row = factor_.row(size);
  double diagonal = points_.squared_norms[point];
  for (int64_t i = 0; i < size; ++i) {
    double entry = points_.points.col(support_[i]).dot(points_.points.col(point));
    entry -= factor_.row(i).head(i).dot(row.head(i));
    row[i] = entry / factor_(i, i);
    diagonal -= row[i] * row[i];
  }
  if (diagonal <= kDependent * points_.squared_norms[point]) return false;
  row[size] = std::sqrt(diagonal);
  support_.push_back(point);
  coefficients_.push_back(0.0);
  inner_products_.push_back(0.0);
  return true;
}

// Deletes one row of the factor and brings it back to lower triangular form by plane rotations of
// columns.
void ConeProjection::remove(int64_t position) {
  const int64_t size = static_cast<int64_t>(support_.size()) - 1;
  for (int64_t row = position; row < size; ++row) {
    factor_.row(row).head(row + 2) = factor_.row(row + 1).head(row + 2).eval();
  }
  for (int64_t column = position; column < size; ++column) {
    const double radius = std::hypot(factor_(column, column), factor_(column, column + 1));
    const double cosine = factor_(column, column) / radius;
    const double sine = factor_(column, column + 1) / radius;
    for (int64_t row = column; row < size; ++row) {
      const double left = factor_(row, column), right = factor_(row, column + 1);
      factor_(row, column) = cosine * left + sine * right;
      factor_(row, column + 1) = cosine * right - sine * left;
    }
  }
  support_.erase(support_.begin() + position);
  coefficients_.erase(coefficients_.begin() + position);
  inner_products_.erase(inner_products_.begin() + position);
}

void ConeProjection::solve_on_support(const Eigen::VectorXd& target) {
  for (size_t i = 0; i < support_.size(); ++i) {
    inner_products_[i] = points_.points.col(support_[i]).dot(target);
  }
  Eigen::VectorXd solution;
  while (!support_.empty()) {
    const int64_t size = static_cast<int64_t>(support_.size());
    solution = Eigen::Map<const Eigen::VectorXd>(inner_products_.data(), size);
    const auto factor = factor_.topLeftCorner(size, size).triangularView<Eigen::Lower>();
    factor.solveInPlace(solution);
    factor.transpose().solveInPlace(solution);
    // Walk towards the solution until the first coefficient reaches zero.
    double step = 1.0;
    int64_t blocking = -1;
    for (int64_t i = 0; i < size; ++i) {
      if (solution[i] > 0) continue;
      const double ratio =
          coefficients_[i] > 0 ? coefficients_[i] / (coefficients_[i] - solution[i]) : 0.0;
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
  }
}

void ConeProjection::add_candidates(const std::vector<int64_t>& candidates,
                                    const Eigen::VectorXd& target) {
  std::vector<int64_t> waiting = candidates;
  const double threshold = tolerance_ * target.norm();
  while (!waiting.empty()) {
    const Eigen::VectorXd residual = target - combination();
    double best = threshold;
    int64_t chosen = -1;
    for (size_t i = 0; i < waiting.size(); ++i) {
      const double alignment =
          points_.points.col(waiting[i]).dot(residual) * points_.inverse_norms[waiting[i]];
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

void ConeProjection::extrapolate(const SparseCoefficients& before, double momentum) {
  for (size_t i = 0; i < support_.size(); ++i) {
    const auto found = std::find(before.points.begin(), before.points.end(), support_[i]);
    const double earlier =
        found == before.points.end() ? 0.0 : before.values[found - before.points.begin()];
    coefficients_[i] = std::max(0.0, coefficients_[i] + momentum * (coefficients_[i] - earlier));
  }
}

Eigen::VectorXd ConeProjection::combination() const {
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(points_.points.rows());
  for (size_t i = 0; i < support_.size(); ++i)
    sum += coefficients_[i] * points_.points.col(support_[i]);
  return sum;
}

double ConeProjection::coefficient_sum() const {
  double sum = 0;
  for (const double coefficient : coefficients_) sum += coefficient;
  return sum;
}

}  // namespace vtcd
