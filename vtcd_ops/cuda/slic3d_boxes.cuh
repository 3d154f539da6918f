// SPDX-License-Identifier: MIT
// The boxes of slic3d (slic3d_cells.cuh) that more than one cluster may win, and the kernel.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/slic3d_cells.cuh"

namespace vtcd::cuda {

// The corners of a plane of the box for all candidates.
__device__ inline void make_plane(const VolumeBox& box, BoxMemory& memory, int count, int32_t dz) {
  const double share = box.count(0) > 1 ? static_cast<double>(dz) / (box.count(0) - 1) : 0.0;
  __syncwarp();
  for (int i = static_cast<int>(threadIdx.x % 32); i < count * 4; i += 32) {
    const double* corner = memory.candidates[i / 4].corner;
    memory.plane[i / 4][i % 4] = fma(share, corner[4 + i % 4] - corner[i % 4], corner[i % 4]);
  }
  __syncwarp();
}

__device__ inline bool in_window(const BoxCandidate& candidate, int32_t dz, int32_t dy,
                                 int32_t dx) {
  return dz >= candidate.begin[0] && dz < candidate.end[0] && dy >= candidate.begin[1] &&
         dy < candidate.end[1] && dx >= candidate.begin[2] && dx < candidate.end[2];
}

// Whether a voxel's label is that of the nearest candidate by distances channel by channel, with no
// other one as near within rounding. Besides what squared_difference_error() bounds, the centres
// here come from the tokens' weights, sums of as many numbers as there are tokens to a lane.
__device__ inline bool is_certain(const VolumeBox& box, const BoxMemory& memory, int count,
                                  const int32_t* labels, int32_t dz, int32_t dy, int32_t dx) {
  const VolumeRound& round = box.round;
  const SlicPlan& plan = round.plan;
  const int64_t at[3] = {box.z.first + dz, box.y.first + dy, box.x.first + dx};
  const VoxelSource source(plan, round.values, plan.num_channels, at);
  const SlicVoxel voxel(plan.size, box.voxel(dz, dy, dx));
  const double longest = sqrt(round.work.state[round.volume].squared_features);
  const double roundings = static_cast<double>(plan.grid.count() / 32 + 128);
  double farthest_own = INFINITY, nearest_other = INFINITY;  // as far as rounding goes
  for (int i = 0; i < count; ++i) {
    const BoxCandidate& candidate = memory.candidates[i];
    if (!in_window(candidate, dz, dy, dx)) continue;
    const Measured measured = measure(round, source, voxel, candidate.cluster);
    const double distance = measured.distance;
    const double of_center = 2 * sqrt(distance) * roundings * longest;
    const double error = measured.error + kDoubleRoundoff * (of_center + 64 * distance);
    if (candidate.cluster == labels[voxel.index]) {
      farthest_own = distance + error;
    } else {
      nearest_other = fmin(nearest_other, distance - error);
    }
  }
  return farthest_own < nearest_other;
}

// What became of the voxels of a box, in a lane.
struct BoxOutcome {
  bool changed = false, outside = false, certain = true;
  int32_t close = -1;  // a voxel that is too close to call, 256 z + 16 y + x
};
static_assert(kMaxCellLength == 16);

// Each voxel to the nearest candidate; one outside all windows keeps its label.
__device__ inline BoxOutcome label_voxels(const VolumeBox& box, BoxMemory& memory, int count,
                                          bool clipped, double margin, int32_t* labels) {
  const int32_t width = box.count(2), height = box.count(1), area = width * height;
  const double step_y = height > 1 ? 1.0 / (height - 1) : 0.0;
  const double step_x = width > 1 ? 1.0 / (width - 1) : 0.0;
  BoxOutcome outcome;
  for (int32_t dz = 0; dz < box.count(0); ++dz) {
    make_plane(box, memory, count, dz);
    for (auto i = static_cast<int32_t>(threadIdx.x % 32); i < area; i += 32) {
      const int32_t dy = i / width, dx = i % width;
      const double along_y = dy * step_y, along_x = dx * step_x;
      NearestTwo found{-1, INFINITY, INFINITY};
      for (int c = 0; c < count; ++c) {
        if (clipped && !in_window(memory.candidates[c], dz, dy, dx)) continue;
        const double* corner = memory.plane[c];
        const double first = fma(along_x, corner[1] - corner[0], corner[0]);
        const double last = fma(along_x, corner[3] - corner[2], corner[2]);
        found.take(c, fma(along_y, last - first, first));
      }
      if (found.nearest < 0) {
        outcome.outside = true;
        continue;
      }
      if (found.second - found.least <= margin) {
        outcome.certain &= outcome.close < 0;  // a second one in a lane
        outcome.close = (dz << 8) + (dy << 4) + dx;
      }
      int32_t* label = labels + box.voxel(dz, dy, dx);
      const int32_t cluster = memory.candidates[found.nearest].cluster;
      if (*label == cluster) continue;
      *label = cluster;
      outcome.changed = true;
    }
  }
  return outcome;
}

// Up to kMost voxels of a plane, from the one of number `first` on, that are a lane's, and what
// each adds to sums of 1, dx, dy and dx dy: each sum over a plane fits 16 bits.
struct LaneVoxels {
  static constexpr int kMost = 4, kOfWarp = 32 * kMost;
  int32_t label[kMost];
  unsigned ones[kMost], rows[kMost];

