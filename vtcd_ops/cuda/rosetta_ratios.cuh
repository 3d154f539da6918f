// SPDX-License-Identifier: MIT
// Kernels of rosetta_ratios. First a thread for each tuple checks it and moves its members to the
// front. Then a warp works on one tuple in one video: its lanes take every 32nd word of the rows,
// AND, OR and count them. The tuples of a video follow each other, so that its rows stay in the L2
// cache. Traffic: 8 bytes a word and member, mostly from L2, which bounds it; arithmetic: two
// counts of 64 bits a word (8 a clock and multiprocessor).
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/rosetta_count.cuh"
#include "cuda/rosetta_ratios.h"

namespace vtcd::cuda {

inline constexpr unsigned kRatioThreads = 256;
inline constexpr unsigned kRatioWarps = kRatioThreads / 32;
inline constexpr int64_t kMostRatioBlocks = int64_t{1} << 20;

// members [Q, D]: concepts of the whole set, then -1.
__global__ void __launch_bounds__(kRatioThreads)
    gather_members_kernel(Tuples tuples, int32_t* members, unsigned long long* fault) {
  const int64_t num_models = tuples.num_models, num_places = tuples.count * (num_models + 1);
  const int64_t step = int64_t{gridDim.x} * kRatioThreads;
  for (int64_t row = int64_t{blockIdx.x} * kRatioThreads + threadIdx.x; row < tuples.count;
       row += step) {
    const int64_t place = row * (num_models + 1);
    int32_t* out = members + row * num_models;
    int64_t order = 0;
    for (int64_t m = 0; m < num_models; ++m) {
      const int32_t member = tuples.members[row * num_models + m];
      const int64_t first = tuples.models[m], count = tuples.models[m + 1] - first;
      if (member >= 0 && member < count) {
        out[order++] = static_cast<int32_t>(first) + member;
      } else if (member != -1) {
        atomicMax(fault, static_cast<unsigned long long>(num_places - (place + m)));
      }
    }
    if (order == 0)
      atomicMax(fault, static_cast<unsigned long long>(num_places - (place + num_models)));
    for (; order < num_models; ++order) out[order] = -1;
  }
}

// ratios [Q, V] of members [Q, D].
__global__ void __launch_bounds__(kRatioThreads)
    rosetta_ratios_kernel(SupportRows supports, const int32_t* members, int64_t num_tuples,
                          int64_t num_models, double* ratios) {
  const int64_t step = int64_t{gridDim.x} * kRatioWarps;
  for (int64_t i = int64_t{blockIdx.x} * kRatioWarps + threadIdx.x / 32;
       i < num_tuples * supports.num_videos; i += step) {
    const int64_t video = i / num_tuples, row = i - video * num_tuples;
    const int32_t* tuple = members + row * num_models;
    int64_t order = 0;
    while (order < num_models && tuple[order] >= 0) ++order;
    const JointCount count =
        count_joint(supports, video, order > 0 ? tuple[0] : -1, tuple + 1, order - 1);
    if (threadIdx.x % 32 == 0)
      ratios[row * supports.num_videos + video] = overlap_or_nan(count.common, count.any);
  }
}

// As many blocks as there is work for, within limits.
inline dim3 ratio_blocks(int64_t count, int64_t a_block) {
  return simt::grid(std::min(kMostRatioBlocks, (count + a_block - 1) / a_block));
}

inline void launch_rosetta_ratios(const SupportRows& supports, const Tuples& tuples,
                                  int32_t* members, double* ratios, int64_t* fault, Stream stream) {
  if (tuples.count == 0) return;
  simt::launch(&gather_members_kernel, ratio_blocks(tuples.count, kRatioThreads),
               dim3(kRatioThreads), 0, stream, tuples, members,
               reinterpret_cast<unsigned long long*>(fault));
  if (supports.num_videos == 0) return;
  simt::launch(&rosetta_ratios_kernel,
               ratio_blocks(tuples.count * supports.num_videos, kRatioWarps), dim3(kRatioThreads),
               0, stream, supports, members, tuples.count, tuples.num_models, ratios);
}

}  // namespace vtcd::cuda
