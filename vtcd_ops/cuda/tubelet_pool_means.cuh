// SPDX-License-Identifier: MIT
// Kernels of tubelet_pool: means and their derivative from what the labels weigh on each plane.
//
//   pool_means    a block for each label and 32 channels, eight threads a channel: puts the weights
//                 of the label's tokens together in shared memory, 2048 at a time, then multiplies
//   spread_means  a thread for each token, 16 channels in registers: label after label
//
// For 12 heads of 64 channels 8x14x14 and 12 labels: 5 MB of features, planes from the cache, 29 M
// operations in float64 (2 us of an H100) and 14 M conversions to it (6 us), which bound it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/formulas/narrow_float.h"
#include "cuda/lanes.cuh"
#include "cuda/tubelet_pool.cuh"

namespace vtcd::cuda {

inline constexpr int kWeightTile = 2048;
inline constexpr int kPoolChannels = static_cast<int>(kPoolThreads) / kLanes;
inline constexpr int kSpreadChannels = 16;

// What a label weighs on a token, from the planes [T, labels, h, w] of a volume.
__device__ inline double token_weight(const PlacedCells& along_z, Shape3 grid, const double* planes,
                                      int64_t num_labels, int64_t label, int64_t token) {
  const int64_t area = grid.h * grid.w, z = token / area;
  const double* of_label = planes + label * area + (token - z * area);
  double sum = 0;
  for (int64_t place = along_z.begin(z); place < along_z.end(z); ++place) {
    const AxisCell cell = along_z.cells[place];
    if (cell.lower != z && cell.upper != z) continue;
    for (int64_t d = 0; d < cell.count; ++d) {
      const TokenPair pair =
          weigh_plane(of_label[(cell.first + d) * num_labels * area], cell.weight_at(d));
      if (cell.lower == z) sum += pair.on_lower;
      if (cell.upper == z) sum += pair.on_upper;
    }
  }
  return sum;
}

// The number of voxels of a label in all planes [T, labels]; all threads of the block call this.
__device__ inline int64_t voxels_of(const int64_t* plane_counts, int64_t num_planes,
                                    int64_t num_labels, int64_t label) {
  VTCD_SHARED(unsigned long long, sum, [1]);
  if (threadIdx.x == 0) sum[0] = 0;
  __syncthreads();
  for (int64_t z = threadIdx.x; z < num_planes; z += kPoolThreads)
    atomicAdd(&sum[0], static_cast<unsigned long long>(plane_counts[z * num_labels + label]));
  __syncthreads();
  return static_cast<int64_t>(sum[0]);
}

// Calls visit(first, count) with the weights of the tokens [first, first + count) in the tile.
template <typename Visit>
__device__ inline void for_each_tile(const PlacedCells& along_z, Shape3 grid, const double* planes,
                                     int64_t num_labels, int64_t label,
                                     double (&weights)[kWeightTile], const Visit& visit) {
  const int64_t num_tokens = grid.count();
  for (int64_t first = 0; first < num_tokens; first += kWeightTile) {
    const int count =
        num_tokens - first < kWeightTile ? static_cast<int>(num_tokens - first) : kWeightTile;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kPoolThreads)
      weights[i] = token_weight(along_z, grid, planes, num_labels, label, first + i);
    __syncthreads();
    visit(first, count);
    __syncthreads();
  }
}

// Block (i, j): label i % num_labels of volume i / num_labels, channels [j * kPoolChannels, ...).
template <typename Scalar>
__global__ void __launch_bounds__(kPoolThreads, 2)
    pool_means_kernel(PlacedCells along_z, PoolPlan plan, PoolPart part, const double* planes,
                      const int64_t* plane_counts, const Scalar* features, Scalar* means,
                      int64_t* counts) {
  VTCD_SHARED(double, weights, [kWeightTile]);
  const int64_t volume = blockIdx.x / part.num_labels, label = blockIdx.x % part.num_labels;
  const int64_t num_tokens = plan.grid.count();
  const double* of_volume =
      planes + volume * plan.size.t * part.num_labels * plan.grid.h * plan.grid.w;
  const int64_t count = voxels_of(plane_counts + volume * plan.size.t * part.num_labels,
                                  plan.size.t, part.num_labels, label);
  const int64_t row = (part.first_volume + volume) * plan.num_tubelets + part.first_label + label;
  if (blockIdx.y == 0 && threadIdx.x == 0) counts[row] = count;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  for (int64_t first_channel = int64_t{blockIdx.y} * kPoolChannels;
       first_channel < plan.num_channels; first_channel += int64_t{gridDim.y} * kPoolChannels) {
    const int64_t channel = first_channel + threadIdx.x / kLanes;
    const bool is_channel = channel < plan.num_channels;
    const Scalar* of_channel =
        features + ((part.first_volume + volume) * plan.num_channels + channel) * num_tokens;
    double sum[1] = {0};
    for_each_tile(along_z, plan.grid, of_volume, part.num_labels, label, weights,
                  [&](int64_t first, int length) {
                    if (!is_channel) return;
                    VTCD_UNROLL(8)
                    for (int i = lane; i < length; i += kLanes)
                      sum[0] += static_cast<double>(to_number(of_channel[first + i])) * weights[i];
                  });
    const double total = sum_of_lanes(sum);
    double mean = count > 0 ? total / static_cast<double>(count) : 0.0;
    const bool careful = is_channel && !(mean - mean == 0);
    if (__syncthreads_or(careful)) {  // tokens that no voxel uses do not count, whatever they are
      double again = 0;
      for_each_tile(along_z, plan.grid, of_volume, part.num_labels, label, weights,
                    [&](int64_t first, int length) {
                      for (int i = 0; careful && lane == 0 && i < length; ++i)
                        if (weights[i] != 0)
                          again += weights[i] / static_cast<double>(count) *
                                   static_cast<double>(to_number(of_channel[first + i]));
                    });
      if (careful) mean = again;
    }
    if (is_channel && lane == 0)
      means[row * plan.num_channels + channel] =
          round_to<Scalar>(static_cast<Number<Scalar>>(mean));
  }
}

