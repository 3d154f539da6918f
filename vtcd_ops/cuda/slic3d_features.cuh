// SPDX-License-Identifier: MIT
// Before the rounds of slic3d: the range of the interpolated features, as csrc/core/slic3d/range.h
// finds it, and the tokens scaled by it. A block reads the tokens of one channel; most channels are
// ruled out by their tokens' range, most cells by their eight tokens', so that this takes the time
// of reading the features twice.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/slic3d_margin.h"
#include "cuda/slic3d_work.cuh"

namespace vtcd::cuda {

inline constexpr unsigned kFeatureThreads = 128;
inline constexpr unsigned kRangeParts = 8;

// A thread for each place of a cell.
__global__ void slic3d_cells_kernel(SlicPlan plan, SlicWork work, bool has_cells) {
  const int64_t at = int64_t{blockIdx.x} * kFeatureThreads + threadIdx.x;
  int64_t place = at;
  for (int axis = 0; axis < 3; ++axis) {
    const AxisCells cells = SlicWork::axis(plan, axis);
    if (place >= cells.count()) {
      place -= cells.count();
      continue;
    }
    const AxisCell cell = cells.cell(place);
    work.cells[at] = cell;
    if (!has_cells) return;
    const int64_t most = SlicWork::most_seeds(plan);
    int32_t* moments = work.seed_moments + at * most * 2;
    for (int64_t i = 0; i < most * 2; ++i) moments[i] = 0;
    for (int64_t offset = 0; offset < cell.count; ++offset) {
      const int64_t seed = plan.seeds[axis].nearest(cell.first + offset);
      moments[seed * 2] += 1;
      moments[seed * 2 + 1] += static_cast<int32_t>(offset);
    }
    return;
  }
}

// Block (b, c): the range of the tokens in use.
template <typename Scalar>
__global__ void __launch_bounds__(kFeatureThreads, 8)
    slic3d_token_range_kernel(SlicPlan plan, SlicWork work, const Scalar* features) {
  VTCD_SHARED(unsigned long long, most, [3]);
  if (threadIdx.x < 3) most[threadIdx.x] = 0;
  __syncthreads();
  const Scalar* tokens = features + blockIdx.x * plan.grid.count();
  const AxisCells along_t = SlicWork::axis(plan, 0), along_h = SlicWork::axis(plan, 1);
  const bool fewer = plan.size.w < plan.grid.w;  // else each token of a row is in use
  unsigned long long high = 0, low = 0, not_finite = 0;
  for (int64_t row = threadIdx.x / 32; row < plan.grid.t * plan.grid.h;
       row += kFeatureThreads / 32) {
    if (!along_t.uses(row / plan.grid.h) || !along_h.uses(row % plan.grid.h)) continue;
    for (int64_t w = threadIdx.x % 32; w < plan.grid.w; w += 32) {
      if (fewer && !SlicWork::axis(plan, 2).uses(w)) continue;
      const double token = static_cast<double>(tokens[row * plan.grid.w + w]);
      high = max(high, ordered(token));
      low = max(low, ordered(-token));
      not_finite |= !(token - token == 0);
    }
  }
  atomicMax(&most[0], high);
  atomicMax(&most[1], low);
  atomicMax(&most[2], not_finite);
  __syncthreads();
  if (threadIdx.x != 0) return;
  const double highest = number_of(most[0]), lowest = -number_of(most[1]);
  work.channel_high[blockIdx.x] = highest;
  work.channel_low[blockIdx.x] = lowest;
  VolumeState& state = work.state[blockIdx.x / plan.num_channels];
  const double largest = fmax(fabs(highest), fabs(lowest));
  atomicMax(&state.largest, ordered(largest));
  if (most[2] != 0) atomicMax(&state.not_finite, 1);
}

// The extremes of interpolated features that a thread has found.
struct FoundRange {
  double low, high;

