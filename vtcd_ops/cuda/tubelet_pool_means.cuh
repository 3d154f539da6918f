// SPDX-License-Identifier: MIT
// Kernels of tubelet_pool: means and their derivative from what the labels weigh on the tokens.
//
//   pool_means    a block for two labels and eight channels, eight threads a channel
//   spread_means  a thread for each token, 16 channels in registers: label after label
//
// For 12 heads of 64 channels 8x14x14 and 12 labels: 5 MB of features, read six times, 2 MB of
// weights, read eight times, most of it from the caches; 29 M operations in float64 (2 us of an
// H100) and 5 M conversions to it (2 us).
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/formulas/narrow_float.h"
#include "cuda/lanes.cuh"
#include "cuda/tubelet_pool.cuh"

namespace vtcd::cuda {

inline constexpr int kMeanThreads = 64;
inline constexpr int kMeanChannels = kMeanThreads / kSumLanes;
inline constexpr int kMeanLabels = 2;
inline constexpr int kSpreadChannels = 16;

// The number of voxels of a label in all planes [T, labels].
__device__ inline int64_t voxels_of(const int64_t* plane_counts, int64_t num_planes,
                                    int64_t num_labels) {
  int64_t sum = 0;
  for (int64_t z = 0; z < num_planes; ++z) sum += plane_counts[z * num_labels];
  return sum;
}

// The mean where the sum over all tokens is not finite: tokens that no voxel uses do not count,
// whatever they are.
template <typename Scalar>
__device__ inline double careful_mean(const Scalar* tokens, const double* weights,
                                      int64_t num_tokens, int64_t count) {
  double mean = 0;
  for (int64_t i = 0; i < num_tokens; ++i)
    if (weights[i] != 0)
      mean += weights[i] / static_cast<double>(count) * static_cast<double>(to_number(tokens[i]));
  return mean;
}

// Block (i, j): labels [i % groups * kMeanLabels, ...) of volume i / groups, channels
// [j * kMeanChannels, ...).
template <typename Scalar>
__global__ void __launch_bounds__(kMeanThreads, 8)
    pool_means_kernel(PoolPlan plan, PoolPart part, int64_t groups, const double* weights,
                      const int64_t* plane_counts, const Scalar* features, Scalar* means,
                      int64_t* counts) {
  VTCD_SHARED(int64_t, voxels, [kMeanLabels]);
  const int64_t volume = blockIdx.x / groups, num_tokens = plan.grid.count();
  const int64_t first = (blockIdx.x - volume * groups) * kMeanLabels;
  const int64_t left = part.num_labels - first;
  const int here = left < kMeanLabels ? static_cast<int>(left) : kMeanLabels;
  const int64_t row = (part.first_volume + volume) * plan.num_tubelets + part.first_label + first;
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread < here) {
    voxels[thread] =
        voxels_of(plane_counts + volume * plan.size.t * part.num_labels + first + thread,
                  plan.size.t, part.num_labels);
    if (blockIdx.y == 0) counts[row + thread] = voxels[thread];
  }
  __syncthreads();
  const double* of_label[kMeanLabels];  // beyond the last one, that again
  for (int s = 0; s < kMeanLabels; ++s)
    of_label[s] =
        weights + (volume * part.num_labels + first + (s < here ? s : here - 1)) * num_tokens;
  for (int64_t first_channel = int64_t{blockIdx.y} * kMeanChannels;
       first_channel < plan.num_channels; first_channel += int64_t{gridDim.y} * kMeanChannels) {
    const int64_t channel = first_channel + thread / kSumLanes;
    const bool is_channel = channel < plan.num_channels;
    const Scalar* tokens =
        features + ((part.first_volume + volume) * plan.num_channels + channel) * num_tokens;
    double sums[kMeanLabels][1] = {};
    VTCD_UNROLL(8)  // loads in flight, which bound it
    for (int64_t i = thread % kSumLanes; i < (is_channel ? num_tokens : 0); i += kSumLanes) {
      const auto token = static_cast<double>(to_number(tokens[i]));
      for (int s = 0; s < kMeanLabels; ++s) sums[s][0] += token * of_label[s][i];
    }
    for (int s = 0; s < kMeanLabels; ++s) {
      const double total = sum_of_lanes(sums[s]);
      if (s >= here || !is_channel || thread % kSumLanes != 0) continue;
      double mean = voxels[s] > 0 ? total / static_cast<double>(voxels[s]) : 0.0;
      if (!(mean - mean == 0)) mean = careful_mean(tokens, of_label[s], num_tokens, voxels[s]);
      means[(row + s) * plan.num_channels + channel] =
          round_to<Scalar>(static_cast<Number<Scalar>>(mean));
    }
  }
}

// Block (i, j, b): tokens [i * kPoolThreads, ...), channels [j * kSpreadChannels, ...) of volume b.
template <typename Scalar>
__global__ void __launch_bounds__(kPoolThreads)
    spread_means_kernel(PoolPlan plan, PoolPart part, const double* weights,
                        const Scalar* grad_means, const int64_t* counts, Scalar* grad) {
  VTCD_SHARED(double, factors, [kLabelBlock][kSpreadChannels]);
  const int64_t volume = part.first_volume + blockIdx.z, num_tokens = plan.grid.count();
  const int64_t token = int64_t{blockIdx.x} * kPoolThreads + threadIdx.x;
  const int64_t first_row = volume * plan.num_tubelets + part.first_label;
  const double* of_token = weights + blockIdx.z * part.num_labels * num_tokens + token;
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
        const double weight = of_token[label * num_tokens];
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
  const int64_t groups = (part.num_labels + kMeanLabels - 1) / kMeanLabels;
  simt::launch(
      &pool_means_kernel<Scalar>,
      simt::grid(part.num_volumes * groups, blocks_of(plan.num_channels, kMeanChannels, 65535)),
      dim3(kMeanThreads), 0, stream, plan, part, groups, work.weights, work.plane_counts, features,
      means, counts);
}

template <typename Scalar>
void spread_means(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                  const Scalar* grad_means, const int64_t* counts, Scalar* grad, Stream stream) {
  simt::launch(&spread_means_kernel<Scalar>,
               simt::grid((plan.grid.count() + kPoolThreads - 1) / kPoolThreads,
                          blocks_of(plan.num_channels, kSpreadChannels, 65535), part.num_volumes),
               dim3(kPoolThreads), 0, stream, plan, part, work.weights, grad_means, counts, grad);
}

}  // namespace vtcd::cuda
