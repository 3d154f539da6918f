// SPDX-License-Identifier: MIT
// The other half of a round of slic3d voxel by voxel: clusters move to the means of their voxels,
// which are added up one after another, as scikit-image does it.
//
// A block sums up 32 channels of one label: its threads collect the label's voxels in order and
// interpolate their features, then one warp adds these up, a channel a lane.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/slic3d_voxels.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kUpdateThreads = 256;

// Voxels of a box of the volume that have a label, in order.
struct LabelBox {
  int64_t first[3], length[3];

  __device__ LabelBox(Shape3 size, const LabelExtent& extent) {
    const int64_t bound[3] = {size.t, size.h, size.w};
    for (int axis = 0; axis < 3; ++axis) {
      first[axis] = bound[axis] - extent.past_first[axis];
      length[axis] = extent.past_last[axis] - first[axis];
    }
  }
  __device__ int64_t count() const { return length[0] * length[1] * length[2]; }
  __device__ int64_t index(Shape3 size, int64_t position) const {
    const int64_t x = first[2] + position % length[2], row = position / length[2];
    const int64_t y = first[1] + row % length[1], z = first[0] + row / length[1];
    return (z * size.h + y) * size.w + x;
  }
};

// Adds up the features of up to kUpdateThreads voxels in the order of the list, a channel a lane
// of the first warp.
__device__ inline void add_features(const VolumeRound& round, const int32_t* list, int count,
                                    int64_t first_channel, double& sum) {
  constexpr int kBatch = 64, kWarps = kUpdateThreads / 32;
  VTCD_SHARED(double, features, [kBatch][32]);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t channel = first_channel + lane;
  for (int begin = 0; begin < count; begin += kBatch) {
    const int size = min(count - begin, kBatch);
    for (int i = warp; i < size; i += kWarps) {
      const SlicVoxel voxel(round.plan.size, list[begin + i]);
      const VoxelSource source(round.plan, round.values, round.plan.num_channels, voxel.at);
      features[i][lane] = channel < round.num_channels ? source.feature(channel) : 0.0;
    }
    __syncthreads();
    if (warp == 0)
      for (int i = 0; i < size; ++i) sum += features[i][lane];
    __syncthreads();
  }
}

// Block (b, k, i): cluster k moves to the mean of its voxels, in the channels [32 i, 32 (i + 1)).
__global__ void __launch_bounds__(kUpdateThreads)
    slic3d_update_clusters_kernel(SlicPlan plan, SlicWork work, const int32_t* labels,
                                  int round_number) {
  VTCD_SHARED(int32_t, list, [kUpdateThreads]);
  const int64_t num_clusters = plan.num_clusters();
  const int64_t groups = (plan.num_channels + kChannelGroup - 1) / kChannelGroup;
  const int64_t volume = blockIdx.x / (num_clusters * groups);
  const int64_t k = blockIdx.x / groups % num_clusters, group = blockIdx.x % groups;
  const int now = round_number % 2, next = 1 - now;
  VolumeState& state = work.state[volume];
  const bool over = state.done != 0 || state.path != kByVoxels;
  __syncthreads();  // all have looked before one of them may write that it is done
  if (over) return;
  const bool leads = group == 0 && threadIdx.x == 0;
  if (round_number > 0 && state.changed[now] == 0) {
    // The same labels give the same centers and so the same labels again.
    if (leads && k == 0) state.done = 1;
    return;
  }
  if (leads && k == 0) state.changed[next] = 0;
  const LabelExtent& extent = work.extents[(volume * 2 + now) * num_clusters + k];
  const auto count = static_cast<int64_t>(extent.count);
  if (leads) {
    move_to_mean(work.clusters[volume * num_clusters + k], extent.extent(), plan.size, plan.reach);
    work.extents[(volume * 2 + next) * num_clusters + k] = LabelExtent{};
    atomicMax(&state.most[now], extent.count);
  }
  const VolumeRound round(plan, work, volume, round_number);
  if (count == 0 || round.num_channels == 0) return;
  const LabelBox box(plan.size, extent);
  const int32_t* of_volume = labels + volume * plan.size.count();
  double sum = 0;
  for (int64_t begin = 0; begin < box.count(); begin += kUpdateThreads) {
    const int64_t place = begin + threadIdx.x;
    const int64_t voxel = place < box.count() ? box.index(plan.size, place) : -1;
    const bool found = voxel >= 0 && of_volume[voxel] == k;
    int position;
    const int size = position_among<kUpdateThreads>(found, position);
    if (found) list[position] = static_cast<int32_t>(voxel);
    __syncthreads();
    add_features(round, list, size, group * kChannelGroup, sum);
  }
  const int64_t channel = group * kChannelGroup + threadIdx.x;
  if (threadIdx.x < 32 && channel < round.num_channels)
    work.centers[(volume * num_clusters + k) * plan.num_channels + channel] =
        sum / static_cast<double>(count);
}

