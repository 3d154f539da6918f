// SPDX-License-Identifier: MIT
// Between two rounds of slic3d over cells: the clusters move to the means of their voxels, and the
// tokens get their scores.
//
// A block takes a cluster: it turns the moments of its boxes into weights of the tokens, and adds
// up the tokens times these, a channel a lane; tokens without weight are not read. Then a block
// takes 32 tokens: it holds a tile of them in shared memory and multiplies it with the centers, a
// token a lane. About 4 operations a token, channel and cluster, from the L2 cache.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/slic3d_boxes.cuh"
#include "cuda/slic3d_update.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kCenterThreads = 256;
inline constexpr unsigned kScoreThreads = 128;

// Warp i: the moments of box i where every voxel goes to its nearest seed.
__global__ void __launch_bounds__(kCellThreads)
    slic3d_seed_boxes_kernel(SlicPlan plan, SlicWork work) {
  const auto& [num_z, num_y, num_x] = work.places;
  const int64_t num_boxes = num_z * num_y * num_x;
  const int64_t tiles = (num_boxes + kCellThreads / 32 - 1) / (kCellThreads / 32);
  const int64_t volume = blockIdx.x / tiles;
  const int64_t box = blockIdx.x % tiles * (kCellThreads / 32) + threadIdx.x / 32;
  if (box >= num_boxes || work.state[volume].path != kByCells) return;
  const int64_t places[3] = {box / (num_x * num_y), num_z + box / num_x % num_y,
                             num_z + num_y + box % num_x};
  const auto seeds_y = static_cast<int32_t>(plan.seeds[1].count);
  const auto seeds_x = static_cast<int32_t>(plan.seeds[2].count);
  const int64_t most = SlicWork::most_seeds(plan), num_clusters = plan.num_clusters();
  for (auto i = static_cast<int32_t>(threadIdx.x % 32); i < num_clusters * 8; i += 32) {
    const int32_t k = i / 8;
    const int32_t seed[3] = {k / (seeds_y * seeds_x), k / seeds_x % seeds_y, k % seeds_x};
    int32_t moment = 1;
    for (int axis = 0; axis < 3; ++axis)
      moment *= work.seed_moments[(places[axis] * most + seed[axis]) * 2 + (i >> (2 - axis) & 1)];
    work.moments[((volume * num_clusters + k) * num_boxes + box) * 8 + i % 8] = moment;
  }
  if (threadIdx.x % 32 == 0) work.box_label[volume * num_boxes + box] = -1;
}

// A sum over the threads of a block.
__device__ inline unsigned long long sum_of_block(unsigned long long value) {
  VTCD_SHARED(unsigned long long, sums, [kCenterThreads / 32]);
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  unsigned long long sum = 0;
  for (unsigned warp = 0; warp < kCenterThreads / 32; ++warp) sum += sums[warp];
  return sum;
}

// The places of an axis whose cells are around a token: some may not be.
struct PlacesOfToken {
  int64_t begin, end;

  __device__ PlacesOfToken(const SlicWork& work, int axis, int64_t token)
      : begin((token > 0 ? token - 1 : 0) * work.parts[axis]),
        end(min((token + 1) * work.parts[axis], work.places[axis])) {}
};

// What a label's voxels of a box weigh on one of its tokens, per axis the lower (0) or the upper
// (1) one: the adjoint of the interpolation.
__device__ inline double weight_on_token(const int32_t* moments, const AxisCell (&cells)[3],
                                         const bool (&upper)[3]) {
  double plane[2];
  for (int i = 0; i < 2; ++i) {
    double line[2];
    for (int j = 0; j < 2; ++j) {
      double values = moments[i * 4 + j * 2], offsets = moments[i * 4 + j * 2 + 1];
      cells[2].to_tokens(values, offsets);
      line[j] = upper[2] ? offsets : values;
    }
    cells[1].to_tokens(line[0], line[1]);
    plane[i] = upper[1] ? line[1] : line[0];
  }
  cells[0].to_tokens(plane[0], plane[1]);
  return upper[0] ? plane[1] : plane[0];
}

