// SPDX-License-Identifier: MIT
// The rounds of slic3d voxel by voxel, in scikit-image's own order of operations, as
// csrc/core/slic3d/voxel_rounds.h: the labels are those of the CPU where rounding decides, too.
//
// A block takes 128 voxels, one a thread, and goes through the clusters in reach of them,
// kClusterGroup at a time: each thread interpolates its feature channel by channel and adds up its
// distances in registers. About 100 operations a voxel and channel, in double precision: arithmetic
// bounds it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/slic3d_features.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kAssignThreads = 128;
inline constexpr int kClusterGroup = 8;

// Where the features of one voxel come from.
struct VoxelSource {
  const double* rows[2][2];  // the lower tokens along x of the token rows (z, y)
  int64_t step;              // from there to the upper tokens
  double weight[3];
  bool made;

  __device__ VoxelSource(const SlicPlan& plan, const double* values, int64_t channel_stride,
                         const int64_t (&voxel)[3])
      : made(SlicWork::is_made(plan)) {
    const Shape3 grid = plan.grid, size = plan.size;
    if (made) {
      rows[0][0] = values + ((voxel[0] * size.h + voxel[1]) * size.w + voxel[2]) * channel_stride;
      return;
    }
    const AxisPoint z = axis_point(voxel[0], grid.t, size.t, plan.interpolation);
    const AxisPoint y = axis_point(voxel[1], grid.h, size.h, plan.interpolation);
    const AxisPoint x = axis_point(voxel[2], grid.w, size.w, plan.interpolation);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) {
        const int64_t row = (i == 0 ? z.lower : z.upper) * grid.h + (j == 0 ? y.lower : y.upper);
        rows[i][j] = values + (row * grid.w + x.lower) * channel_stride;
      }
    step = (x.upper - x.lower) * channel_stride;
    weight[0] = z.weight;
    weight[1] = y.weight;
    weight[2] = x.weight;
  }

  __device__ double feature(int64_t channel) const {
    if (made) return rows[0][0][channel];
    double line[2];
    for (int i = 0; i < 2; ++i) {
      const int64_t at = channel + i * step;
      line[i] = interpolate(interpolate(rows[0][0][at], rows[0][1][at], weight[1]),
                            interpolate(rows[1][0][at], rows[1][1][at], weight[1]), weight[0]);
    }
    return interpolate(line[0], line[1], weight[2]);
  }
};

// Whether any feature is computed from several tokens, and so rounded: there, the middle voxel of
// an axis or its neighbour lies between tokens.
__device__ inline bool is_interpolated(const SlicPlan& plan) {
  if (plan.interpolation == Interpolation::kNearest) return false;
  const int64_t tokens[3] = {plan.grid.t, plan.grid.h, plan.grid.w};
  const int64_t voxels[3] = {plan.size.t, plan.size.h, plan.size.w};
  for (int axis = 0; axis < 3; ++axis)
    if (tokens[axis] > 1 && voxels[axis] > 1 && (tokens[axis] - 1) % (voxels[axis] - 1) != 0)
      return true;
  return false;
}

// One volume in a round.
struct VolumeRound {
  const SlicPlan& plan;
  const SlicWork& work;
  int64_t volume;
  int round;
  int64_t num_clusters, num_channels;
  const Cluster* clusters;
  const double* centers;       // [K, C]; zeros in the first round
  const LabelExtent* extents;  // that the centers are of
  const double* values;

  __device__ VolumeRound(const SlicPlan& plan, const SlicWork& work, int64_t volume, int round)
      : plan(plan),
        work(work),
        volume(volume),
        round(round),
        num_clusters(plan.num_clusters()),
        num_channels(work.state[volume].num_channels),
        clusters(work.clusters + volume * num_clusters),
        centers(work.centers + volume * num_clusters * plan.num_channels),
        extents(work.extents + (volume * 2 + (round + 1) % 2) * num_clusters),
        values(work.values + volume * SlicWork::num_values(plan) * plan.num_channels) {}

  __device__ double tie() const {
    return round > 0 && is_interpolated(plan)
               ? tie_bound(static_cast<int64_t>(work.state[volume].most[(round + 1) % 2]))
               : 0.0;
  }
};

struct SlicVoxel {
  int64_t index, at[3];
  bool valid;

  __device__ SlicVoxel(Shape3 size, int64_t index)
      : index(index),
        at{index / (size.h * size.w), index / size.w % size.h, index % size.w},
        valid(index < size.count()) {}

