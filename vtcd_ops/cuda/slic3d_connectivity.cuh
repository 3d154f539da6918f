// SPDX-License-Identifier: MIT
// The last step of slic3d, bit for bit csrc/core/slic3d/connectivity.h: fragments are numbered in
// the order of their first voxels, those too small take a neighbour's number, those too large are
// cut.
//
// The sequential search over all voxels, in parallel:
//  - A piece is what one search labels: a fragment, or what is cut off one. All voxels before the
//    first one of a piece are labelled before it, so a neighbour has its label at that time exactly
//    if its piece begins earlier. So pieces do not depend on each other's numbers.
//  - Fragments are found by a union-find that keeps the first voxel as its root.
//  - Those of at least max_size voxels are searched breadth first by a block each, a level at a
//    time: of the voxels of a level that reach a new one the first in the queue takes it, by an
//    atomic minimum, and places in the queue are handed out in order. That is the order of a
//    sequential search, so they are cut at the same voxels.
//  - A piece of fewer than min_size voxels takes the number of that earlier piece that its search
//    meets last. Mostly there is only one; where there are several a block searches it.
//  - Where min_size is larger than max_size every piece is too small, and every number 0.
// All is done in integers. A voxel takes about 100 bytes of memory traffic; searches take about a
// microsecond a level, and only they have levels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/slic3d_search.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kVoxelThreads = 256;
inline constexpr unsigned kChunkThreads = 1024;

// The voxel of a thread; one beyond the batch, or of a volume that is not to be connected, is not
// valid.
template <unsigned kThreads>
__device__ PieceVoxel piece_voxel(const SlicPlan& plan, const SlicWork& work, int path) {
  const int64_t num_voxels = plan.size.count();
  const int64_t tiles = (num_voxels + kThreads - 1) / kThreads;
  const int64_t volume = blockIdx.x / tiles;
  const int64_t index = blockIdx.x % tiles * kThreads + threadIdx.x;
  PieceVoxel voxel(plan, volume, min(index, num_voxels - 1));
  voxel.valid = index < num_voxels && work.state[volume].path == path;
  return voxel;
}

// Runs of one label in the 32 voxels of a warp get their first voxel as parent; all else begins.
__global__ void __launch_bounds__(kVoxelThreads)
    slic3d_runs_kernel(SlicPlan plan, SlicWork work, const int32_t* labels, int path) {
  const PieceVoxel voxel = piece_voxel<kVoxelThreads>(plan, work, path);
  const unsigned lane = threadIdx.x % 32;
  const int32_t label = labels[voxel.first + voxel.index];
  const int32_t before = __shfl_up_sync(~0u, label, 1);
  const bool starts = lane == 0 || before != label || voxel.x == 0 || plan.max_size <= 1;
  const unsigned all = __ballot_sync(~0u, starts);
  if (!voxel.valid) return;
  const unsigned until_here = all & (~0u >> (31 - lane));
  const int start = 31 - __clz(static_cast<int>(until_here));
  const int64_t at = voxel.first + voxel.index;
  work.piece[at] = voxel.index - (static_cast<int32_t>(lane) - start);
  work.piece_size[at] = 0;
  work.neighbour_low[at] = kNoPiece;
  work.neighbour_high[at] = -1;
  work.claim[at] = kUnclaimed;
}

__device__ inline int32_t root_of(const int32_t* parent, int32_t voxel) {
  for (int32_t up = load_shared_value(&parent[voxel]); up != voxel;
       up = load_shared_value(&parent[voxel]))
    voxel = up;
  return voxel;
}

// The earlier root wins, so a fragment's root is its first voxel.
__device__ inline void join(int32_t* parent, int32_t a, int32_t b) {
  while (true) {
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a == b) return;
    const int32_t later = max(a, b), earlier = min(a, b);
    a = atomicMin(&parent[later], earlier);
    if (a == later) return;  // else another thread was faster: its parent joins ours
    b = earlier;
  }
}

