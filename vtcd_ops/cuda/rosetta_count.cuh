// SPDX-License-Identifier: MIT
// Counts of the voxels that a tuple of supports shares and covers, by a warp.
#pragma once

#include <cstdint>

#include "core/formulas/rosetta.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kAllLanes = ~0u;
inline constexpr int kWordsInFlight = 4;  // of each row, by a lane

struct JointCount {
  int64_t common;  // voxels of every support
  int64_t any;     // voxels of at least one
};

// The sum over the lanes of a warp, for each of them.
template <typename Number>
__device__ inline Number warp_sum(Number value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// members [order]: concepts of the whole set, the same for all lanes of the warp; none has no
// voxel. All lanes get the counts.
__device__ inline JointCount count_joint(const SupportRows& supports, int64_t video,
                                         const int32_t* members, int64_t order) {
  const int64_t num_words = supports.num_words(video);
  const uint64_t* block = supports.row(video, 0);
  JointCount count{0, 0};
  for (int64_t first = threadIdx.x % 32; first < num_words; first += 32 * kWordsInFlight) {
    uint64_t common[kWordsInFlight], any[kWordsInFlight];
    for (int i = 0; i < kWordsInFlight; ++i) {
      common[i] = order > 0 ? ~uint64_t{0} : 0;
      any[i] = 0;
    }
    for (int64_t m = 0; m < order; ++m) {
      const uint64_t* row = block + members[m] * num_words;
      for (int i = 0; i < kWordsInFlight; ++i) {
        const int64_t word = first + 32 * i;
        const uint64_t bits = word < num_words ? row[word] : 0;
        common[i] &= bits;
        any[i] |= bits;
      }
    }
    for (int i = 0; i < kWordsInFlight; ++i) {
      count.common += __popcll(common[i]);
      count.any += __popcll(any[i]);
    }
  }
  return {warp_sum(count.common), warp_sum(count.any)};
}

}  // namespace vtcd::cuda
