// SPDX-License-Identifier: MIT
// min over u >= 0 of |x - W u|^2 for a few columns W [C, K] and many x, from inner products alone,
// by block principal pivoting (Kim and Park 2011): guess which entries are positive, solve for
// them, exchange what has the wrong sign.
//
// Where columns and points share a large offset m, W = m 1^T + V and x = m + y, the products of W
// would drown those of V. There the positive entries are solved for in the basis of one column w_r
// and the differences d_k = v_k - v_r, whose products keep their digits.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

VTCD_HOST_DEVICE inline double inverse_root(double value) {
#if defined(__CUDA_ARCH__)
  return rsqrt(value);  // half as long as a root and a division
#else
  return 1.0 / std::sqrt(value);
#endif
}

// The inner products of the columns.
struct NnlsColumns {
  int64_t size;               // K
  const double* gram;         // V^T V [K, K]; without an offset V is W
  const double* with_offset;  // V^T m [K]; null: there is no offset
  double squared_offset;      // |m|^2
  double penalty = 0;         // adds penalty * sum of |w_i|^2 u_i^2; without an offset only
};

// Works in memory of its caller, so that one object serves one thread.
class SmallNnls {
 public:
  // Equal columns make the products singular. This share of a diagonal entry, far below what moves
  // a result, keeps every principal block definite, which is what pivoting needs.
  static constexpr double kRidge = 1e-13;
  // A multiplier this small against its scale counts as zero.
  static constexpr double kSignTolerance = 1e-12;
  // Full exchanges that may fail to lower the number of wrong signs before single exchanges.
  static constexpr int kPatience = 3;
  static constexpr int kDescentSweeps = 100;

  VTCD_HOST_DEVICE static int64_t num_doubles(int64_t size) { return size * (size + 1); }
  VTCD_HOST_DEVICE static int64_t num_indices(int64_t size) { return 3 * size; }

  VTCD_HOST_DEVICE SmallNnls(const NnlsColumns& columns, double* doubles, int32_t* indices)
      : columns_(columns),
        size_(static_cast<int32_t>(columns.size)),
        factor_(doubles),
        solution_(doubles + size_ * size_),
        positive_(indices),
        is_positive_(indices + size_),
        is_wrong_(indices + 2 * size_) {}

  // products [K]: V^T y; offset_product: m^T y, 0 without an offset; u [K]: in, a guess whose
  // positive entries are tried first; out, the minimiser.
  VTCD_HOST_DEVICE void solve(const double* products, double offset_product, double* u) {
    products_ = products;
    offset_product_ = offset_product;
    if (columns_.with_offset != nullptr) {
      solve_as<true>(u);
    } else {
      solve_as<false>(u);
    }
  }

 private:
  template <bool kOffset>
  VTCD_HOST_DEVICE void solve_as(double* u) {
    guess_positive<kOffset>(u);
    int32_t fewest = size_ + 1;
    int patience = kPatience;
    const int32_t max_exchanges = 20 + 5 * size_;
    for (int32_t exchange = 0; exchange < max_exchanges; ++exchange) {
      solve_positive<kOffset>(u);
      const int32_t wrong = count_wrong_signs<kOffset>(u);
      if (wrong == 0) return;
      bool all = true;
      if (wrong < fewest) {
        fewest = wrong;
        patience = kPatience;
      } else {
        all = patience-- > 0;
      }
      // the largest index alone (Murty's rule) cannot cycle
      for (int32_t i = size_ - 1; i >= 0; --i) {
        if (!is_wrong_[i]) continue;
        is_positive_[i] = !is_positive_[i];
        if (!all) break;
      }
    }
    descend_coordinates<kOffset>(u);
  }

  VTCD_HOST_DEVICE double gram(int32_t i, int32_t j) const { return columns_.gram[i * size_ + j]; }

  // Added to the diagonal entry of column i; that of a zero column becomes 1, its u 0.
  VTCD_HOST_DEVICE double ridge(int32_t i) const {
    const double share = (kRidge + columns_.penalty) * gram(i, i);
    return share > 0 ? share : 1.0;
  }

