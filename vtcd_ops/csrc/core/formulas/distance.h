// SPDX-License-Identifier: MIT
// Distances of points in double precision.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"
#include "core/formulas/ordered_sum.h"

namespace vtcd {

// |a - b|^2 by differences. |a|^2 + |b|^2 - 2 a.b, which a matrix product gives for many pairs at
// once, loses the digits of a distance that is small against the lengths.
VTCD_HOST_DEVICE inline double squared_distance(const double* a, const double* b, int64_t size) {
  double lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= size; i += kSumLanes) {
#ifndef __CUDACC__
#pragma omp simd
#endif
    for (int l = 0; l < kSumLanes; ++l) lanes[l] += (a[i + l] - b[i + l]) * (a[i + l] - b[i + l]);
  }
  for (int l = 0; l < kSumLanes; ++l) {  // never lanes[l] of an unknown l: that lies in memory
    if (i + l < size) lanes[l] += (a[i + l] - b[i + l]) * (a[i + l] - b[i + l]);
  }
  return sum_of_lanes(lanes);
}

// |a - b|, also where its square is below the smallest number.
VTCD_HOST_DEVICE inline double distance(const double* a, const double* b, int64_t size) {
  constexpr double kSquareIsExact = 1e-280;
  const double squared = squared_distance(a, b, size);
  if (squared >= kSquareIsExact) return std::sqrt(squared);
  double largest = 0;
  for (int64_t i = 0; i < size; ++i) largest = std::fmax(largest, std::fabs(a[i] - b[i]));
  if (largest == 0) return 0;
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const double share = (a[i] - b[i]) / largest;
    sum += share * share;
  }
  return largest * std::sqrt(sum);
}

// By how much two values of |a|^2 - 2 a.b, or of |a|^2 + |b|^2 - 2 a.b, can come out in the wrong
// order, for each unit of |a|^2 + |b|^2. Every sum of `size` products errs by at most size + 3
// roundings of 2^-53 of its terms' magnitudes.
VTCD_HOST_DEVICE inline double product_rounding(int64_t size) {
  return 0x1p-51 * static_cast<double>(size + 4);
}

}  // namespace vtcd
