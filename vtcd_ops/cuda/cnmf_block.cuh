// SPDX-License-Identifier: MIT
// What the threads of a block do together in cnmf: sums in an order that depends on nothing but the
// number of threads, and the points of a problem.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/cnmf.h"
#include "core/formulas/small_nnls.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

// Hands out parts of a block of memory.
class Arena {
 public:
  __device__ explicit Arena(unsigned char* begin) : next_(begin) {}

  template <typename T>
  __device__ T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(next_);
    next_ += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
    return part;
  }

 private:
  unsigned char* next_;
};

// Counts the bytes that an arena would hand out.
class ArenaCount {
 public:
  template <typename T>
  VTCD_HOST_DEVICE T* take(int64_t count) {
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
    return nullptr;
  }
  VTCD_HOST_DEVICE int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

inline constexpr int kWarp = 32;

__device__ inline int thread_of_block() { return static_cast<int>(threadIdx.x); }
__device__ inline int lane_of_warp() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp_of_block() { return static_cast<int>(threadIdx.x) / kWarp; }

struct Plus {
  __device__ double operator()(double a, double b) const { return a + b; }
};
struct Larger {
  __device__ double operator()(double a, double b) const { return fmax(a, b); }
};

// The values of `kWidth` neighbouring lanes together, for each of them.
template <int kWidth, typename Combine>
__device__ double combined_lanes(double value, Combine combine) {
  for (int step = kWidth / 2; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(~0u, value, step));
  }
  return value;
}

// The sum of term(i), i < count, by each warp for itself: no barrier is needed.
template <typename Term>
__device__ double sum_of_warp(int count, const Term& term) {
  double sum = 0;
  for (int i = lane_of_warp(); i < count; i += kWarp) sum += term(i);
  return combined_lanes<kWarp>(sum, Plus());
}

// The values of all threads together, for each of them. scratch: one number a warp.
template <int kThreads, typename Combine>
__device__ double combined_threads(double value, double* scratch, Combine combine) {
  value = combined_lanes<kWarp>(value, combine);
  if (lane_of_warp() == 0) scratch[warp_of_block()] = value;
  __syncthreads();
  value = scratch[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) value = combine(value, scratch[warp]);
  __syncthreads();
  return value;
}

template <int kThreads, typename Term>
__device__ double sum_of_block(int count, double* scratch, const Term& term) {
  double sum = 0;
  for (int i = thread_of_block(); i < count; i += kThreads) sum += term(i);
  return combined_threads<kThreads>(sum, scratch, Plus());
}

// out[j] = the sum of term(j, c), c < length, for j < count: eight lanes a sum.
template <int kThreads, typename Term>
__device__ void sums_of_teams(int count, int length, double* out, const Term& term) {
  constexpr int kTeam = 8;
  const int member = thread_of_block() % kTeam;
  for (int first = 0; first < count; first += kThreads / kTeam) {
    const int j = first + thread_of_block() / kTeam;
    double sum = 0;
    for (int c = member; j < count && c < length; c += kTeam) sum += term(j, c);
    sum = combined_lanes<kTeam>(sum, Plus());
    if (j < count && member == 0) out[j] = sum;
  }
}

// The same for long sums: a warp each.
template <int kThreads, typename Term>
__device__ void sums_of_warps(int count, int length, double* out, const Term& term) {
  for (int j = warp_of_block(); j < count; j += kThreads / kWarp) {
    const double sum = sum_of_warp(length, [&](int i) { return term(j, i); });
    if (lane_of_warp() == 0) out[j] = sum;
  }
}

// value * 2^exponent; beyond a double's own exponents in two steps.
__device__ inline double times_power(double value, int exponent) {
  const int half = exponent / 2;
  if (exponent >= -1000 && exponent <= 1000) return value * ldexp(1.0, exponent);
  return (value * ldexp(1.0, half)) * ldexp(1.0, exponent - half);
}

// The points of a problem: scaled by a power of two to magnitudes below 1, and less the offset
// where there is one (core/point_set.h, core/cnmf/data.h). Stored: float as they were given, or
// double as they are worked on.
template <typename Stored>
struct CnmfPoints {
  Stored* rows;  // [N, stride]
  int num_rows, num_channels, stride;
  double* inverse;          // [N] of the lengths in the cone; 0 for a zero vector
  double* offset;           // [C]
  double* offset_products;  // [N] offset^T rest
  int exponent;             // data = points * 2^exponent
  double scale;             // 2^-exponent, for float
  bool has_offset;
  double squared_offset, height;
  double length;  // of all points

  static_assert(sizeof(Stored) == 4 || sizeof(Stored) == 8);

  __device__ double at(int n, int c) const {
    const double value = static_cast<double>(rows[n * static_cast<int64_t>(stride) + c]);
    if (sizeof(Stored) == 8) return value;
    const double scaled = value * scale;
    return has_offset ? scaled - offset[c] : scaled;
  }

  // The channels of the cone: one more where there is an offset.
  __device__ int num_cone_channels() const { return num_channels + (has_offset ? 1 : 0); }
  __device__ double in_cone(int n, int c) const { return c < num_channels ? at(n, c) : height; }
};

// An odd number of elements a row: threads that each read a row meet no bank twice.
VTCD_HOST_DEVICE inline int64_t stride_of_rows(int64_t num_channels) { return num_channels | 1; }

}  // namespace vtcd::cuda
