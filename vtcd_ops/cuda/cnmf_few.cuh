// SPDX-License-Identifier: MIT
// core/formulas/small_nnls.h, without an offset, for so few columns that a thread keeps the whole
// system in registers: columns that are not taken as positive are rows of the identity there, which
// changes no bit of the others.
#pragma once

#include "core/formulas/small_nnls.h"
#include "cuda/cnmf_block.cuh"

namespace vtcd::cuda {

template <int kMost>
class FewNnls {
 public:
  // gram [size, size] in memory, products and u in registers; size <= kMost, the rest of products
  // is 0. u: in, a guess; out, the minimiser.
  __device__ FewNnls(const double* gram, int size, double penalty)
      : gram_(gram), size_(size), share_(SmallNnls::kRidge + penalty) {}

  __device__ void solve(const double (&products)[kMost], double (&u)[kMost]) {
    positive_ = 0;
#pragma unroll
    for (int i = 0; i < kMost; ++i) positive_ |= (u[i] > 0 && products[i] > 0 ? 1u : 0u) << i;
    int fewest = size_ + 1, patience = SmallNnls::kPatience;
#pragma unroll 1
    for (int exchange = 0; exchange < 20 + 5 * size_; ++exchange) {
      VTCD_FORGET_POINTER(gram_);  // or all of it would wait in registers for the next exchange
      solve_positive(products, u);
      VTCD_FORGET_POINTER(gram_);
      const unsigned wrong = wrong_signs(products, u);
      if (wrong == 0) return;
      bool all = true;
      if (__popc(wrong) < fewest) {
        fewest = __popc(wrong);
        patience = SmallNnls::kPatience;
      } else {
        all = patience-- > 0;
      }
      positive_ ^= all ? wrong : 1u << (31 - __clz(static_cast<int>(wrong)));
    }
    descend_coordinates(products, u);
  }

 private:
  __device__ double gram(int i, int j) const {
    return i < size_ && j < size_ ? gram_[i * size_ + j] : 0.0;
  }
  __device__ bool is_positive(int i) const { return (positive_ >> i & 1u) != 0; }
  __device__ double ridge(double diagonal) const {
    const double share = share_ * diagonal;
    return share > 0 ? share : 1.0;
  }

  __device__ void solve_positive(const double (&products)[kMost], double (&u)[kMost]) const {
    double factor[kMost * (kMost + 1) / 2];  // its diagonal: reciprocals
#pragma unroll
    for (int row = 0; row < kMost; ++row) {
      double* entries = factor + row * (row + 1) / 2;
      const double square = gram(row, row);
      const double whole = is_positive(row) ? square + ridge(square) : 1.0;
      double diagonal = whole, value = is_positive(row) ? products[row] : 0.0;
#pragma unroll
      for (int column = 0; column < row; ++column) {
        const double* other = factor + column * (column + 1) / 2;
        double entry = is_positive(row) && is_positive(column) ? gram(row, column) : 0.0;
#pragma unroll
        for (int i = 0; i < column; ++i) entry -= entries[i] * other[i];
        entry *= other[column];
        entries[column] = entry;
        diagonal -= entry * entry;
        value -= entry * u[column];
      }
      entries[row] = inverse_root(fmax(diagonal, SmallNnls::kRidge * whole));
      u[row] = value * entries[row];
    }
#pragma unroll
    for (int row = kMost - 1; row >= 0; --row) {
      const double* entries = factor + row * (row + 1) / 2;
      u[row] *= entries[row];
#pragma unroll
      for (int i = 0; i < row; ++i) u[i] -= entries[i] * u[row];
    }
  }

  __device__ unsigned wrong_signs(const double (&products)[kMost], const double (&u)[kMost]) const {
    unsigned wrong = 0;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      double slope = products[i];
#pragma unroll
      for (int j = 0; j < kMost; ++j) slope -= gram(i, j) * u[j];
      const bool is_wrong =
          is_positive(i) ? u[i] < 0 : slope > SmallNnls::kSignTolerance * fabs(products[i]);
      wrong |= (is_wrong ? 1u : 0u) << i;
    }
    return wrong;
  }

  __device__ void descend_coordinates(const double (&products)[kMost], double (&u)[kMost]) {
#pragma unroll
    for (int i = 0; i < kMost; ++i) u[i] = fmax(u[i], 0.0);
#pragma unroll 1
    for (int sweep = 0; sweep < SmallNnls::kDescentSweeps; ++sweep) {
#pragma unroll
      for (int i = 0; i < kMost; ++i) {
        VTCD_FORGET_POINTER(gram_);
        double slope = products[i];
#pragma unroll
        for (int j = 0; j < kMost; ++j) slope -= gram(i, j) * u[j];
        const double square = gram(i, i);
        if (i < size_) u[i] = fmax(0.0, u[i] + slope / (square + ridge(square)));
      }
    }
  }

  const double* gram_;
  const int size_;
  const double share_;
  unsigned positive_ = 0;
};

}  // namespace vtcd::cuda
