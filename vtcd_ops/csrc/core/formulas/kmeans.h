// SPDX-License-Identifier: MIT
// What k-means decides on, and in which order it adds: the same on CPU and GPU, bit for bit.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"
#include "core/formulas/ordered_sum.h"

namespace vtcd {

struct KMeansOptions {
  int64_t num_restarts = 10;
  int64_t max_num_iter = 300;
  // stop when the centres move by less than this share of the mean variance of a channel
  double tol = 1e-4;
  int64_t seed = 0;
};

// The points of a cluster are added up in chunks of so many points of the problem, in their order;
// then the chunks are, in theirs.
constexpr int64_t kClusterChunk = 128;

// Points that are tried for each next centre of greedy k-means++.
VTCD_HOST_DEVICE inline int64_t num_seed_trials(int64_t num_clusters) {
  return 2 + static_cast<int64_t>(std::log(static_cast<double>(num_clusters)));
}

// The first point up to which the weights, added in order, exceed the threshold. Where by rounding
// none does: the last one with a weight of the last chunk that was looked at. chunk_sums are those
// of ordered_sum.h.
template <typename Weight>
VTCD_HOST_DEVICE int64_t point_at_threshold(double threshold, const double* chunk_sums,
                                            int64_t num_points, const Weight& weight) {
  const int64_t num_chunks = count_sum_chunks(num_points);
  double before = 0, sum = 0;  // of all chunks so far, and of those before `chosen`
  int64_t chosen = 0;
  for (int64_t chunk = 0; chunk < num_chunks && before <= threshold; ++chunk) {
    if (chunk_sums[chunk] <= 0) continue;
    chosen = chunk;
    sum = before;
    before += chunk_sums[chunk];
  }
  const int64_t first = chosen * kSumChunk;
  const int64_t end = first + kSumChunk < num_points ? first + kSumChunk : num_points;
  int64_t last = first;
  for (int64_t n = first; n < end; ++n) {
    const double share = weight(n);
    if (share <= 0) continue;
    last = n;
    sum += share;
    if (sum > threshold) return n;
  }
  return last;
}

}  // namespace vtcd