  __device__ LaneVoxels(const VolumeBox& box, int32_t first) {
    const int32_t width = box.count(2), area = width * box.count(1);
    VTCD_UNROLL(kMost)
    for (int j = 0; j < kMost; ++j) {
      const auto i = first + static_cast<int32_t>(threadIdx.x % 32) + 32 * j;
      const int32_t dy = i / width, dx = i % width;
      ones[j] = i < area ? 1u + (static_cast<unsigned>(dx) << 16) : 0u;
      rows[j] = static_cast<unsigned>(dy) + (static_cast<unsigned>(dx * dy) << 16);
    }
  }

  __device__ void read(const VolumeBox& box, const int32_t* labels, int32_t dz) {
    const int32_t* plane = labels + box.voxel(dz, 0, 0);
    const auto row = static_cast<int32_t>(box.round.plan.size.w);
    VTCD_UNROLL(kMost)
    for (int j = 0; j < kMost; ++j) {
      const auto dx = static_cast<int32_t>(ones[j] >> 16);
      const auto dy = static_cast<int32_t>(rows[j] & 0xFFFF);
      label[j] = ones[j] != 0 ? plane[int64_t{dy} * row + dx] : -2;  // no label of any cluster
    }
  }

  // The sums over the voxels that have a label, of all lanes.
  __device__ void add_up(int32_t cluster, unsigned& of_ones, unsigned& of_rows) const {
    of_ones = of_rows = 0;
    VTCD_UNROLL(kMost)
    for (int j = 0; j < kMost; ++j) {
      if (label[j] != cluster) continue;
      of_ones += ones[j];
      of_rows += rows[j];
    }
    of_ones = __reduce_add_sync(~0u, of_ones);
    of_rows = __reduce_add_sync(~0u, of_rows);
  }
};

// Adds the voxels whose labels are no candidates': they were outside all windows.
__device__ inline void add_others(const VolumeBox& box, const BoxMemory& memory, int count,
                                  const int32_t* labels) {
  const int32_t width = box.count(2), height = box.count(1);
  for (auto i = static_cast<int32_t>(threadIdx.x % 32); i < box.count(0) * height * width;
       i += 32) {
    const int32_t dz = i / (height * width), dy = i / width % height, dx = i % width;
    const int32_t label = labels[box.voxel(dz, dy, dx)];
    bool is_candidate = false;
    for (int c = 0; c < count; ++c) is_candidate |= memory.candidates[c].cluster == label;
    if (is_candidate) continue;
    for (int moment = 0; moment < 8; ++moment)
      atomicAdd(&box.moments(label)[moment], ((moment & 4) != 0 ? dz : 1) *
                                                 ((moment & 2) != 0 ? dy : 1) *
                                                 ((moment & 1) != 0 ? dx : 1));
  }
}

// The moments of every label's voxels, from the labels: plane by plane, whose labels are read once.
__device__ inline void count_moments(const VolumeBox& box, BoxMemory& memory, int count,
                                     bool outside, const int32_t* labels) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto num_values = static_cast<int32_t>(box.round.num_clusters * 8);
  for (int32_t i = lane; i < num_values; i += 32) box.moments(i / 8)[i % 8] = 0;
  for (int32_t i = lane; i < count * 8; i += 32) memory.moments[i / 8][i % 8] = 0;
  __syncwarp();
  for (int32_t first = 0; first < box.count(1) * box.count(2); first += LaneVoxels::kOfWarp) {
    LaneVoxels voxels(box, first);
    for (int32_t dz = 0; dz < box.count(0); ++dz) {
      voxels.read(box, labels, dz);
      for (int c = 0; c < count; ++c) {
        unsigned ones, rows;
        voxels.add_up(memory.candidates[c].cluster, ones, rows);
        const unsigned pair = (lane & 2) != 0 ? rows : ones;
        const auto value = static_cast<int32_t>((lane & 1) != 0 ? pair >> 16 : pair & 0xFFFF);
        // lane i has the i-th moment
        if (lane < 8) memory.moments[c][lane] += (lane & 4) != 0 ? dz * value : value;
      }
    }
  }
  for (int c = 0; c < count && lane < 8; ++c)
    box.moments(memory.candidates[c].cluster)[lane] = memory.moments[c][lane];
  if (outside) add_others(box, memory, count, labels);
}

