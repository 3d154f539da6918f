// SPDX-License-Identifier: MIT
// Points of every problem without repetition, in the order of their first occurrence, as in
// csrc/core/distinct_points.h: hashes of all points, a warp each; then a thread looks for the first
// earlier point of the same hash and the same values; then a block numbers those of one problem and
// writes them, centred and scaled. N^2 / 2 comparisons of hashes, of which most threads' are served
// by one load for a warp.
#pragma once

#include <cstdint>

#include "cuda/centred_points.cuh"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kDistinctThreads = 256;

// Rows of points begin at multiples of 16 doubles; in every second one the halves of each 16 are
// exchanged, so that 8 channels of two neighbouring rows lie in different banks of shared memory.
inline constexpr int64_t kRowUnit = 16;
__host__ __device__ inline int64_t point_stride(int64_t num_channels) {
  return (num_channels + kRowUnit - 1) / kRowUnit * kRowUnit;
}
__device__ inline int channel_swizzle(int64_t point) { return static_cast<int>(point & 1) * 8; }

struct DistinctWorkspace {
  double* origins;      // [P, C]
  Centring* centring;   // [P]
  uint64_t* hashes;     // [ΣN]
  int32_t* firsts;      // [ΣN] the first equal point of the problem
  int32_t* group;       // [ΣN] the distinct point that each is
  int32_t* columns;     // [ΣN] where each distinct point of a problem occurs first
  int32_t* counts;      // [ΣN] how often, 0 before
  double* points;       // [ΣN, point_stride(C)] those of a problem begin where its rows do
  double* weights;      // [ΣN]
  int64_t* num_points;  // [P]
};

template <typename Scalar>
__device__ double centred_value(const RaggedRows<Scalar>& rows, const DistinctWorkspace& work,
                                int64_t problem, int64_t row, int64_t channel) {
  const int64_t num_channels = rows.num_channels;
  return work.centring[problem].centred(
      static_cast<double>(rows.data[row * num_channels + channel]),
      work.origins[problem * num_channels + channel]);
}