  __device__ bool in_window(const Cluster& cluster) const {
    return cluster.alive && cluster.has(0, at[0]) && cluster.has(1, at[1]) && cluster.has(2, at[2]);
  }
  __device__ double distance(const SpatialScale& space, const Cluster& cluster) const {
    const double voxel[3] = {static_cast<double>(at[0]), static_cast<double>(at[1]),
                             static_cast<double>(at[2])};
    return spatial_distance(space, cluster, voxel);
  }
};

// The nearest cluster of a voxel, and the least distance to another one.
struct NearestTwo {
  int32_t nearest;
  double least, second;

  __device__ void take(int32_t cluster, double distance) {
    if (distance < least) {
      second = least;
      least = distance;
      nearest = cluster;
    } else if (distance < second) {
      second = distance;
    }
  }
};

__device__ inline Measured measure(const VolumeRound& round, const VoxelSource& source,
                                   const SlicVoxel& voxel, int64_t k) {
  constexpr double kRoundoff = std::numeric_limits<double>::epsilon() / 2;
  const double* center = round.centers + k * round.plan.num_channels;
  const double count = static_cast<double>(round.extents[k].count);
  double color = 0, error = 0;
  for (int64_t c = 0; c < round.num_channels; ++c) {
    const double feature = source.feature(c);
    color = add_squared_difference(color, feature, center[c]);
    error += squared_difference_error(feature, center[c], count);
  }
  return {voxel.distance(round.plan.space, round.clusters[k]) + color, kRoundoff * error};
}

// The first cluster that is as near to a voxel as the nearest, up to what rounding can do.
__device__ inline int32_t first_of_nearest(const VolumeRound& round, const VoxelSource& source,
                                           const SlicVoxel& voxel) {
  Measured nearest{std::numeric_limits<double>::infinity(), 0};
  int32_t found = -1;
  for (int64_t k = 0; k < round.num_clusters; ++k) {
    if (!voxel.in_window(round.clusters[k])) continue;
    const Measured measured = measure(round, source, voxel, k);
    if (found >= 0 && !(measured.distance < nearest.distance)) continue;
    nearest = measured;
    found = static_cast<int32_t>(k);
  }
  for (int64_t k = 0; k < found; ++k)
    if (voxel.in_window(round.clusters[k]) && measure(round, source, voxel, k).as_near_as(nearest))
      return static_cast<int32_t>(k);
  return found;
}

// Takes the distances to up to kClusterGroup clusters, ascending.
__device__ inline void measure_group(const VolumeRound& round, const VoxelSource& source,
                                     const SlicVoxel& voxel, const int32_t* group, int size,
                                     NearestTwo& found, double& square) {
  const double* center[kClusterGroup];
  double color[kClusterGroup];
  VTCD_UNROLL(8)
  for (int i = 0; i < kClusterGroup; ++i) {
    center[i] = round.centers + group[i < size ? i : 0] * round.plan.num_channels;
    color[i] = 0;
  }
  square = 0;
  for (int64_t c = 0; c < round.num_channels; ++c) {
    const double feature = source.feature(c);
    square = add_squared_difference(square, feature, 0.0);
    VTCD_UNROLL(8)
    for (int i = 0; i < kClusterGroup; ++i)
      color[i] = add_squared_difference(color[i], feature, center[i][c]);
  }
  VTCD_UNROLL(8)
  for (int i = 0; i < kClusterGroup; ++i) {
    if (i >= size) continue;
    const Cluster& cluster = round.clusters[group[i]];
    if (voxel.in_window(cluster))
      found.take(group[i], voxel.distance(round.plan.space, cluster) + color[i]);
  }
}

// Whether a cluster may take any of the voxels [first, last].
__device__ inline bool reaches(const Cluster& cluster, const SlicVoxel& first,
                               const SlicVoxel& last) {
  if (!cluster.alive) return false;
  for (int axis = 0; axis < 3; ++axis) {
    if (last.at[axis] < cluster.begin[axis] || first.at[axis] >= cluster.end[axis]) return false;
    if (first.at[axis] != last.at[axis]) return true;  // later coordinates are any
  }
  return true;
}

// Puts the numbers of those threads that `keep` in order, from 0; returns how many there are.
template <unsigned kThreads>
__device__ int position_among(bool keep, int& position) {
  VTCD_SHARED(int, counts, [kThreads / 32]);
  const unsigned lane = threadIdx.x % 32;
  const unsigned kept = __ballot_sync(~0u, keep);
  if (lane == 0) counts[threadIdx.x / 32] = __popc(kept);
  __syncthreads();
  int before = 0, total = 0;
  for (unsigned warp = 0; warp < kThreads / 32; ++warp) {
    if (warp < threadIdx.x / 32) before += counts[warp];
    total += counts[warp];
  }
  position = before + __popc(kept & ((1u << lane) - 1));
  __syncthreads();
  return total;
}