// Block (i, j, b): tokens [i * kPoolThreads, ...), channels [j * kSpreadChannels, ...) of volume b.
template <typename Scalar>
__global__ void __launch_bounds__(kPoolThreads)
    spread_means_kernel(PlacedCells along_z, PoolPlan plan, PoolPart part, const double* planes,
                        const Scalar* grad_means, const int64_t* counts, Scalar* grad) {
  VTCD_SHARED(double, factors, [kLabelBlock][kSpreadChannels]);
  const int64_t volume = part.first_volume + blockIdx.z, num_tokens = plan.grid.count();
  const int64_t token = int64_t{blockIdx.x} * kPoolThreads + threadIdx.x;
  const int64_t first_row = volume * plan.num_tubelets + part.first_label;
  const double* of_volume =
      planes + blockIdx.z * plan.size.t * part.num_labels * plan.grid.h * plan.grid.w;
  for (int64_t first = int64_t{blockIdx.y} * kSpreadChannels; first < plan.num_channels;
       first += int64_t{gridDim.y} * kSpreadChannels) {
    const int64_t left = plan.num_channels - first;
    const int width = left < kSpreadChannels ? static_cast<int>(left) : kSpreadChannels;
    for (int i = static_cast<int>(threadIdx.x); i < part.num_labels * kSpreadChannels;
         i += kPoolThreads) {
      const int label = i / kSpreadChannels, k = i % kSpreadChannels;
      const int64_t count = counts[first_row + label];
      factors[label][k] =
          k < width && count != 0
              ? static_cast<double>(
                    grad_means[(first_row + label) * plan.num_channels + first + k]) /
                    static_cast<double>(count)
              : 0.0;
    }
    __syncthreads();
    if (token < num_tokens) {
      Scalar* to = grad + (volume * plan.num_channels + first) * num_tokens + token;
      double sums[kSpreadChannels];
      VTCD_UNROLL(kSpreadChannels)
      for (int k = 0; k < kSpreadChannels; ++k)
        sums[k] = part.first_label > 0 && k < width ? static_cast<double>(to[k * num_tokens]) : 0.0;
      for (int64_t label = 0; label < part.num_labels; ++label) {
        if (counts[first_row + label] == 0) continue;
        const double weight =
            token_weight(along_z, plan.grid, of_volume, part.num_labels, label, token);
        VTCD_UNROLL(kSpreadChannels)
        for (int k = 0; k < kSpreadChannels; ++k) {
          const double factor = factors[label][k];  // one not finite reaches those weighed alone
          if (weight != 0 || factor - factor == 0) sums[k] += factor * weight;
        }
      }
      VTCD_UNROLL(kSpreadChannels)
      for (int k = 0; k < kSpreadChannels; ++k)
        if (k < width) to[k * num_tokens] = static_cast<Scalar>(sums[k]);
    }
    __syncthreads();
  }
}

inline unsigned blocks_of(int64_t count, int64_t a_block, int64_t most) {
  return static_cast<unsigned>(std::min((count + a_block - 1) / a_block, most));
}

template <typename Scalar>
void pool_means(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                const Scalar* features, Scalar* means, int64_t* counts, Stream stream) {
  simt::launch(&pool_means_kernel<Scalar>,
               dim3(static_cast<unsigned>(part.num_volumes * part.num_labels),
                    blocks_of(plan.num_channels, kPoolChannels, 65535)),
               dim3(kPoolThreads), 0, stream, axes_of(plan, work).z, plan, part, work.planes,
               work.plane_counts, features, means, counts);
}

template <typename Scalar>
void spread_means(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                  const Scalar* grad_means, const int64_t* counts, Scalar* grad, Stream stream) {
  simt::launch(&spread_means_kernel<Scalar>,
               dim3(blocks_of(plan.grid.count(), kPoolThreads, int64_t{1} << 31),
                    blocks_of(plan.num_channels, kSpreadChannels, 65535),
                    static_cast<unsigned>(part.num_volumes)),
               dim3(kPoolThreads), 0, stream, axes_of(plan, work).z, plan, part, work.planes,
               grad_means, counts, grad);
}

}  // namespace vtcd::cuda
