// SPDX-License-Identifier: MIT
// Orders of long sums that vectors on a CPU of any width and warps of a GPU can both follow, so
// that they give the same bits.
#pragma once

#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// Sums over channels (of a mean of tubelet_pool: over tokens): lane l of 8 adds up the channels l,
// l + 8, l + 16, ... in this order.
constexpr int kSumLanes = 8;

// The lanes are added 4, then 2, then 1 apart.
VTCD_HOST_DEVICE inline double sum_of_lanes(const double (&lanes)[kSumLanes]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// Sums over points: of 32 at a time, which are added 16, 8, 4, 2, then 1 apart; those beyond the
// last point are 0. The sums of 32 are added in their order.
constexpr int64_t kSumChunk = 32;

VTCD_HOST_DEVICE inline int64_t count_sum_chunks(int64_t num_points) {
  return (num_points + kSumChunk - 1) / kSumChunk;
}

// The sum of value(n) over one chunk.
template <typename Value>
VTCD_HOST_DEVICE double sum_of_chunk(int64_t chunk, int64_t num_points, const Value& value) {
  double values[kSumChunk];
  const int64_t first = chunk * kSumChunk;
  const int64_t count = num_points - first < kSumChunk ? num_points - first : kSumChunk;
  for (int64_t i = 0; i < count; ++i) values[i] = value(first + i);
  for (int64_t i = count; i < kSumChunk; ++i) values[i] = 0;
  for (int64_t apart = kSumChunk / 2; apart > 0; apart /= 2) {
    for (int64_t i = 0; i < apart; ++i) values[i] += values[i + apart];
  }
  return values[0];
}

VTCD_HOST_DEVICE inline double sum_of_chunks_in_order(const double* chunk_sums, int64_t count) {
  double sum = 0;
  for (int64_t chunk = 0; chunk < count; ++chunk) sum += chunk_sums[chunk];
  return sum;
}

}  // namespace vtcd
