// SPDX-License-Identifier: MIT
// Distances in the CPU's order of channels, for a warp: 8 lanes have the 8 partial sums of a
// distance, and each works on 8 points and 2 vectors at once, so that of 10 values from shared
// memory come 48 operations. Then the lanes exchange their partial sums, and each is left with the
// two distances of one point.
#pragma once

#include <cstdint>

#include "core/formulas/ordered_sum.h"
#include "cuda/distinct_points.cuh"
#include "cuda/launch.h"

namespace vtcd::cuda {

// Points of one problem, as DistinctWorkspace has them.
struct Points {
  const double* rows;  // [N, stride]
  int64_t size;        // N
  int num_channels, stride;

  __device__ double value(int64_t point, int channel) const {
    return rows[point * stride + (channel ^ channel_swizzle(point))];
  }
};

// A point, or a centre, which is not swizzled.
struct Vector {
  const double* values;
  int swizzle;
};

__device__ inline Vector vector_of(const Points& points, int64_t point) {
  return {points.rows + point * points.stride, channel_swizzle(point)};
}

struct TwoDistances {
  double first, second;
};

inline constexpr int kPointsALane = 8;

// One exchange of partial sums, of the lanes `kApart`: of 4 kApart values each lane keeps and adds
// up one half. Every index is known to the compiler: the values lie in registers.
template <int kApart>
__device__ __forceinline__ void exchange_halves(double (&partial)[2 * kPointsALane], int lane) {
  const bool upper = (lane & kApart) != 0;
#pragma unroll
  for (int i = 0; i < 2 * kApart; ++i) {
    const double low = partial[i], high = partial[i + 2 * kApart];
    const double sent = upper ? low : high, kept = upper ? high : low;
    partial[i] = kept + __shfl_xor_sync(~0u, sent, kApart);
  }
}

// From partial sums of 8 points and 2 vectors, value 2 * point + vector, in each of the 8 lanes
// that share them: the sums for the point with the number of the lane.
__device__ __forceinline__ TwoDistances add_lanes(double (&partial)[2 * kPointsALane], int lane) {
  exchange_halves<4>(partial, lane);
  exchange_halves<2>(partial, lane);
  exchange_halves<1>(partial, lane);
  return {partial[0], partial[1]};
}

// Squared distances of point base + lane to two vectors, for the lanes of a warp. base is a
// multiple of 32; beyond the last point the results mean nothing.
__device__ __forceinline__ TwoDistances squared_distances(const Points& points, int64_t base,
                                                          const Vector& a, const Vector& b) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int l = lane % kSumLanes, group = lane / kSumLanes;
  const int swizzle = channel_swizzle(group);
  const double* rows = points.rows + base * points.stride;
  const int last = points.size - base < 32 ? static_cast<int>(points.size - base) - 1 : 31;
  int offsets[kPointsALane];
#pragma unroll
  for (int p = 0; p < kPointsALane; ++p) {
    const int point = 4 * p + group;
    offsets[p] = (point < last ? point : last) * points.stride;
  }
  double partial[2 * kPointsALane] = {};
#pragma unroll 1
  for (int c = l; c < points.num_channels; c += kSumLanes) {
    const double a_c = a.values[c ^ a.swizzle], b_c = b.values[c ^ b.swizzle];
    const int at = c ^ swizzle;
#pragma unroll
    for (int p = 0; p < kPointsALane; ++p) {
      const double x = rows[offsets[p] + at];
      partial[2 * p] += (x - a_c) * (x - a_c);
      partial[2 * p + 1] += (x - b_c) * (x - b_c);
    }
  }
  const TwoDistances mine = add_lanes(partial, l);  // of point base + 4 l + group
  const int from = lane % 4 * kSumLanes + lane / 4;
  return {__shfl_sync(~0u, mine.first, from), __shfl_sync(~0u, mine.second, from)};
}

// The sum over the 32 points of a chunk, one a lane, in the order of sum_of_chunk().
__device__ inline double warp_sum_of_chunk(double value) {
  for (int apart = static_cast<int>(kSumChunk) / 2; apart > 0; apart /= 2)
    value += __shfl_xor_sync(~0u, value, apart);
  return value;
}

}  // namespace vtcd::cuda
