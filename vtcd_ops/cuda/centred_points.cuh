// SPDX-License-Identifier: MIT
// The origin and the scale of the points of every problem of a ragged batch, the bits of
// csrc/core/point_set.h. A block works on one problem: it reads its values twice, and 31 of each
// channel for the median.
#pragma once

#include <cstdint>

#include "core/formulas/scaling.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kCentringThreads = 512;

// Problems of a ragged batch on the device.
template <typename Scalar>
struct RaggedRows {
  const Scalar* data;      // [ΣN, C]
  const int64_t* offsets;  // [P + 1]
  int64_t num_problems;    // P
  int64_t num_channels;    // C

  __device__ int64_t begin(int64_t problem) const { return offsets[problem]; }
  __device__ int64_t size(int64_t problem) const { return offsets[problem + 1] - begin(problem); }
};

// The largest p with starts[p] <= index.
__device__ inline int64_t find_part(const int64_t* starts, int64_t count, int64_t index) {
  int64_t low = 0, high = count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (starts[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// The largest of the non-negative values of a block's threads. `largest` is one word of the block.
__device__ inline double block_maximum(double value, unsigned long long* largest) {
  if (threadIdx.x == 0) *largest = 0;
  __syncthreads();
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const double other = __shfl_xor_sync(~0u, value, lanes);
    value = other > value ? other : value;
  }
  // such numbers are ordered as their bits are
  if (threadIdx.x % 32 == 0)
    atomicMax(largest, static_cast<unsigned long long>(__double_as_longlong(value)));
  __syncthreads();
  const double all = __longlong_as_double(static_cast<long long>(*largest));
  __syncthreads();  // the word may be used again
  return all;
}

// The median of 31 rows, channel by channel: of the values, the one that as many lie below as the
// order of all of them asks for. A thread looks at one value.
template <typename Scalar>
__device__ void find_origin(const RaggedRows<Scalar>& rows, int64_t problem, double* origin) {
  const int64_t num_channels = rows.num_channels, num_points = rows.size(problem);
  const int64_t count = num_points < kMedianSample ? num_points : kMedianSample;
  const Scalar* first = rows.data + rows.begin(problem) * num_channels;
  VTCD_SHARED(int64_t, samples, [kMedianSample]);  // where the rows begin
  if (threadIdx.x < count)
    samples[threadIdx.x] = median_sample(threadIdx.x, count, num_points) * num_channels;
  for (int64_t c = threadIdx.x; c < num_channels; c += blockDim.x) origin[c] = 0;
  __syncthreads();
  for (int64_t item = threadIdx.x; item < count * num_channels; item += blockDim.x) {
    const int64_t i = item / num_channels, c = item % num_channels;
    const Scalar own = first[samples[i] + c];
    int64_t below = 0;
#pragma unroll 8
    for (int64_t j = 0; j < count; ++j) {
      const Scalar other = first[samples[j] + c];
      below += other < own || (other == own && j < i);
    }
    if (below == count / 2) origin[c] = static_cast<double>(own);
  }
  __syncthreads();
}

// origin [P, C], centring [P].
template <typename Scalar>
__global__ void __launch_bounds__(kCentringThreads)
    centring_kernel(RaggedRows<Scalar> rows, double* origins, Centring* centring) {
  VTCD_SHARED(unsigned long long, largest, [1]);
  const int64_t problem = blockIdx.x, num_channels = rows.num_channels;
  double* origin = origins + problem * num_channels;
  find_origin(rows, problem, origin);
  const Scalar* values = rows.data + rows.begin(problem) * num_channels;
  const int64_t count = rows.size(problem) * num_channels;
  double length = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const double value = std::fabs(static_cast<double>(values[i]));
    length = value > length ? value : length;
  }
  const int headroom = headroom_of(exponent_above(block_maximum(length, largest)));
  Centring frame{std::ldexp(1.0, -headroom), {1, 1}, 0};
  length = 0;
  const auto step = static_cast<int64_t>(blockDim.x % num_channels);
  int64_t c = threadIdx.x % num_channels;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const double value = std::fabs(frame.difference(static_cast<double>(values[i]), origin[c]));
    length = value > length ? value : length;
    c += step;
    if (c >= num_channels) c -= num_channels;
  }
  const int exponent = exponent_above(block_maximum(length, largest));
  frame.scale = PowerOfTwo::of(-exponent);
  frame.exponent = exponent + headroom;
  if (threadIdx.x == 0) centring[problem] = frame;
}

template <typename Scalar>
void find_centring(const RaggedRows<Scalar>& rows, double* origins, Centring* centring,
                   Stream stream) {
  if (rows.num_problems == 0) return;
  simt::launch(&centring_kernel<Scalar>, simt::grid(rows.num_problems), dim3(kCentringThreads), 0,
               stream, rows, origins, centring);
}

}  // namespace vtcd::cuda
