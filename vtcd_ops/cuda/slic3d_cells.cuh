// SPDX-License-Identifier: MIT
// The rounds of slic3d over cells, as csrc/core/slic3d/cell_rounds.h: most boxes of voxels are
// labelled whole, without a look at their voxels. Here all is in double precision, so that hardly a
// voxel is too close to call; where one is (measured channel by channel, within what rounding can
// do), its volume is labelled voxel by voxel instead.
//
// A warp takes a box: its lanes interpolate the distances of four clusters at a time to the eight
// corner voxels from the tokens' scores, and find the clusters that can win a voxel. In most boxes
// that is one. Else every lane takes a voxel and compares the candidates, whose distances are
// affine along each axis. A box that changed leaves the integer moments of each label's voxels.
// Traffic: 8 scores a cluster and box from the L2 cache, labels where boxes are not whole; a few
// hundred operations a box and 15 a voxel and candidate. Latency bounds it: 100 warps a
// multiprocessor for 12 heads.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/slic3d_margin.h"
#include "cuda/slic3d_voxels.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kCellThreads = 128;
inline constexpr int kMostCandidates = 24;

// A cluster that may win voxels of a box.
struct BoxCandidate {
  double corner[8];  // distances at the first and last voxels of z, y, x
  int32_t cluster;
  int32_t begin[3], end[3];  // its window, from the box's first voxel
};

// What a warp works with.
struct BoxMemory {
  BoxCandidate candidates[kMostCandidates];
  double plane[kMostCandidates][4];     // corners of a plane
  int32_t moments[kMostCandidates][8];  // of the voxels that a candidate has
};

// One volume, and one box of it.
struct VolumeBox {
  const VolumeRound& round;
  const AxisCell &z, &y, &x;
  int64_t index, num_boxes;

  __device__ int32_t count(int axis) const {
    return static_cast<int32_t>(axis == 0 ? z.count : axis == 1 ? y.count : x.count);
  }
  __device__ int64_t first(int axis) const {
    return axis == 0 ? z.first : axis == 1 ? y.first : x.first;
  }
  __device__ bool overlaps(const Cluster& cluster) const {
    if (!cluster.alive) return false;
    for (int axis = 0; axis < 3; ++axis)
      if (first(axis) >= cluster.end[axis] || first(axis) + count(axis) <= cluster.begin[axis])
        return false;
    return true;
  }
  __device__ bool is_within(const Cluster& cluster) const {
    for (int axis = 0; axis < 3; ++axis)
      if (first(axis) < cluster.begin[axis] || first(axis) + count(axis) > cluster.end[axis])
        return false;
    return true;
  }
  __device__ int64_t voxel(int32_t dz, int32_t dy, int32_t dx) const {
    const Shape3 size = round.plan.size;
    return ((z.first + dz) * size.h + y.first + dy) * size.w + x.first + dx;
  }
  __device__ int32_t* moments(int64_t cluster) const {
    return round.work.moments +
           ((round.volume * round.num_clusters + cluster) * num_boxes + index) * 8;
  }

  // Up to what all clusters share the distance of a cluster to a corner voxel.
  __device__ double corner_distance(int64_t k, int corner) const {
    const Shape3 grid = round.plan.grid;
    const int64_t offset[3] = {corner & 4 ? z.count - 1 : 0, corner & 2 ? y.count - 1 : 0,
                               corner & 1 ? x.count - 1 : 0};
    const double* scores =
        round.work.scores + (round.volume * round.num_clusters + k) * grid.count();
    const double wz = z.weight_at(offset[0]), wy = y.weight_at(offset[1]);
    const double wx = x.weight_at(offset[2]);
    double plane[2];
    for (int i = 0; i < 2; ++i) {
      double line[2];
      for (int j = 0; j < 2; ++j) {
        const int64_t row = (i == 0 ? z.lower : z.upper) * grid.h + (j == 0 ? y.lower : y.upper);
        const double a = scores[row * grid.w + x.lower], b = scores[row * grid.w + x.upper];
        line[j] = fma(wx, b - a, a);
      }
      plane[i] = fma(wy, line[1] - line[0], line[0]);
    }
    double distance = fma(wz, plane[1] - plane[0], plane[0]);
    const Cluster& cluster = round.clusters[k];
    const SpatialScale& space = round.plan.space;
    for (int axis = 0; axis < 3; ++axis) {
      const double position = cluster.position[axis];
      const double voxel = static_cast<double>(first(axis) + offset[axis]);
      const double weight = space.spacing[axis] * space.spacing[axis] * space.weight;
      distance += weight * (position * (position - 2 * voxel));
    }
    return distance;
  }
};