// Joins each voxel's run with those before it along x, y and z, once where two runs touch.
__global__ void __launch_bounds__(kVoxelThreads)
    slic3d_join_kernel(SlicPlan plan, SlicWork work, const int32_t* labels, int path) {
  const PieceVoxel voxel = piece_voxel<kVoxelThreads>(plan, work, path);
  if (!voxel.valid) return;
  const int32_t* label = labels + voxel.first + voxel.index;
  int32_t* parent = work.piece + voxel.first;
  const bool goes_on = voxel.x > 0 && label[-1] == label[0];
  if (goes_on && threadIdx.x % 32 == 0) join(parent, voxel.index, voxel.index - 1);
  const int64_t shifts[2] = {plan.size.w, plan.size.h * plan.size.w};
  const bool has[2] = {voxel.y > 0, voxel.z > 0};
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t shift = shifts[axis];
    if (!has[axis] || label[-shift] != label[0]) continue;
    const bool joined_before = goes_on && label[-shift - 1] == label[0];
    if (!joined_before) join(parent, voxel.index, static_cast<int32_t>(voxel.index - shift));
  }
}

// Every voxel's root, and the sizes of the fragments.
__global__ void __launch_bounds__(kVoxelThreads)
    slic3d_fragments_kernel(SlicPlan plan, SlicWork work, int path) {
  const PieceVoxel voxel = piece_voxel<kVoxelThreads>(plan, work, path);
  const unsigned lane = threadIdx.x % 32;
  int32_t* parent = work.piece + voxel.first;
  const int32_t root = voxel.valid ? root_of(parent, voxel.index) : -1;
  const int32_t before = __shfl_up_sync(~0u, root, 1);
  const bool starts = lane == 0 || before != root;
  const unsigned all = __ballot_sync(~0u, starts);
  if (!voxel.valid) return;
  atomicMin(&parent[voxel.index], root);
  if (!starts) return;
  const unsigned later = lane == 31 ? 0 : all >> (lane + 1);
  const int32_t count =
      later == 0 ? 32 - static_cast<int32_t>(lane) : __ffs(static_cast<int>(later));
  atomicAdd(&work.piece_size[voxel.first + root], count);
}

// Lists the fragments that are too large.
__global__ void __launch_bounds__(kVoxelThreads)
    slic3d_large_kernel(SlicPlan plan, SlicWork work, int path) {
  const PieceVoxel voxel = piece_voxel<kVoxelThreads>(plan, work, path);
  const int64_t at = voxel.first + voxel.index;
  if (!voxel.valid || work.piece[at] != voxel.index || work.piece_size[at] < plan.max_size) return;
  work.hard[atomicAdd(&work.counters[0], 1)] = listed_piece(voxel);
}

// Which earlier pieces a piece that is too small has for neighbours: the first and the last of
// them.
__global__ void __launch_bounds__(kVoxelThreads)
    slic3d_neighbours_kernel(SlicPlan plan, SlicWork work, int path) {
  const PieceVoxel voxel = piece_voxel<kVoxelThreads>(plan, work, path);
  if (!voxel.valid) return;
  const int32_t* piece = work.piece + voxel.first;
  const int32_t own = piece[voxel.index];
  if (work.piece_size[voxel.first + own] >= plan.min_size) return;
  work.claim[voxel.first + voxel.index] = kUnclaimed;
  for (int direction = 0; direction < 6; ++direction) {
    const int64_t neighbour = voxel.neighbour(direction);
    if (neighbour < 0 || piece[neighbour] >= own) continue;
    atomicMin(&work.neighbour_low[voxel.first + own], piece[neighbour]);
    atomicMax(&work.neighbour_high[voxel.first + own], piece[neighbour]);
  }
}

// Lists the pieces that are too small and have several neighbours, and counts in every chunk of
// voxels the pieces that get numbers.
__global__ void __launch_bounds__(kChunkThreads)
    slic3d_count_kernel(SlicPlan plan, SlicWork work, int path) {
  const PieceVoxel voxel = piece_voxel<kChunkThreads>(plan, work, path);
  const int64_t at = voxel.first + voxel.index;
  const bool begins = voxel.valid && work.piece[at] == voxel.index;
  const bool numbered = begins && work.piece_size[at] >= plan.min_size;
  if (begins && !numbered && work.neighbour_low[at] < work.neighbour_high[at])
    work.hard[atomicAdd(&work.counters[1], 1)] = listed_piece(voxel);
  const int count = __syncthreads_count(numbered);
  if (threadIdx.x == 0) work.chunk_count[blockIdx.x] = count;
}