  // (v_i - v_r)^T (v_j - v_r)
  VTCD_HOST_DEVICE double difference_gram(int32_t i, int32_t j, int32_t r) const {
    return (gram(i, j) - gram(r, j)) - (gram(i, r) - gram(r, r));
  }
  // w_r^T (v_i - v_r)
  VTCD_HOST_DEVICE double cross_gram(int32_t i, int32_t r) const {
    return (columns_.with_offset[i] - columns_.with_offset[r]) + (gram(i, r) - gram(r, r));
  }
  VTCD_HOST_DEVICE double squared_length(int32_t r) const {
    return columns_.squared_offset + 2 * columns_.with_offset[r] + gram(r, r);
  }
  // (v_i - v_r)^T (y - v_r)
  VTCD_HOST_DEVICE double difference_product(int32_t i, int32_t r) const {
    return (products_[i] - products_[r]) - (gram(i, r) - gram(r, r));
  }
  // w_r^T (y - v_r)
  VTCD_HOST_DEVICE double cross_product(int32_t r) const {
    return (offset_product_ - columns_.with_offset[r]) + (products_[r] - gram(r, r));
  }

  template <bool kOffset>
  VTCD_HOST_DEVICE void guess_positive(const double* u) {
    bool any = false;
    int32_t best = 0;
    for (int32_t i = 0; i < size_; ++i) {
      is_positive_[i] = u[i] > 0 && (kOffset || products_[i] > 0);
      any = any || is_positive_[i];
      if (kOffset &&
          columns_.with_offset[i] + products_[i] > columns_.with_offset[best] + products_[best]) {
        best = i;
      }
    }
    if (kOffset && !any) is_positive_[best] = 1;  // never all zero
  }

  // Solves for the entries taken as positive, the others are 0.
  template <bool kOffset>
  VTCD_HOST_DEVICE void solve_positive(double* u) {
    count_ = 0;
    for (int32_t i = 0; i < size_; ++i) {
      u[i] = 0;
      if (is_positive_[i]) positive_[count_++] = i;
    }
    for (int32_t row = 1; row < count_ && kOffset; ++row) {
      // differences from the shortest lose least
      if (gram(positive_[row], positive_[row]) >= gram(positive_[0], positive_[0])) continue;
      const int32_t shortest = positive_[row];
      positive_[row] = positive_[0];
      positive_[0] = shortest;
    }
    fill_system<kOffset>();
    factorise();
    for (int32_t row = count_ - 1; row >= 0; --row) {
      const double value = solution_[row] * factor_[row * size_ + row];
      solution_[row] = value;
      for (int32_t i = 0; i < row; ++i) solution_[i] -= factor_[row * size_ + i] * value;
    }
    for (int32_t row = 0; row < count_; ++row) u[positive_[row]] = solution_[row];
    if (!kOffset || count_ == 0) return;
    excess_ = solution_[0];
    u[positive_[0]] = 1 + excess_;
    for (int32_t row = 1; row < count_; ++row) u[positive_[0]] -= solution_[row];
  }

  // The lower triangle of the products of the positive columns, and the right-hand side.
  template <bool kOffset>
  VTCD_HOST_DEVICE void fill_system() {
    for (int32_t row = 0; row < count_; ++row) {
      const int32_t i = positive_[row], r = positive_[0];
      double* entries = factor_ + row * size_;
      if (!kOffset) {
        for (int32_t column = 0; column <= row; ++column) {
          entries[column] = gram(i, positive_[column]);
        }
        entries[row] += ridge(i);
        solution_[row] = products_[i];
      } else if (row == 0) {
        entries[0] = squared_length(r);
        solution_[0] = cross_product(r);
      } else {
        entries[0] = cross_gram(i, r);
        for (int32_t column = 1; column <= row; ++column) {
          entries[column] = difference_gram(i, positive_[column], r);
        }
        entries[row] += ridge(i);
        solution_[row] = difference_product(i, r);
      }
    }
  }

  // Cholesky, in place, with reciprocals on the diagonal; forward substitution on the way.
  VTCD_HOST_DEVICE void factorise() {
    for (int32_t row = 0; row < count_; ++row) {
      double* entries = factor_ + row * size_;
      const double whole = entries[row];
      double diagonal = whole, value = solution_[row];
      for (int32_t column = 0; column < row; ++column) {
        const double* other = factor_ + column * size_;
        double entry = entries[column];
        for (int32_t i = 0; i < column; ++i) entry -= entries[i] * other[i];
        entry *= other[column];
        entries[column] = entry;
        diagonal -= entry * entry;
        value -= entry * solution_[column];
      }
      entries[row] = inverse_root(std::fmax(diagonal, kRidge * whole));
      solution_[row] = value * entries[row];
    }
  }