// What differences of two candidates' distances are worth.
__device__ inline double cell_margin(const VolumeRound& round) {
  const VolumeState& state = round.work.state[round.volume];
  const double squared = state.squared_features, longest = sqrt(squared);
  const double channels = static_cast<double>(round.plan.num_channels);
  // |c|^2 - 2 f.c: three products of the longest vectors, each off by a rounding a channel.
  const double magnitude = 3 * squared, error = kDoubleRoundoff * (3 * channels + 16) * squared;
  const int64_t most = static_cast<int64_t>(state.most[(round.round + 1) % 2]);
  const double of_distance =
      distance_rounding(squared + state.largest_spatial, most + round.plan.grid.count(), longest);
  return interpolation_margin(magnitude, error, state.largest_spatial, kDoubleRoundoff) +
         2 * of_distance;
}

// The cluster of a box that is nearest at its corners, of those that may take all of it: its
// distance to this lane's corner.
__device__ inline double nearest_of_box(const VolumeBox& box, int32_t& nearest) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  double least = INFINITY, own = INFINITY;
  nearest = -1;
  for (int64_t base = 0; base < box.round.num_clusters; base += 4) {
    const int64_t k = base + lane / 8;
    const bool possible = k < box.round.num_clusters && box.overlaps(box.round.clusters[k]) &&
                          box.is_within(box.round.clusters[k]);
    const double distance = possible ? box.corner_distance(k, lane % 8) : INFINITY;
    double sum = distance;
    for (int step = 1; step < 8; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (!(sum < least)) continue;
    least = sum;
    own = distance;
    nearest = static_cast<int32_t>(k);
  }
  for (int step = 8; step < 32; step *= 2) {
    const double other = __shfl_xor_sync(~0u, least, step);
    const double other_own = __shfl_xor_sync(~0u, own, step);
    const int32_t other_nearest = __shfl_xor_sync(~0u, nearest, step);
    if (other < least || (other == least && other_nearest < nearest)) {
      least = other;
      own = other_own;
      nearest = other_nearest;
    }
  }
  return own;
}

// Puts the clusters into memory that may win voxels, in ascending order; returns how many there
// are, which may be more than there is room for.
__device__ inline int find_candidates(const VolumeBox& box, double nearest, double margin,
                                      BoxMemory& memory, bool& clipped) {
  const int lane = static_cast<int>(threadIdx.x % 32), corner = lane % 8;
  int count = 0;
  bool any_clipped = false;
  for (int64_t base = 0; base < box.round.num_clusters; base += 4) {
    const int64_t k = base + lane / 8;
    const bool overlaps = k < box.round.num_clusters && box.overlaps(box.round.clusters[k]);
    const double distance = overlaps ? box.corner_distance(k, corner) : INFINITY;
    double least = distance - nearest;
    for (int step = 1; step < 8; step *= 2) least = fmin(least, __shfl_xor_sync(~0u, least, step));
    const bool wins = overlaps && least <= margin;
    const unsigned winners = __ballot_sync(~0u, wins && corner == 0);
    const int place = count + __popc(winners & ((1u << (lane - corner)) - 1));
    if (wins && place < kMostCandidates) {
      BoxCandidate& candidate = memory.candidates[place];
      candidate.corner[corner] = distance;
      const Cluster& cluster = box.round.clusters[k];
      if (corner == 0) candidate.cluster = static_cast<int32_t>(k);
      if (corner < 3) {
        candidate.begin[corner] = static_cast<int32_t>(cluster.begin[corner] - box.first(corner));
        candidate.end[corner] = static_cast<int32_t>(cluster.end[corner] - box.first(corner));
      }
      any_clipped |= !box.is_within(cluster);
    }
    count += __popc(winners);
  }
  clipped = __any_sync(~0u, any_clipped) != 0;
  __syncwarp();
  return count;
}

// All voxels of a box go to a cluster.
__device__ inline void take_whole(const VolumeBox& box, int32_t* labels, int32_t cluster) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t width = box.count(2), rows = box.count(0) * box.count(1);
  for (int32_t i = lane; i < rows * width; i += 32) {
    const int32_t row = i / width;
    labels[box.voxel(row / box.count(1), row % box.count(1), i % width)] = cluster;
  }
  int32_t moment = 1;  // lane i has the i-th of 8, so have all its multiples
  for (int axis = 0; axis < 3; ++axis) {
    const int32_t count = box.count(axis);
    moment *= (lane >> (2 - axis) & 1) != 0 ? count * (count - 1) / 2 : count;
  }
  const auto num_values = static_cast<int32_t>(box.round.num_clusters * 8);
  for (int32_t i = lane; i < num_values; i += 32)
    box.moments(i / 8)[i % 8] = i / 8 == cluster ? moment : 0;
}

}  // namespace vtcd::cuda