// The weight of a cluster's voxels on a token: a sum over the boxes around it.
__device__ inline double token_weight(const SlicWork& work, const int32_t* moments,
                                      const int64_t (&token)[3]) {
  const auto& [num_z, num_y, num_x] = work.places;
  const PlacesOfToken along_z(work, 0, token[0]), along_y(work, 1, token[1]);
  const PlacesOfToken along_x(work, 2, token[2]);
  double sum = 0;
  for (int64_t z = along_z.begin; z < along_z.end; ++z)
    for (int64_t y = along_y.begin; y < along_y.end; ++y)
      for (int64_t x = along_x.begin; x < along_x.end; ++x) {
        const int32_t* of_box = moments + ((z * num_y + y) * num_x + x) * 8;
        const AxisCell cells[3] = {work.cells[z], work.cells[num_z + y],
                                   work.cells[num_z + num_y + x]};
        if (cells[0].count == 0 || cells[1].count == 0 || cells[2].count == 0 || of_box[0] == 0)
          continue;
        bool upper[3], around = true;
        for (int axis = 0; axis < 3; ++axis) {
          upper[axis] = cells[axis].lower != token[axis];
          around &= !upper[axis] || cells[axis].upper == token[axis];
        }
        if (around) sum += weight_on_token(of_box, cells, upper);
      }
  return sum;
}

// The voxels of a cluster: their number and summed coordinates.
__device__ inline Extent sum_boxes(const SlicWork& work, const int32_t* moments) {
  const auto& [num_z, num_y, num_x] = work.places;
  unsigned long long sums[4] = {0, 0, 0, 0};
  for (int64_t box = threadIdx.x; box < num_z * num_y * num_x; box += kCenterThreads) {
    const int64_t places[3] = {box / (num_x * num_y), num_z + box / num_x % num_y,
                               num_z + num_y + box % num_x};
    if (work.cells[places[0]].count == 0 || work.cells[places[1]].count == 0 ||
        work.cells[places[2]].count == 0)
      continue;
    const int32_t* of_box = moments + box * 8;
    const int64_t count = of_box[0];
    sums[0] += static_cast<unsigned long long>(count);
    for (int axis = 0; axis < 3; ++axis)
      sums[1 + axis] += static_cast<unsigned long long>(work.cells[places[axis]].first * count +
                                                        of_box[4 >> axis]);
  }
  Extent extent;
  extent.count = static_cast<int64_t>(sum_of_block(sums[0]));
  for (int axis = 0; axis < 3; ++axis)
    extent.coordinates[axis] = static_cast<int64_t>(sum_of_block(sums[1 + axis]));
  return extent;
}

// The sum of the tokens times their weights, divided by `count`.
__device__ inline void mean_of_tokens(const SlicPlan& plan, const double* values,
                                      const double* weights, int64_t count, double* center) {
  constexpr int kWarps = kCenterThreads / 32, kAtOnce = 8;  // loads in flight, which bound it
  VTCD_SHARED(double, partial, [kWarps][32]);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t num_tokens = plan.grid.count(), num_channels = plan.num_channels;
  for (int64_t first = 0; first < num_channels; first += 32) {
    const int64_t channel = min(first + lane, num_channels - 1);
    double sum = 0;
    for (int64_t token = warp; token < num_tokens; token += kAtOnce * kWarps) {
      double weight[kAtOnce], value[kAtOnce];
      VTCD_UNROLL(kAtOnce)
      for (int i = 0; i < kAtOnce; ++i)
        weight[i] = token + i * kWarps < num_tokens ? weights[token + i * kWarps] : 0.0;
      VTCD_UNROLL(kAtOnce)
      for (int i = 0; i < kAtOnce; ++i)
        value[i] = weight[i] != 0 ? values[(token + i * kWarps) * num_channels + channel] : 0.0;
      VTCD_UNROLL(kAtOnce)
      for (int i = 0; i < kAtOnce; ++i)
        if (weight[i] != 0) sum = fma(weight[i], value[i], sum);
    }
    partial[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && first + lane < num_channels) {
      for (int i = 1; i < kWarps; ++i) sum += partial[i][lane];
      center[channel] = sum / static_cast<double>(count);
    }
    __syncthreads();
  }
}