// Labels a box; returns whether any voxel changed. Whether all is certain but a `close` voxel is
// told lane by lane.
__device__ inline bool label_box(const VolumeBox& box, BoxMemory& memory, int32_t* labels,
                                 int32_t* box_label, int& count, bool& certain, int32_t& close) {
  const double margin = cell_margin(box.round);
  int32_t nearest;
  const double own = nearest_of_box(box, nearest);
  bool clipped;
  count = find_candidates(box, own, margin, memory, clipped);
  const int32_t before = *box_label;
  if (count == 1 && nearest >= 0) {
    if (before == nearest) return false;
    take_whole(box, labels, nearest);
    __syncwarp();
    if (threadIdx.x % 32 == 0) *box_label = nearest;
    return true;
  }
  certain = count <= kMostCandidates;
  if (!certain) return false;
  const BoxOutcome outcome = label_voxels(box, memory, count, clipped, margin, labels);
  certain = outcome.certain;
  close = outcome.close;
  const bool outside = __any_sync(~0u, outcome.outside) != 0;
  if (__any_sync(~0u, outcome.changed) == 0) return false;
  count_moments(box, memory, count, outside, labels);
  if (threadIdx.x % 32 == 0) *box_label = -1;
  return true;
}

// Warp i of the grid: box i of the batch goes to its nearest clusters.
__global__ void __launch_bounds__(kCellThreads)
    slic3d_label_boxes_kernel(SlicPlan plan, SlicWork work, int32_t* labels, int round_number) {
  VTCD_SHARED(BoxMemory, memory, [kCellThreads / 32]);
  const auto& [num_z, num_y, num_x] = work.places;
  const int64_t num_boxes = num_z * num_y * num_x;
  const int64_t tiles = (num_boxes + kCellThreads / 32 - 1) / (kCellThreads / 32);
  const int64_t volume = blockIdx.x / tiles, warp = threadIdx.x / 32;
  const int64_t index = blockIdx.x % tiles * (kCellThreads / 32) + warp;
  VolumeState& state = work.state[volume];
  // Other blocks may give the volume up meanwhile: what one lane saw is what all go by.
  const int32_t path = __shfl_sync(~0u, load_shared_value(&state.path), 0);
  if (state.done != 0 || path != kByCells || index >= num_boxes) return;
  if (index == 0 && threadIdx.x == 0) state.most[round_number % 2] = 0;
  const auto row = static_cast<uint32_t>(index / num_x);
  const AxisCell& z = work.cells[row / static_cast<uint32_t>(num_y)];
  const AxisCell& y = work.cells[num_z + row % static_cast<uint32_t>(num_y)];
  const AxisCell& x = work.cells[num_z + num_y + index % num_x];
  if (z.count == 0 || y.count == 0 || x.count == 0) return;
  const VolumeRound round(plan, work, volume, round_number);
  const VolumeBox box{round, z, y, x, index, num_boxes};
  bool certain = true;
  int count = 0;
  int32_t close = -1;
  int32_t* of_volume = labels + volume * plan.size.count();
  const bool changed =
      label_box(box, memory[warp], of_volume, work.box_label + volume * num_boxes + index, count,
                certain, close);
  if (changed && threadIdx.x % 32 == 0) atomicMax(&state.changed[round_number % 2], 1);
  if (certain && close >= 0)
    certain =
        is_certain(box, memory[warp], count, of_volume, close >> 8, close >> 4 & 15, close & 15);
  if (certain) return;
  atomicExch(&state.path, static_cast<int32_t>(kByVoxels));
  atomicMax(reinterpret_cast<unsigned long long*>(&work.found[1]), 1ull);
}

}  // namespace vtcd::cuda