// Block b: the number of the first piece of each chunk, in place of their counts.
__global__ void __launch_bounds__(kChunkThreads)
    slic3d_chunks_kernel(SlicPlan plan, SlicWork work, int path) {
  if (work.state[blockIdx.x].path != path) return;
  const int64_t num_chunks = SlicWork::num_chunks(plan);
  int32_t* counts = work.chunk_count + blockIdx.x * num_chunks;
  int32_t before = 0;
  for (int64_t begin = 0; begin < num_chunks; begin += kChunkThreads) {
    const int64_t chunk = begin + threadIdx.x;
    const int32_t count = chunk < num_chunks ? counts[chunk] : 0;
    int32_t total;
    const int32_t rank = exclusive_sum<kChunkThreads>(count, total);
    if (chunk < num_chunks) counts[chunk] = before + rank;
    before += total;
  }
}

// Numbers the pieces that are not too small.
__global__ void __launch_bounds__(kChunkThreads)
    slic3d_numbers_kernel(SlicPlan plan, SlicWork work, int path) {
  const PieceVoxel voxel = piece_voxel<kChunkThreads>(plan, work, path);
  const int64_t at = voxel.first + voxel.index;
  const bool numbered =
      voxel.valid && work.piece[at] == voxel.index && work.piece_size[at] >= plan.min_size;
  int rank;
  position_among<kChunkThreads>(numbered, rank);
  if (numbered) work.number[at] = work.chunk_count[blockIdx.x] + rank;
}

// Labels every voxel by the number of its piece, or of the piece that this one belongs to.
__global__ void __launch_bounds__(kVoxelThreads)
    slic3d_relabel_kernel(SlicPlan plan, SlicWork work, int32_t* labels, int path) {
  const PieceVoxel voxel = piece_voxel<kVoxelThreads>(plan, work, path);
  if (!voxel.valid) return;
  int32_t piece = work.piece[voxel.first + voxel.index];
  while (piece != kNoPiece && work.piece_size[voxel.first + piece] < plan.min_size)
    piece = work.neighbour_low[voxel.first + piece];
  labels[voxel.first + voxel.index] = piece == kNoPiece ? 0 : work.number[voxel.first + piece];
}

inline void connect(const SlicPlan& plan, const SlicWork& work, int32_t* labels, int path,
                    Stream stream) {
  const int64_t voxels = plan.batch * plan.size.count();
  if (plan.min_size > std::max<int64_t>(plan.max_size, 1)) {
    fill_bytes(labels, 0, voxels * sizeof(int32_t), stream);
    return;
  }
  const dim3 threads(kVoxelThreads), chunk_threads(kChunkThreads);
  const int64_t tiles = (plan.size.count() + kVoxelThreads - 1) / kVoxelThreads;
  const dim3 blocks = simt::grid(plan.batch * tiles);
  const dim3 chunks = simt::grid(plan.batch * SlicWork::num_chunks(plan));
  const dim3 searchers = simt::grid(kSearchesAtOnce * num_multiprocessors());
  fill_bytes(work.counters, 0, (2 + 2 * plan.batch) * sizeof(int32_t), stream);
  simt::launch(&slic3d_runs_kernel, blocks, threads, 0, stream, plan, work, labels, path);
  if (plan.max_size > 1)
    simt::launch(&slic3d_join_kernel, blocks, threads, 0, stream, plan, work, labels, path);
  simt::launch(&slic3d_fragments_kernel, blocks, threads, 0, stream, plan, work, path);
  if (plan.max_size > 1) {
    simt::launch(&slic3d_large_kernel, blocks, threads, 0, stream, plan, work, path);
    simt::launch(&slic3d_cut_kernel, searchers, dim3(kSearchThreads), 0, stream, plan, work);
  }
  simt::launch(&slic3d_neighbours_kernel, blocks, threads, 0, stream, plan, work, path);
  simt::launch(&slic3d_count_kernel, chunks, chunk_threads, 0, stream, plan, work, path);
  simt::launch(&slic3d_search_kernel, searchers, dim3(kSearchThreads), 0, stream, plan, work);
  simt::launch(&slic3d_chunks_kernel, simt::grid(plan.batch), chunk_threads, 0, stream, plan, work,
               path);
  simt::launch(&slic3d_numbers_kernel, chunks, chunk_threads, 0, stream, plan, work, path);
  simt::launch(&slic3d_relabel_kernel, blocks, threads, 0, stream, plan, work, labels, path);
}

}  // namespace vtcd::cuda