// Adds the voxels of a warp, consecutive ones, to the sums of their labels: run by run.
__device__ inline void add_to_extents(const SlicPlan& plan, LabelExtent* extents,
                                      const SlicVoxel& voxel, int32_t label) {
  const unsigned lane = threadIdx.x % 32;
  const int32_t before = __shfl_up_sync(~0u, label, 1);
  const bool first = lane == 0 || before != label || voxel.at[2] == 0;
  const unsigned starts = __ballot_sync(~0u, first || !voxel.valid);
  if (!first || !voxel.valid) return;
  const unsigned later = lane == 31 ? 0 : starts >> (lane + 1);
  const int64_t count = later == 0 ? 32 - lane : __ffs(static_cast<int>(later));
  const int64_t first_at[3] = {voxel.at[0], voxel.at[1], voxel.at[2]};
  const int64_t last_at[3] = {voxel.at[0], voxel.at[1], voxel.at[2] + count - 1};
  const int64_t size[3] = {plan.size.t, plan.size.h, plan.size.w};
  LabelExtent& extent = extents[label];
  atomicAdd(&extent.count, static_cast<unsigned long long>(count));
  for (int axis = 0; axis < 3; ++axis) {
    atomicAdd(&extent.coordinates[axis],
              static_cast<unsigned long long>((first_at[axis] + last_at[axis]) * count / 2));
    atomicMax(&extent.past_first[axis], static_cast<int32_t>(size[axis] - first_at[axis]));
    atomicMax(&extent.past_last[axis], static_cast<int32_t>(last_at[axis] + 1));
  }
}

// Block (b, i): the voxels [128 i, 128 (i + 1)) go to their nearest clusters.
__global__ void __launch_bounds__(kAssignThreads)
    slic3d_assign_voxels_kernel(SlicPlan plan, SlicWork work, int32_t* labels, int round_number) {
  VTCD_SHARED(int32_t, reaching, [kAssignThreads + kClusterGroup]);
  const int64_t num_voxels = plan.size.count();
  const int64_t tiles = (num_voxels + kAssignThreads - 1) / kAssignThreads;
  const int64_t volume = blockIdx.x / tiles, begin = blockIdx.x % tiles * kAssignThreads;
  VolumeState& state = work.state[volume];
  if (state.done != 0 || state.path != kByVoxels) return;
  if (begin == 0 && threadIdx.x == 0) state.most[round_number % 2] = 0;
  const VolumeRound round(plan, work, volume, round_number);
  const SlicVoxel voxel(plan.size, min(begin + threadIdx.x, num_voxels));
  const SlicVoxel first(plan.size, begin);
  const SlicVoxel last(plan.size, min(begin + kAssignThreads, num_voxels) - 1);
  const SlicVoxel source_voxel(plan.size, min(begin + threadIdx.x, num_voxels - 1));
  const VoxelSource source(plan, round.values, plan.num_channels, source_voxel.at);
  int32_t* label = labels + volume * num_voxels + source_voxel.index;
  constexpr double kFar = std::numeric_limits<double>::max();
  const int32_t before = *label;
  NearestTwo found{before, kFar, kFar};
  double square = 0;
  for (int64_t k = 0; k < round.num_clusters; k += kAssignThreads) {
    const int64_t mine = k + threadIdx.x;
    int position;
    const bool keep = mine < round.num_clusters && reaches(round.clusters[mine], first, last);
    const int count = position_among<kAssignThreads>(keep, position);
    if (keep) reaching[position] = static_cast<int32_t>(mine);
    __syncthreads();
    for (int i = 0; i < count; i += kClusterGroup)
      measure_group(round, source, voxel, reaching + i, min(count - i, kClusterGroup), found,
                    square);
    __syncthreads();
  }
  const double tie = round.tie();
  if (tie > 0 && voxel.valid && found.second < kFar &&
      found.second <= tie_limit(found.least, tie, square))
    found.nearest = first_of_nearest(round, source, voxel);
  const bool changed = voxel.valid && found.nearest != before;
  if (changed) *label = found.nearest;
  if (__any_sync(~0u, changed) && threadIdx.x % 32 == 0)
    atomicMax(&state.changed[round_number % 2], 1);
  add_to_extents(plan, work.extents + (volume * 2 + round_number % 2) * round.num_clusters, voxel,
                 found.nearest);
}

}  // namespace vtcd::cuda
