// SPDX-License-Identifier: MIT
// Breadth-first searches of slic3d's pieces (slic3d_connectivity.cuh), in the order of a sequential
// one: a block each, a level at a time.
#pragma once

#include <cstdint>

#include "cuda/slic3d_voxels.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kSearchThreads = 256;
inline constexpr int64_t kSearchesAtOnce = 4;      // blocks for each multiprocessor
inline constexpr int64_t kMaxSearchBlocks = 528;   // 4 for each multiprocessor of an H100
inline constexpr int32_t kUnclaimed = 0x7fffffff;  // beyond every place
inline constexpr int32_t kNoPiece = kUnclaimed;    // no earlier neighbour

// A voxel among its neighbours.
struct PieceVoxel {
  int64_t volume, first;  // the volume's first voxel, in the batch
  int32_t index, x, y, z;
  int64_t row, plane;
  int32_t end_x, end_y, end_z;
  bool valid = true;

  __device__ PieceVoxel(const SlicPlan& plan, int64_t volume, int64_t index)
      : volume(volume),
        first(volume * plan.size.count()),
        index(static_cast<int32_t>(index)),
        row(plan.size.w),
        plane(plan.size.h * plan.size.w),
        end_x(static_cast<int32_t>(plan.size.w)),
        end_y(static_cast<int32_t>(plan.size.h)),
        end_z(static_cast<int32_t>(plan.size.t)) {
    const auto at = static_cast<uint32_t>(index), width = static_cast<uint32_t>(end_x);
    const uint32_t rows = at / width;
    x = static_cast<int32_t>(at - rows * width);
    z = static_cast<int32_t>(rows / static_cast<uint32_t>(end_y));
    y = static_cast<int32_t>(rows % static_cast<uint32_t>(end_y));
  }

  // In the reference's order: +x, -x, +y, -y, +z, -z; -1 where there is none.
  __device__ int64_t neighbour(int direction) const {
    const int axis = direction / 2;
    const int32_t at = axis == 0 ? x : axis == 1 ? y : z;
    const int32_t end = axis == 0 ? end_x : axis == 1 ? end_y : end_z;
    const int64_t step = axis == 0 ? 1 : axis == 1 ? row : plane;
    const bool forward = direction % 2 == 0;
    const bool inside = forward ? at + 1 < end : at > 0;
    return inside ? index + (forward ? step : -step) : -1;
  }
};

// The sum of the values of the threads before this one.
template <unsigned kThreads>
__device__ int32_t exclusive_sum(int32_t value, int32_t& total) {
  VTCD_SHARED(int32_t, sums, [kThreads / 32]);
  const unsigned lane = threadIdx.x % 32;
  int32_t sum = value;
  for (unsigned step = 1; step < 32; step *= 2) {
    const int32_t before = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += before;
  }
  if (lane == 31) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  int32_t before = 0;
  total = 0;
  for (unsigned warp = 0; warp < kThreads / 32; ++warp) {
    if (warp < threadIdx.x / 32) before += sums[warp];
    total += sums[warp];
  }
  __syncthreads();
  return before + sum - value;
}

// The first voxel of a piece, in the list of those that take a search.
__device__ inline int64_t listed_piece(const PieceVoxel& voxel) {
  return voxel.volume << 32 | voxel.index;
}

// Searches in the voxels of one piece (or of the fragment that it is to be cut from).
class PieceSearch {
 public:
  // `piece` is as listed_piece() gives it. Takes places of the queue for its voxels.
  __device__ PieceSearch(const SlicPlan& plan, const SlicWork& work, int64_t piece, int32_t* taken)
      : plan_(plan),
        volume_(piece >> 32),
        own_(static_cast<int32_t>(piece)),
        piece_(work.piece + volume_ * plan.size.count()),
        claim_(work.claim + volume_ * plan.size.count()) {
    VTCD_SHARED(int32_t, place, [1]);
    num_voxels_ = work.piece_size[first_voxel() + own_];
    __syncthreads();
    if (threadIdx.x == 0) place[0] = atomicAdd(&taken[volume_], num_voxels_);
    __syncthreads();
    queue_ = work.queue + volume_ * plan.size.count() + place[0];
  }

  __device__ int32_t num_voxels() const { return num_voxels_; }
  __device__ int32_t own() const { return own_; }
  __device__ int64_t first_voxel() const { return volume_ * plan_.size.count(); }
  __device__ const int32_t* queue() const { return queue_; }

  // Queues what a search from `start` finds, at most `limit` voxels, from place `begin` on. Returns
  // the place after the last.
  __device__ __forceinline__ int32_t search(int32_t start, int32_t begin, int32_t limit) {
    if (threadIdx.x == 0) {
      queue_[begin] = start;
      atomicExch(&claim_[start], -1);
    }
    __syncthreads();
    int32_t level = begin, end = begin + 1;
    while (level < end && end - begin < limit) {
      claim_level(level, end);
      __syncthreads();
      const int32_t next = queue_level(level, end, begin + limit);
      __syncthreads();
      level = end;
      end = next;
    }
    return end;
  }

  // The first voxel after `after` that no search has found, of those that there are.
  __device__ __forceinline__ int32_t next_start(int32_t after) const {
    VTCD_SHARED(int32_t, found, [1]);
    if (threadIdx.x == 0) found[0] = kUnclaimed;
    int64_t begin = int64_t{after} + 1;
    do {
      __syncthreads();
      const int64_t voxel = begin + threadIdx.x;
      const bool inside = voxel < plan_.size.count();
      if (inside && piece_[voxel] == own_ && load_shared_value(&claim_[voxel]) == kUnclaimed)
        atomicMin(found, static_cast<int32_t>(voxel));
      begin += kSearchThreads;
      __syncthreads();
    } while (found[0] == kUnclaimed && begin < plan_.size.count());
    const int32_t start = found[0];
    __syncthreads();
    return start;
  }