// Block (b, k): cluster k moves to the mean of its voxels.
__global__ void __launch_bounds__(kCenterThreads)
    slic3d_centers_kernel(SlicPlan plan, SlicWork work, int round_number) {
  const int64_t num_clusters = plan.num_clusters(), num_tokens = plan.grid.count();
  const int64_t volume = blockIdx.x / num_clusters, k = blockIdx.x % num_clusters;
  const int now = round_number % 2, before = 1 - now;
  VolumeState& state = work.state[volume];
  const bool over = state.done != 0 || state.path != kByCells;
  __syncthreads();  // all have looked before one of them may write that it is done
  if (over) return;
  const bool leads = threadIdx.x == 0;
  if (round_number > 1 && state.changed[before] == 0) {
    // The same labels give the same centers and so the same labels again.
    if (leads && k == 0) state.done = 1;
    return;
  }
  if (leads && k == 0) state.changed[now] = 0;
  const int32_t* moments =
      work.moments + blockIdx.x * work.places[0] * work.places[1] * work.places[2] * 8;
  const Extent extent = sum_boxes(work, moments);
  if (leads) {
    move_to_mean(work.clusters[blockIdx.x], extent, plan.size, plan.reach);
    const auto count = static_cast<unsigned long long>(extent.count);
    work.extents[(volume * 2 + before) * num_clusters + k].count = count;
    atomicMax(&state.most[before], count);
  }
  if (extent.count == 0) return;
  double* weights = work.token_weights + blockIdx.x * num_tokens;
  for (int64_t i = threadIdx.x; i < num_tokens; i += kCenterThreads) {
    const int64_t row = i / plan.grid.w;
    const int64_t token[3] = {row / plan.grid.h, row % plan.grid.h, i % plan.grid.w};
    weights[i] = token_weight(work, moments, token);
  }
  __syncthreads();
  mean_of_tokens(plan, work.values + volume * num_tokens * plan.num_channels, weights, extent.count,
                 work.centers + blockIdx.x * plan.num_channels);
}

// Block (b, i): the scores |c|^2 - 2 f.c of the tokens [32 i, 32 (i + 1)).
__global__ void __launch_bounds__(kScoreThreads)
    slic3d_scores_kernel(SlicPlan plan, SlicWork work) {
  constexpr int kAtOnce = 4, kWarps = kScoreThreads / 32;
  VTCD_SHARED(double, tile, [32][33]);
  const int64_t num_tokens = plan.grid.count(), num_channels = plan.num_channels;
  const int64_t num_clusters = plan.num_clusters(), tiles = (num_tokens + 31) / 32;
  const int64_t volume = blockIdx.x / tiles, first_token = blockIdx.x % tiles * 32;
  const VolumeState& state = work.state[volume];
  if (state.done != 0 || state.path != kByCells) return;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const double* values = work.values + (volume * num_tokens + first_token) * num_channels;
  const double* centers = work.centers + volume * num_clusters * num_channels;
  for (int64_t base = warp; base - warp < num_clusters; base += kAtOnce * kWarps) {
    double sum[kAtOnce] = {0, 0, 0, 0};
    for (int64_t first = 0; first < num_channels; first += 32) {
      const auto count = static_cast<int>(min(num_channels - first, int64_t{32}));
      __syncthreads();
      for (int i = warp; i < 32; i += kWarps)
        if (first_token + i < num_tokens && lane < count)
          tile[lane][i] = values[i * num_channels + first + lane];
      __syncthreads();
      for (int j = 0; j < kAtOnce; ++j) {
        const int64_t k = base + j * kWarps;
        if (k >= num_clusters) continue;
        const double* center = centers + k * num_channels + first;
        for (int c = 0; c < count; ++c)
          sum[j] = fma(center[c], center[c] - 2 * tile[c][lane], sum[j]);
      }
    }
    for (int j = 0; j < kAtOnce; ++j) {
      const int64_t k = base + j * kWarps;
      if (k < num_clusters && first_token + lane < num_tokens)
        work.scores[(volume * num_clusters + k) * num_tokens + first_token + lane] = sum[j];
    }
  }
}

inline void start_cells(const SlicPlan& plan, const SlicWork& work, Stream stream) {
  const int64_t tiles = (SlicWork::num_boxes(plan) * 32 + kCellThreads - 1) / kCellThreads;
  simt::launch(&slic3d_seed_boxes_kernel, simt::grid(plan.batch * tiles), dim3(kCellThreads), 0,
               stream, plan, work);
}

// Any round but the first, which is that of the seeds.
inline void cell_round(const SlicPlan& plan, const SlicWork& work, int32_t* labels, int64_t round,
                       Stream stream) {
  const int64_t tiles = (SlicWork::num_boxes(plan) * 32 + kCellThreads - 1) / kCellThreads;
  const int64_t token_tiles = (plan.grid.count() + 31) / 32;
  const int number = round == 1 ? 1 : static_cast<int>(2 + round % 2);
  simt::launch(&slic3d_centers_kernel, simt::grid(plan.batch * plan.num_clusters()),
               dim3(kCenterThreads), 0, stream, plan, work, number);
  simt::launch(&slic3d_scores_kernel, simt::grid(plan.batch * token_tiles), dim3(kScoreThreads), 0,
               stream, plan, work);
  simt::launch(&slic3d_label_boxes_kernel, simt::grid(plan.batch * tiles), dim3(kCellThreads), 0,
               stream, plan, work, labels, number);
}

}  // namespace vtcd::cuda