  // Marks positive entries that came out negative and zero entries whose gradient would let them
  // grow.
  template <bool kOffset>
  VTCD_HOST_DEVICE int32_t count_wrong_signs(const double* u) {
    int32_t wrong = 0;
    for (int32_t i = 0; i < size_; ++i) {
      if (is_positive_[i]) {
        is_wrong_[i] = u[i] < 0;
      } else if (!kOffset) {
        double slope = products_[i];
        for (int32_t j = 0; j < count_; ++j) slope -= gram(i, positive_[j]) * u[positive_[j]];
        is_wrong_[i] = slope > kSignTolerance * std::fabs(products_[i]);
      } else {
        const int32_t r = positive_[0];  // its own slope is 0
        double slope = difference_product(i, r) - excess_ * cross_gram(i, r);
        for (int32_t j = 1; j < count_; ++j) {
          slope -= difference_gram(i, positive_[j], r) * u[positive_[j]];
        }
        const double scale =
            std::fabs(products_[i] - products_[r]) + std::fabs(gram(i, r) - gram(r, r));
        is_wrong_[i] = slope > kSignTolerance * scale;
      }
      wrong += is_wrong_[i];
    }
    return wrong;
  }

  // Rounding can make pivoting circle among nearly equal solutions; descent from the non-negative
  // part of the last one ends it: by single entries, or, with an offset, by exchange with the
  // largest entry.
  template <bool kOffset>
  VTCD_HOST_DEVICE void descend_coordinates(double* u) {
    int32_t r = 0;
    for (int32_t i = 0; i < size_; ++i) {
      u[i] = std::fmax(u[i], 0.0);
      if (u[i] > u[r]) r = i;
    }
    for (int sweep = 0; sweep < kDescentSweeps; ++sweep) {
      for (int32_t i = 0; i < size_; ++i) {
        if (!kOffset) {
          double slope = products_[i];
          for (int32_t j = 0; j < size_; ++j) slope -= gram(i, j) * u[j];
          u[i] = std::fmax(0.0, u[i] + slope / (gram(i, i) + ridge(i)));
        } else if (i == r) {
          scale_entry(r, u);
        } else {
          exchange_entries(i, r, u);
        }
      }
    }
  }

  // u_r to its best with the others fixed.
  VTCD_HOST_DEVICE void scale_entry(int32_t r, double* u) const {
    double missing = 1, slope = offset_product_ + products_[r];
    for (int32_t j = 0; j < size_; ++j) {
      missing -= u[j];
      slope -= (columns_.with_offset[j] + gram(r, j)) * u[j];
    }
    slope += missing * (columns_.squared_offset + columns_.with_offset[r]);
    u[r] = std::fmax(0.0, u[r] + slope / squared_length(r));
  }

  // Moves a share from u_r to u_i, or back.
  VTCD_HOST_DEVICE void exchange_entries(int32_t i, int32_t r, double* u) const {
    double missing = 1, slope = products_[i] - products_[r];
    for (int32_t j = 0; j < size_; ++j) {
      missing -= u[j];
      slope -= (gram(i, j) - gram(r, j)) * u[j];
    }
    slope += missing * (columns_.with_offset[i] - columns_.with_offset[r]);
    const double step = slope / (difference_gram(i, i, r) + ridge(i));
    const double bounded = std::fmin(std::fmax(step, -u[i]), u[r]);
    u[i] += bounded;
    u[r] -= bounded;
  }

  const NnlsColumns columns_;
  const int32_t size_;
  double* factor_;                          // [K, K], lower triangle, row by row
  double* solution_;                        // [K]
  int32_t* positive_;                       // [count] indices of the entries taken as positive
  int32_t *is_positive_, *is_wrong_;        // [K]
  const double* products_ = nullptr;        // [K] of the present point
  double offset_product_ = 0, excess_ = 0;  // excess: the sum of u, less 1
  int32_t count_ = 0;
};

}  // namespace vtcd