  // The earlier piece that a search which has queued `end` voxels met last.
  __device__ int32_t last_neighbour(int32_t end) const {
    VTCD_SHARED(int32_t, last, [1]);
    if (threadIdx.x == 0) last[0] = -1;
    __syncthreads();
    for (int32_t place = end - 1 - static_cast<int32_t>(threadIdx.x); place >= 0;
         place -= static_cast<int32_t>(kSearchThreads))
      if (last_neighbour_of(queue_[place]) != kNoPiece) {
        atomicMax(last, place);
        break;
      }
    __syncthreads();
    return last_neighbour_of(queue_[last[0]]);
  }

 private:
  // Of the voxels that reach a new one the first in the queue takes it: earlier levels have taken
  // theirs by earlier places.
  __device__ __forceinline__ void claim_level(int32_t level, int32_t end) {
    for (int32_t place = level + static_cast<int32_t>(threadIdx.x); place < end;
         place += static_cast<int32_t>(kSearchThreads)) {
      const PieceVoxel voxel(plan_, volume_, queue_[place]);
      for (int direction = 0; direction < 6; ++direction) {
        const int64_t neighbour = voxel.neighbour(direction);
        if (neighbour >= 0 && piece_[neighbour] == own_) atomicMin(&claim_[neighbour], place);
      }
    }
  }

  // Puts the new voxels into the queue, ordered by who takes them and in which direction; those
  // from `bound` on are given back.
  __device__ __forceinline__ int32_t queue_level(int32_t level, int32_t end, int32_t bound) {
    int32_t next = end;
    for (int32_t begin = level; begin < end; begin += static_cast<int32_t>(kSearchThreads)) {
      const int32_t place = begin + static_cast<int32_t>(threadIdx.x);
      unsigned taken = 0;  // directions
      if (place < end) {
        const PieceVoxel voxel(plan_, volume_, queue_[place]);
        for (int direction = 0; direction < 6; ++direction) {
          const int64_t neighbour = voxel.neighbour(direction);
          if (neighbour >= 0 && piece_[neighbour] == own_ &&
              load_shared_value(&claim_[neighbour]) == place)
            taken |= 1u << direction;
        }
      }
      int32_t total;
      int32_t to = next + exclusive_sum<kSearchThreads>(__popc(taken), total);
      for (; taken != 0; taken &= taken - 1, ++to) {
        const PieceVoxel voxel(plan_, volume_, queue_[place]);
        const int64_t neighbour = voxel.neighbour(__ffs(static_cast<int>(taken)) - 1);
        if (to < bound) {
          queue_[to] = static_cast<int32_t>(neighbour);
        } else {
          atomicExch(&claim_[neighbour], kUnclaimed);
        }
      }
      next += total;
    }
    return min(next, bound);
  }

  __device__ int32_t last_neighbour_of(int32_t index) const {
    const PieceVoxel voxel(plan_, volume_, index);
    for (int direction = 5; direction >= 0; --direction) {
      const int64_t neighbour = voxel.neighbour(direction);
      if (neighbour >= 0 && piece_[neighbour] < own_) return piece_[neighbour];
    }
    return kNoPiece;
  }

  const SlicPlan& plan_;
  int64_t volume_;
  int32_t own_;
  const int32_t* piece_;
  int32_t *claim_, *queue_;
  int32_t num_voxels_;
};

// Cuts the fragments that are too large, a block each at a time.
__global__ void __launch_bounds__(kSearchThreads, kSearchesAtOnce)
    slic3d_cut_kernel(SlicPlan plan, SlicWork work) {
  const int32_t count = work.counters[0];
  for (int32_t item = static_cast<int32_t>(blockIdx.x); item < count;
       item += static_cast<int32_t>(gridDim.x)) {
    PieceSearch fragment(plan, work, work.hard[item], work.counters + 2);
    int32_t* piece = work.piece + fragment.first_voxel();
    const int32_t total = fragment.num_voxels();
    const auto limit = static_cast<int32_t>(min(plan.max_size, int64_t{total}));
    int32_t start = fragment.own(), begin = 0;
    while (begin < total) {
      const int32_t end = fragment.search(start, begin, limit);
      for (int32_t i = begin + static_cast<int32_t>(threadIdx.x); i < end;
           i += static_cast<int32_t>(kSearchThreads))
        piece[fragment.queue()[i]] = start;
      if (threadIdx.x == 0) work.piece_size[fragment.first_voxel() + start] = end - begin;
      __syncthreads();
      begin = end;
      if (begin < total) start = fragment.next_start(start);
    }
  }
}

// Finds which neighbour a piece that is too small belongs to, a block each at a time.
__global__ void __launch_bounds__(kSearchThreads, kSearchesAtOnce)
    slic3d_search_kernel(SlicPlan plan, SlicWork work) {
  const int32_t count = work.counters[1];
  for (int32_t item = static_cast<int32_t>(blockIdx.x); item < count;
       item += static_cast<int32_t>(gridDim.x)) {
    PieceSearch piece(plan, work, work.hard[item], work.counters + 2 + plan.batch);
    const int32_t end = piece.search(piece.own(), 0, piece.num_voxels());
    const int32_t found = piece.last_neighbour(end);
    if (threadIdx.x == 0) work.neighbour_low[piece.first_voxel() + piece.own()] = found;
  }
}

}  // namespace vtcd::cuda
