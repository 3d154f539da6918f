// SPDX-License-Identifier: MIT
// Scores of single tuples, a warp each, video after video; a tuple ends as soon as its bound says
// that it cannot reach the score. The lanes take every 32nd word of the rows. The prefixes of
// neighbouring candidates are the same rows, which the L1 cache holds. Traffic: 8 bytes a word and
// member from L1 or L2; arithmetic: four counts of 32 bits a word (16 a clock and multiprocessor).
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/formulas/rosetta.h"
#include "cuda/launch.h"
#include "cuda/rosetta_count.cuh"
#include "cuda/rosetta_pairs.cuh"
#include "cuda/rosetta_search.h"

namespace vtcd::cuda {

inline constexpr unsigned kTupleThreads = 256;
inline constexpr int64_t kTupleWarps = kTupleThreads / 32;

// The place of a warp among all, and how many there are.
__device__ inline int64_t first_item() {
  return int64_t{blockIdx.x} * kTupleWarps + threadIdx.x / 32;
}
__device__ inline int64_t item_step() { return int64_t{gridDim.x} * kTupleWarps; }

// The sizes of two supports are all that tells their union.
struct PairTuple {
  const DeviceSupports& supports;
  int32_t a, b;

  __device__ SizeRange range(int64_t video) const { return pair_range(supports, a, b, video); }
  __device__ JointCount count(int64_t video) const {
    const SizeRange sizes = range(video);
    const int64_t common = count_common(supports.rows, video, a, b);
    return {common, sizes.smallest + sizes.largest - common};
  }
};

struct ListedTuple {
  const DeviceSupports& supports;
  const int32_t* members;
  int64_t order;

  __device__ SizeRange range(int64_t video) const {
    const int64_t num_videos = supports.rows.num_videos;
    const int64_t size = supports.sizes[members[0] * num_videos + video];
    SizeRange sizes{size, size};
    for (int64_t m = 1; m < order; ++m) sizes.add(supports.sizes[members[m] * num_videos + video]);
    return sizes;
  }
  __device__ JointCount count(int64_t video) const {
    return count_joint(supports.rows, video, members[0], members + 1, order - 1);
  }
};

// A tuple whose members' intersection and union are counted already, and one member more.
struct GrownTuple {
  const DeviceSupports& supports;
  const int32_t* members;
  int64_t length;
  const JointCount* joint;  // [V]
  int32_t added;