  template <typename Scalar>
  __device__ void visit_cell(const Scalar* const (&rows)[4], const AxisCell& z, const AxisCell& y,
                             const AxisCell& x) {
    for (int end_x = 0; end_x < 2; ++end_x) {
      const double wx = end_x == 0 ? x.weight : x.weight_at(x.count - 1);
      double value[4];
      for (int i = 0; i < 4; ++i)
        value[i] = interpolate(static_cast<double>(rows[i][x.lower]),
                               static_cast<double>(rows[i][x.upper]), wx);
      for (int end_y = 0; end_y < 2; ++end_y) {
        const double wy = end_y == 0 ? y.weight : y.weight_at(y.count - 1);
        const double lower = interpolate(value[0], value[1], wy);
        const double upper = interpolate(value[2], value[3], wy);
        for (int end_z = 0; end_z < 2; ++end_z) {
          const double found =
              interpolate(lower, upper, end_z == 0 ? z.weight : z.weight_at(z.count - 1));
          low = fmin(low, found);
          high = fmax(high, found);
        }
      }
    }
  }

  // Visits the cell where its tokens leave room for an extreme.
  template <typename Scalar>
  __device__ void look_at_cell(const Scalar* tokens, Shape3 grid, const AxisCell& z,
                               const AxisCell& y, const AxisCell& x) {
    const Scalar* rows[4];
    double least = INFINITY, most = -INFINITY;
    for (int i = 0; i < 4; ++i) {
      rows[i] =
          tokens +
          ((i / 2 == 0 ? z.lower : z.upper) * grid.h + (i % 2 == 0 ? y.lower : y.upper)) * grid.w;
      const double a = static_cast<double>(rows[i][x.lower]);
      const double b = static_cast<double>(rows[i][x.upper]);
      least = fmin(least, fmin(a, b));
      most = fmax(most, fmax(a, b));
    }
    if (least < low || most > high) visit_cell(rows, z, y, x);
  }
};

// The channel of the highest (lowest) token.
__device__ inline int64_t extreme_channel(const SlicPlan& plan, const SlicWork& work,
                                          int64_t volume, bool highest) {
  int64_t best = volume * plan.num_channels;
  for (int64_t c = best; c < (volume + 1) * plan.num_channels; ++c) {
    const bool better = highest ? work.channel_high[c] > work.channel_high[best]
                                : work.channel_low[c] < work.channel_low[best];
    if (better) best = c;
  }
  return best;
}

// Blocks of `best`: (b, part, 2) for the most promising channels of volume b, which make the bounds
// sharp for all others. Else (b, c).
template <typename Scalar>
__global__ void __launch_bounds__(kFeatureThreads)
    slic3d_range_kernel(SlicPlan plan, SlicWork work, const Scalar* features, bool best) {
  const unsigned parts = best ? kRangeParts : 1, part = best ? blockIdx.x / 2 % kRangeParts : 0;
  const int64_t volume = blockIdx.x / (best ? 2 * kRangeParts : plan.num_channels);
  const int64_t channel =
      best ? extreme_channel(plan, work, volume, blockIdx.x % 2 == 0) : blockIdx.x;
  VolumeState& state = work.state[volume];
  if (state.not_finite != 0) return;
  FoundRange found{INFINITY, -INFINITY};
  if (!best)
    found = {-number_of(load_shared_value(&state.lowest)),
             number_of(load_shared_value(&state.highest))};
  if (work.channel_low[channel] >= found.low && work.channel_high[channel] <= found.high) return;
  const auto num_z = static_cast<uint32_t>(work.places[0]);
  const auto num_y = static_cast<uint32_t>(work.places[1]);
  const auto num_x = static_cast<uint32_t>(work.places[2]);
  for (uint64_t place = part * kFeatureThreads + threadIdx.x;
       place < uint64_t{num_z} * num_y * num_x; place += parts * kFeatureThreads) {
    const auto row = static_cast<uint32_t>(place / num_x);
    const AxisCell& z = work.cells[row / num_y];
    const AxisCell& y = work.cells[num_z + row % num_y];
    const AxisCell& x = work.cells[num_z + num_y + static_cast<uint32_t>(place % num_x)];
    if (z.count > 0 && y.count > 0 && x.count > 0)
      found.look_at_cell(features + channel * plan.grid.count(), plan.grid, z, y, x);
  }
  if (ordered(-found.low) > load_shared_value(&state.lowest))
    atomicMax(&state.lowest, ordered(-found.low));
  if (ordered(found.high) > load_shared_value(&state.highest))
    atomicMax(&state.highest, ordered(found.high));
}

// The sum over the lanes of a warp, the same for all of them.
__device__ inline double warp_sum(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// Whether the rounds over cells are tried for a volume, and the bounds of its distances.
__device__ inline bool goes_by_cells(const SlicPlan& plan, const SlicWork& work, int64_t volume,
                                     double low, double high, const FeatureScale& scale,
                                     VolumeState& state) {
  double sum = 0, least = INFINITY, largest = 0;
  for (int64_t c = threadIdx.x; c < plan.num_channels; c += 32) {
    const int64_t channel = volume * plan.num_channels + c;
    sum += squared_feature_bound(work.channel_low[channel], work.channel_high[channel], low, high,
                                 scale.ratio);
  }
  sum = warp_sum(sum);
  const double length[3] = {static_cast<double>(plan.size.t), static_cast<double>(plan.size.h),
                            static_cast<double>(plan.size.w)};
  for (int axis = 0; axis < 3; ++axis) {
    const double weight = plan.space.spacing[axis] * plan.space.spacing[axis] * plan.space.weight;
    least = fmin(least, weight);
    largest += weight * length[axis] * length[axis];
  }
  state.squared_features = sum;
  state.largest_spatial = largest;
  return low < high && scale.exponent == 0 && space_decides_first_round(sum, largest, least);
}

// A warp for each volume.
__global__ void slic3d_scale_kernel(SlicPlan plan, SlicWork work, bool has_cells) {
  const int64_t volume = blockIdx.x;
  VolumeState state = work.state[volume];
  if (state.not_finite != 0) {
    if (threadIdx.x == 0) atomicMax(reinterpret_cast<unsigned long long*>(&work.found[0]), 1ull);
  } else {
    const double low = -number_of(state.lowest), high = number_of(state.highest);
    state.scale = feature_scale(low, high, number_of(state.largest), plan.compactness);
    state.num_channels = low == high ? 0 : plan.num_channels;
    const bool by_cells =
        has_cells && goes_by_cells(plan, work, volume, low, high, state.scale, state);
    state.path = by_cells ? kByCells : kByVoxels;
    if (!by_cells && threadIdx.x == 0)
      atomicMax(reinterpret_cast<unsigned long long*>(&work.found[1]), 1ull);
  }
  __syncwarp();
  if (threadIdx.x == 0) work.state[volume] = state;
}

template <typename Scalar>
__device__ double interpolate_voxel(const Scalar* tokens, const SlicPlan& plan, int64_t voxel) {
  const Shape3 grid = plan.grid, size = plan.size;
  const AxisPoint z = axis_point(voxel / (size.h * size.w), grid.t, size.t, plan.interpolation);
  const AxisPoint y = axis_point(voxel / size.w % size.h, grid.h, size.h, plan.interpolation);
  const AxisPoint x = axis_point(voxel % size.w, grid.w, size.w, plan.interpolation);
  double plane[2];
  for (int i = 0; i < 2; ++i) {
    double line[2];
    for (int j = 0; j < 2; ++j) {
      const Scalar* row =
          tokens + ((i == 0 ? z.lower : z.upper) * grid.h + (j == 0 ? y.lower : y.upper)) * grid.w;
      line[j] = interpolate(static_cast<double>(row[x.lower]), static_cast<double>(row[x.upper]),
                            x.weight);
    }
    plane[i] = interpolate(line[0], line[1], y.weight);
  }
  return interpolate(plane[0], plane[1], z.weight);
}

// Whether any voxel is interpolated from a token.
__device__ inline bool in_use(const SlicPlan& plan, int64_t token) {
  const Shape3 grid = plan.grid;
  if (plan.size.t >= grid.t && plan.size.h >= grid.h && plan.size.w >= grid.w) return true;
  return SlicWork::axis(plan, 0).uses(token / (grid.h * grid.w)) &&
         SlicWork::axis(plan, 1).uses(token / grid.w % grid.h) &&
         SlicWork::axis(plan, 2).uses(token % grid.w);
}

// Block (b, i, j): 32 tokens (or voxels) of 32 channels, turned from rows of tokens into rows of
// channels.
template <typename Scalar>
__global__ void __launch_bounds__(kFeatureThreads)
    slic3d_values_kernel(SlicPlan plan, SlicWork work, const Scalar* features) {
  VTCD_SHARED(double, tile, [32][33]);
  const int64_t num_values = SlicWork::num_values(plan), num_channels = plan.num_channels;
  const int64_t value_tiles = (num_values + 31) / 32, channel_tiles = (num_channels + 31) / 32;
  const int64_t volume = blockIdx.x / (value_tiles * channel_tiles);
  const int64_t first_value = blockIdx.x / channel_tiles % value_tiles * 32;
  const int64_t first_channel = blockIdx.x % channel_tiles * 32;
  const VolumeState& state = work.state[volume];
  if (state.not_finite != 0 || state.num_channels == 0) return;
  const int64_t lane = threadIdx.x % 32;
  for (int64_t i = threadIdx.x / 32; i < 32; i += kFeatureThreads / 32) {
    const int64_t value = first_value + lane, channel = first_channel + i;
    if (value >= num_values || channel >= num_channels) continue;
    const Scalar* tokens = features + (volume * num_channels + channel) * plan.grid.count();
    double number;
    if (SlicWork::is_made(plan)) {
      number = interpolate_voxel(tokens, plan, value);
    } else if (in_use(plan, value)) {
      number = static_cast<double>(tokens[value]);
    } else {  // whatever it holds, 1e300 or NaN: products are taken of all tokens
      number = work.channel_low[volume * num_channels + channel];
    }
    tile[i][lane] = state.scale.scaled(number);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x / 32; i < 32; i += kFeatureThreads / 32) {
    const int64_t value = first_value + i, channel = first_channel + lane;
    if (value >= num_values || channel >= num_channels) continue;
    work.values[(volume * num_values + value) * num_channels + channel] = tile[lane][i];
  }
}

inline dim3 blocks_for(int64_t threads, unsigned threads_a_block) {
  return simt::grid((threads + threads_a_block - 1) / threads_a_block);
}

template <typename Scalar>
void scale_features(const SlicPlan& plan, const SlicWork& work, const Scalar* features,
                    Stream stream) {
  const dim3 threads(kFeatureThreads);
  const dim3 channels = simt::grid(plan.batch * plan.num_channels);
  simt::launch(&slic3d_cells_kernel, blocks_for(SlicWork::num_places(plan), kFeatureThreads),
               threads, 0, stream, plan, work, SlicWork::has_cells(plan));
  simt::launch(&slic3d_token_range_kernel<Scalar>, channels, threads, 0, stream, plan, work,
               features);
  simt::launch(&slic3d_range_kernel<Scalar>, simt::grid(2 * kRangeParts * plan.batch), threads, 0,
               stream, plan, work, features, true);
  simt::launch(&slic3d_range_kernel<Scalar>, channels, threads, 0, stream, plan, work, features,
               false);
  simt::launch(&slic3d_scale_kernel, simt::grid(plan.batch), dim3(32), 0, stream, plan, work,
               SlicWork::has_cells(plan));
  const int64_t tiles = (SlicWork::num_values(plan) + 31) / 32 * ((plan.num_channels + 31) / 32);
  simt::launch(&slic3d_values_kernel<Scalar>, simt::grid(plan.batch * tiles), threads, 0, stream,
               plan, work, features);
}

}  // namespace vtcd::cuda
