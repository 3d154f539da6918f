// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "core/cnmf/nnls.h"

namespace vtcd {
namespace {

// Equal centres make the Gram matrix singular. This share of its largest diagonal entry, far below
// what moves a result, keeps every principal block definite, which is what block pivoting needs.
constexpr double kRidge = 1e-13;
// A multiplier or an entry this small against its scale counts as zero.
constexpr double kSignTolerance = 1e-12;
// Full exchanges that may fail to lower the number of wrong signs before single exchanges, which
// cannot cycle.
constexpr int kPatience = 3;

}  // namespace

GramNnls::GramNnls(const Eigen::MatrixXd& gram)
    : size_(gram.rows()),
      gram_(gram),
      factor_(size_ * size_),
      solution_(size_),
      is_positive_(size_),
      is_wrong_(size_) {
  positive_.reserve(size_);
  const double ridge = size_ > 0 ? kRidge * gram_.diagonal().maxCoeff() : 0.0;
  gram_.diagonal().array() +=
      ridge > 0 ? ridge : 1.0;  // all centres zero: any definite matrix, u becomes 0
}

// Solves Q_FF u_F = p_F for the entries F taken as positive, the others are 0.
void GramNnls::solve_positive(const double* p, double* u) {
  positive_.clear();
  for (int64_t i = 0; i < size_; ++i) {
    u[i] = 0;
    if (is_positive_[i]) positive_.push_back(i);
  }
  const int64_t count = static_cast<int64_t>(positive_.size());
  for (int64_t row = 0; row < count; ++row) {
    const double* gram_row = gram_.col(positive_[row]).data();  // symmetric: a column is a row
    double* factor_row = factor_.data() + row * size_;
    double value = p[positive_[row]];
    double diagonal = gram_row[positive_[row]];
    for (int64_t column = 0; column < row; ++column) {
      const double* other = factor_.data() + column * size_;
      double entry = gram_row[positive_[column]];
      for (int64_t i = 0; i < column; ++i) entry -= factor_row[i] * other[i];
      entry *= other[column];  // the diagonal holds reciprocals
      factor_row[column] = entry;
      diagonal -= entry * entry;
      value -= entry * solution_[column];
    }
    factor_row[row] = 1.0 / std::sqrt(std::max(diagonal, kRidge * gram_row[positive_[row]]));
    solution_[row] = value * factor_row[row];
  }
  for (int64_t row = count - 1; row >= 0; --row) {
    const double value = solution_[row] * factor_[row * size_ + row];
    u[positive_[row]] = value;
    for (int64_t i = 0; i < row; ++i) solution_[i] -= factor_[row * size_ + i] * value;
  }
}

// Marks positive entries that came out negative and zero entries whose gradient would let them
// grow.
int64_t GramNnls::count_wrong_signs(const double* p, const double* u) {
  int64_t count = 0;
  for (int64_t i = 0; i < size_; ++i) {
    if (is_positive_[i]) {
      is_wrong_[i] = u[i] < 0;
    } else {
      double slope = p[i];
      for (const int64_t j : positive_) slope -= gram_(j, i) * u[j];
      is_wrong_[i] = slope > kSignTolerance * std::abs(p[i]);
    }
    count += is_wrong_[i];
  }
  return count;
}

// Rounding can make pivoting circle among nearly equal solutions; coordinate descent from the
// non-negative part of the last one ends it.
void GramNnls::descend_coordinates(const double* p, double* u) const {
  for (int64_t i = 0; i < size_; ++i) u[i] = std::max(u[i], 0.0);
  for (int sweep = 0; sweep < 100; ++sweep) {
    for (int64_t i = 0; i < size_; ++i) {
      double slope = p[i];
      for (int64_t j = 0; j < size_; ++j) slope -= gram_(j, i) * u[j];
      u[i] = std::max(0.0, u[i] + slope / gram_(i, i));
    }
  }
}

void GramNnls::solve(const double* p, double* u) {
  for (int64_t i = 0; i < size_; ++i) is_positive_[i] = u[i] > 0 && p[i] > 0;
  int64_t fewest = size_ + 1;
  int patience = kPatience;
  const int64_t max_exchanges = 20 + 5 * size_;
  for (int64_t exchange = 0; exchange < max_exchanges; ++exchange) {
    solve_positive(p, u);
    const int64_t wrong = count_wrong_signs(p, u);
    if (wrong == 0) return;
    bool all = true;
    if (wrong < fewest) {
      fewest = wrong;
      patience = kPatience;
    } else {
      all = patience-- > 0;
    }
    for (int64_t i = size_ - 1; i >= 0;
         --i) {  // the largest index alone (Murty's rule) cannot cycle
      if (!is_wrong_[i]) continue;
      is_positive_[i] = !is_positive_[i];
      if (!all) break;
    }
  }
  descend_coordinates(p, u);
}

}  // namespace vtcd