  __device__ SizeRange range(int64_t video) const {
    const int64_t size = supports.sizes[added * supports.rows.num_videos + video];
    return {min(size, joint[video].common), max(size, joint[video].any)};
  }
  __device__ JointCount count(int64_t video) const {
    return count_joint(supports.rows, video, added, members, length);
  }
};

// How far a tuple has been counted.
struct Progress {
  int64_t video;  // the next one
  double total, bound, counted;
};

// What sizes alone say, the videos shared out among the lanes.
template <typename Tuple>
__device__ inline Progress begin_tuple(const Tuple& tuple, int64_t num_videos) {
  double bound = 0, counted = 0;
  for (int64_t video = threadIdx.x % 32; video < num_videos; video += 32) {
    const SizeRange range = tuple.range(video);
    bound += overlap_bound(range);
    counted += range.largest > 0 ? 1.0 : 0.0;
  }
  return {0, 0.0, warp_sum(bound), warp_sum(counted)};
}

// The score where it is at least `least`, else -1; for all lanes.
template <typename Tuple>
__device__ inline double finish_tuple(const Tuple& tuple, int64_t num_videos, Progress at,
                                      double least) {
  if (at.counted == 0) return -1;
  const double enough = least * at.counted - bound_margin(num_videos);
  for (int64_t video = at.video; video < num_videos; ++video) {
    if (at.bound < enough) return -1;
    const SizeRange range = tuple.range(video);
    if (range.smallest == 0) continue;  // no intersection: the ratio, and its bound, are 0
    const JointCount count = tuple.count(video);
    const double ratio = overlap(count.common, count.any);
    at.total += ratio;
    at.bound += ratio - overlap_bound(range);
  }
  const double score = at.total / at.counted;
  return score >= least ? score : -1;
}

__device__ inline void add_found(const FoundTuples& found, int64_t key, double score) {
  if (score < 0 || threadIdx.x % 32 != 0) return;
  const auto slot = atomicAdd(found.count, 1ULL);
  found.keys[slot] = key;
  found.scores[slot] = score;
}

__global__ void __launch_bounds__(kTupleThreads)
    support_sizes_kernel(SupportRows supports, int64_t* sizes) {
  const int64_t count = supports.num_concepts * supports.num_videos;
  for (int64_t i = first_item(); i < count; i += item_step()) {
    const int64_t video = i / supports.num_concepts;
    const auto concept_index = static_cast<int32_t>(i - video * supports.num_concepts);
    const int64_t size = count_common(supports, video, concept_index, concept_index);
    if (threadIdx.x % 32 == 0) sizes[concept_index * supports.num_videos + video] = size;
  }
}

__global__ void __launch_bounds__(kTupleThreads)
    started_pairs_kernel(DeviceSupports supports, StartedPairs started, double least,
                         FoundTuples found) {
  const auto count = static_cast<int64_t>(*started.count);
  for (int64_t i = first_item(); i < count; i += item_step()) {
    const StartedPair pair = started.pairs[i];
    const double score = finish_tuple(PairTuple{supports, pair.a, pair.b}, supports.rows.num_videos,
                                      {pair.video, pair.total, pair.bound, pair.counted}, least);
    add_found(found, pair.a * supports.rows.num_concepts + pair.b, score);
  }
}

__global__ void __launch_bounds__(kTupleThreads)
    score_tuples_kernel(DeviceSupports supports, const int32_t* candidates, int64_t count,
                        int64_t order, double least, FoundTuples found) {
  const int64_t num_videos = supports.rows.num_videos;
  for (int64_t i = first_item(); i < count; i += item_step()) {
    const ListedTuple tuple{supports, candidates + i * order, order};
    add_found(found, i, finish_tuple(tuple, num_videos, begin_tuple(tuple, num_videos), least));
  }
}

// joint [B, V] of the members of each branch.
__global__ void __launch_bounds__(kTupleThreads)
    count_branches_kernel(DeviceSupports supports, DeviceBranches branches) {
  const int64_t num_videos = supports.rows.num_videos;
  for (int64_t i = first_item(); i < branches.count * num_videos; i += item_step()) {
    const int64_t branch = i / num_videos, video = i - branch * num_videos;
    const ListedTuple tuple{supports, branches.members + branch * branches.length, branches.length};
    const JointCount count = tuple.count(video);
    if (threadIdx.x % 32 == 0) branches.joint[i] = count;
  }
}

// The branch of a candidate: the last one that begins no later.
__device__ inline int64_t branch_of(const DeviceBranches& branches, int64_t candidate) {
  int64_t low = 0, high = branches.count;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (branches.firsts[middle] <= candidate) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kTupleThreads, 2)
    score_extensions_kernel(DeviceSupports supports, DeviceBranches branches, double least,
                            double* scores) {
  const int64_t num_videos = supports.rows.num_videos;
  for (int64_t i = first_item(); i < branches.num_candidates; i += item_step()) {
    const int64_t branch = branch_of(branches, i);
    const int64_t extension = branches.begins[branch] + i - branches.firsts[branch];
    double score = -1;
    if (min(branches.bounds[branch], branches.extension_bounds[extension]) >= least) {
      const GrownTuple tuple{supports, branches.members + branch * branches.length, branches.length,
                             branches.joint + branch * num_videos, branches.extensions[extension]};
      score = finish_tuple(tuple, num_videos, begin_tuple(tuple, num_videos), least);
    }
    if (threadIdx.x % 32 == 0) scores[i] = score;
  }
}

// As many blocks as fill the device, or fewer where there are fewer tuples.
inline dim3 tuple_blocks(int64_t count) {
  constexpr int64_t kBlocksEach = 8;
  return simt::grid(
      std::min(kBlocksEach * num_multiprocessors(), (count + kTupleWarps - 1) / kTupleWarps));
}

}  // namespace vtcd::cuda
