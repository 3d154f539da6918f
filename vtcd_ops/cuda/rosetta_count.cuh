// SPDX-License-Identifier: MIT
// Counts of the voxels that a tuple of supports shares and covers, by a warp.
#pragma once

#include <cstdint>

#include "core/formulas/rosetta.h"
#include "cuda/launch.h"
#include "cuda/rosetta_search.h"

namespace vtcd::cuda {

inline constexpr unsigned kAllLanes = ~0u;
inline constexpr int kWordsInFlight = 4;  // of each row, by a lane

// The sum over the lanes of a warp, for each of them.
template <typename Number>
__device__ inline Number warp_sum(Number value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// Sums of both counts at once where 32 bits hold them.
__device__ inline JointCount warp_sum(const JointCount& count, int64_t num_words) {
  if (num_words >= int64_t{1} << 26) return {warp_sum(count.common), warp_sum(count.any)};
  const uint64_t both =
      warp_sum(static_cast<uint64_t>(count.any) << 32 | static_cast<uint64_t>(count.common));
  return {static_cast<int64_t>(both & 0xffffffffu), static_cast<int64_t>(both >> 32)};
}

// Of a concept and num_others other ones, the same for all lanes of the warp, which all get the
// counts. first is -1 where there is none at all.
__device__ inline JointCount count_joint(const SupportRows& supports, int64_t video, int32_t first,
                                         const int32_t* others, int64_t num_others) {
  if (first < 0) return {0, 0};
  const int64_t num_words = supports.num_words(video);
  const uint64_t* block = supports.row(video, 0);
  JointCount count{0, 0};
  for (int64_t begin = threadIdx.x % 32; begin < num_words; begin += 32 * kWordsInFlight) {
    uint64_t common[kWordsInFlight], any[kWordsInFlight];
    for (int i = 0; i < kWordsInFlight; ++i) {
      const int64_t word = begin + 32 * i;
      common[i] = word < num_words ? block[first * num_words + word] : 0;
      any[i] = common[i];
    }
    for (int64_t m = 0; m < num_others; ++m) {
      const uint64_t* row = block + others[m] * num_words;
      for (int i = 0; i < kWordsInFlight; ++i) {
        const int64_t word = begin + 32 * i;
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
  return warp_sum(count, num_words);
}

// Voxels that two concepts share.
__device__ inline int64_t count_common(const SupportRows& supports, int64_t video, int32_t a,
                                       int32_t b) {
  const int64_t num_words = supports.num_words(video);
  const uint64_t *row = supports.row(video, a), *other = supports.row(video, b);
  int64_t count = 0;
  for (int64_t begin = threadIdx.x % 32; begin < num_words; begin += 32 * kWordsInFlight) {
    uint64_t common[kWordsInFlight];
    for (int i = 0; i < kWordsInFlight; ++i) {
      const int64_t word = begin + 32 * i;
      common[i] = word < num_words ? row[word] & other[word] : 0;
    }
    for (int i = 0; i < kWordsInFlight; ++i) count += __popcll(common[i]);
  }
  return warp_sum(count);
}

}  // namespace vtcd::cuda