// Cluster k begins at its seed.
__device__ inline void start_cluster(const SlicPlan& plan, const SlicWork& work, int64_t volume,
                                     int64_t k) {
  const auto& [along_z, along_y, along_x] = plan.seeds;
  const int64_t num_clusters = plan.num_clusters();
  Extent seed;
  seed.count = 1;
  seed.coordinates = {along_z.position(k / (along_y.count * along_x.count)),
                      along_y.position(k / along_x.count % along_y.count),
                      along_x.position(k % along_x.count)};
  move_to_mean(work.clusters[volume * num_clusters + k], seed, plan.size, plan.reach);
  for (int i = 0; i < 2; ++i) work.extents[(volume * 2 + i) * num_clusters + k] = LabelExtent{};
}

// A thread for each voxel, cluster and centre of a volume: all go to the seeds. Of all volumes, or
// of those only that go by voxels and were something else before.
__global__ void __launch_bounds__(kUpdateThreads)
    slic3d_seeds_kernel(SlicPlan plan, SlicWork work, int32_t* labels, int64_t blocks_a_volume,
                        bool again) {
  const int64_t volume = blockIdx.x / blocks_a_volume;
  const int64_t i = blockIdx.x % blocks_a_volume * kUpdateThreads + threadIdx.x;
  VolumeState& state = work.state[volume];
  if (again && state.path != kByVoxels) return;
  if (i == 0) {
    state.done = state.not_finite;
    for (int slot = 0; slot < 2; ++slot) {
      state.changed[slot] = 0;
      state.most[slot] = 0;
    }
  }
  const int64_t num_clusters = plan.num_clusters(), num_centers = num_clusters * plan.num_channels;
  if (i < num_clusters) start_cluster(plan, work, volume, i);
  if (i < num_centers) work.centers[volume * num_centers + i] = 0;
  if (i >= plan.size.count()) return;
  const auto& [along_z, along_y, along_x] = plan.seeds;
  const SlicVoxel voxel(plan.size, i);
  labels[volume * plan.size.count() + i] = static_cast<int32_t>(
      (along_z.nearest(voxel.at[0]) * along_y.count + along_y.nearest(voxel.at[1])) *
          along_x.count +
      along_x.nearest(voxel.at[2]));
}

inline void start_at_seeds(const SlicPlan& plan, const SlicWork& work, int32_t* labels, bool again,
                           Stream stream) {
  const int64_t threads =
      std::max(plan.size.count(), plan.num_clusters() * std::max<int64_t>(plan.num_channels, 1));
  const int64_t blocks = (threads + kUpdateThreads - 1) / kUpdateThreads;
  simt::launch(&slic3d_seeds_kernel, simt::grid(plan.batch * blocks), dim3(kUpdateThreads), 0,
               stream, plan, work, labels, blocks, again);
}

inline void voxel_round(const SlicPlan& plan, const SlicWork& work, int32_t* labels, int64_t round,
                        Stream stream) {
  const int64_t tiles = (plan.size.count() + kAssignThreads - 1) / kAssignThreads;
  const int64_t groups = (plan.num_channels + kChannelGroup - 1) / kChannelGroup;
  const int number = round == 0 ? 0 : static_cast<int>(2 - round % 2);  // 1 or 2 after the first
  simt::launch(&slic3d_assign_voxels_kernel, simt::grid(plan.batch * tiles), dim3(kAssignThreads),
               0, stream, plan, work, labels, number);
  if (round + 1 == plan.max_num_iter) return;
  simt::launch(&slic3d_update_clusters_kernel,
               simt::grid(plan.batch * plan.num_clusters() * groups), dim3(kUpdateThreads), 0,
               stream, plan, work, labels, number);
}

}  // namespace vtcd::cuda