// Spreads the bits of a word (the finaliser of MurmurHash3).
__device__ inline uint64_t mixed(uint64_t word) {
  word = (word ^ (word >> 33)) * 0xff51afd7ed558ccdULL;
  word = (word ^ (word >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return word ^ (word >> 33);
}

// A warp has one row.
template <typename Scalar>
__global__ void __launch_bounds__(kDistinctThreads)
    hash_kernel(RaggedRows<Scalar> rows, DistinctWorkspace work, int64_t num_rows) {
  const int64_t row = (int64_t{blockIdx.x} * kDistinctThreads + threadIdx.x) / 32;
  if (row >= num_rows) return;
  const int64_t problem = find_part(rows.offsets, rows.num_problems, row);
  uint64_t hash = 0;
  for (int64_t c = threadIdx.x % 32; c < rows.num_channels; c += 32) {
    const double value = centred_value(rows, work, problem, row, c) + 0.0;  // -0 equals 0
    const auto bits = static_cast<uint64_t>(__double_as_longlong(value));
    hash += mixed(bits + 0x9e3779b97f4a7c15ULL * static_cast<uint64_t>(c + 1));
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) hash += __shfl_xor_sync(~0u, hash, lanes);
  if (threadIdx.x % 32 == 0) work.hashes[row] = hash;
}

template <typename Scalar>
__device__ bool are_equal(const RaggedRows<Scalar>& rows, const DistinctWorkspace& work,
                          int64_t problem, int64_t a, int64_t b) {
  for (int64_t c = 0; c < rows.num_channels; ++c) {
    if (centred_value(rows, work, problem, a, c) != centred_value(rows, work, problem, b, c))
      return false;
  }
  return true;
}

// A thread has one row.
template <typename Scalar>
__global__ void __launch_bounds__(kDistinctThreads)
    first_equal_kernel(RaggedRows<Scalar> rows, DistinctWorkspace work, int64_t num_rows) {
  constexpr int64_t kAtOnce = 8;
  const int64_t row = int64_t{blockIdx.x} * kDistinctThreads + threadIdx.x;
  if (row >= num_rows) return;
  const int64_t problem = find_part(rows.offsets, rows.num_problems, row);
  const int64_t begin = rows.begin(problem);
  const uint64_t own = work.hashes[row];
  int64_t first = row;
  for (int64_t from = begin; from < row && first == row; from += kAtOnce) {
    bool any = false;
#pragma unroll
    for (int64_t i = 0; i < kAtOnce; ++i)
      any |= work.hashes[from + i < row ? from + i : row - 1] == own;
    for (int64_t i = from; any && i < from + kAtOnce && i < row && first == row; ++i) {
      if (work.hashes[i] == own && are_equal(rows, work, problem, i, row)) first = i;
    }
  }
  work.firsts[row] = static_cast<int32_t>(first - begin);
}

// Numbers the rows that are their own first, in their order; columns and num_points. Up to the last
// barrier by all threads.
template <typename Scalar>
__device__ void number_distinct(const RaggedRows<Scalar>& rows, const DistinctWorkspace& work,
                                int64_t problem) {
  VTCD_SHARED(int32_t, warp_counts, [kDistinctThreads / 32]);
  const int64_t begin = rows.begin(problem), count = rows.size(problem);
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int32_t number = 0;  // of those so far
  for (int64_t from = 0; from < count; from += kDistinctThreads) {
    const int64_t n = from + threadIdx.x;
    const bool is_first = n < count && work.firsts[begin + n] == n;
    const unsigned firsts = __ballot_sync(~0u, is_first);
    if (lane == 0) warp_counts[warp] = __popc(firsts);
    __syncthreads();
    int32_t before = number;
    for (unsigned w = 0; w < kDistinctThreads / 32; ++w) {
      if (w < warp) before += warp_counts[w];
      number += warp_counts[w];
    }
    if (is_first) {
      const int32_t own = before + __popc(firsts & ((1u << lane) - 1));
      work.group[begin + n] = own;
      work.columns[begin + own] = static_cast<int32_t>(n);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) work.num_points[problem] = number;
}

// A block has one problem.
template <typename Scalar>
__global__ void __launch_bounds__(kDistinctThreads)
    distinct_kernel(RaggedRows<Scalar> rows, DistinctWorkspace work) {
  const int64_t problem = blockIdx.x;
  const int64_t begin = rows.begin(problem), count = rows.size(problem);
  number_distinct(rows, work, problem);
  __syncthreads();
  for (int64_t n = threadIdx.x; n < count; n += kDistinctThreads) {
    const int32_t first = work.firsts[begin + n];
    const int32_t own = work.group[begin + first];
    if (first != n) work.group[begin + n] = own;
    atomicAdd(&work.counts[begin + own], 1);
  }
  __syncthreads();
  const int64_t num_points = work.num_points[problem], stride = point_stride(rows.num_channels);
  for (int64_t n = threadIdx.x; n < num_points; n += kDistinctThreads)
    work.weights[begin + n] = work.counts[begin + n];
  const auto warps = static_cast<int64_t>(kDistinctThreads / 32);
  for (int64_t n = threadIdx.x / 32; n < num_points; n += warps) {
    const int64_t row = begin + work.columns[begin + n];
    double* point = work.points + (begin + n) * stride;
    for (int64_t c = threadIdx.x % 32; c < stride; c += 32) {
      point[c ^ channel_swizzle(n)] =
          c < rows.num_channels ? centred_value(rows, work, problem, row, c) : 0.0;
    }
  }
}

template <typename Scalar>
void find_distinct_points(const RaggedRows<Scalar>& rows, int64_t num_rows,
                          const DistinctWorkspace& work, Stream stream) {
  if (num_rows == 0) return;
  const auto blocks_of = [](int64_t threads) {
    return simt::grid((threads + kDistinctThreads - 1) / kDistinctThreads);
  };
  find_centring(rows, work.origins, work.centring, stream);
  fill_bytes(work.counts, 0, static_cast<size_t>(num_rows) * sizeof(int32_t), stream);
  simt::launch(&hash_kernel<Scalar>, blocks_of(num_rows * 32), dim3(kDistinctThreads), 0, stream,
               rows, work, num_rows);
  simt::launch(&first_equal_kernel<Scalar>, blocks_of(num_rows), dim3(kDistinctThreads), 0, stream,
               rows, work, num_rows);
  simt::launch(&distinct_kernel<Scalar>, simt::grid(rows.num_problems), dim3(kDistinctThreads), 0,
               stream, rows, work);
}

}  // namespace vtcd::cuda
