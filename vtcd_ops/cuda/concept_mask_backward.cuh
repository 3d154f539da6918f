// SPDX-License-Identifier: MIT
// Kernels of the derivatives of concept_mask. For [8, 12, 1568, 64] in float32, 116 MB are read and
// written (35 us of an H100's memory) for 19 M additions and products in float64 (.6 us).
//
//   1. token_products   8 / kWidth threads a row, each on kWidth of the eight lanes of the order in
//                       core/formulas/concept_mask.h: reads grad and x, writes grad_x and the
//                       token's product. Memory traffic bounds it.
//   2. sum_heads        a block for each head and each kUnitTile units: a warp adds up groups of
//                       32 tokens, each lane those that share its unit, then one warp adds the
//                       groups one after another, no two lanes of it to the same unit.
//   3. sum_units        a thread for each unit: the heads one after another.
#pragma once

#include <cstdint>

#include "cuda/concept_mask.cuh"
#include "cuda/concept_mask.h"
#include "cuda/lanes.cuh"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr int kUnitTile = 2048;
inline constexpr int kTokenTile = 1024;  // tokens of a head whose groups are added up at once
inline constexpr int64_t kMostTiles = 65535;

// A row's gradient in x, for one of its threads, and the sums of the thread's lanes.
template <typename Scalar, int kWidth>
__device__ inline void row_gradient(const Scalar* __restrict__ grad, int64_t grad_step,
                                    const Scalar* __restrict__ x, int64_t step, int64_t first,
                                    int64_t num_channels, Number<Scalar> factor,
                                    Scalar* __restrict__ grad_x, int64_t to_step,
                                    double (&sums)[kWidth]) {
  using Row = Pack<Scalar, kWidth>;
  constexpr int kRounds = sizeof(Scalar) == 2 ? 2 : 4;  // as registers allow
  VTCD_UNROLL(kRounds)
  for (int64_t c = first; c < num_channels; c += kSumLanes) {
    Row of_output = *reinterpret_cast<const Row*>(grad + c * grad_step);
    const Row value = *reinterpret_cast<const Row*>(x + c * step);
    for (int k = 0; k < kWidth; ++k) {
      const Number<Scalar> number = to_number(of_output.values[k]);
      sums[k] += static_cast<double>(number) * static_cast<double>(to_number(value.values[k]));
      of_output.values[k] = round_to<Scalar>(number * factor);
    }
    *reinterpret_cast<Row*>(grad_x + c * to_step) = of_output;
  }
}

template <typename Scalar, int kWidth>
__device__ inline void copy_row(const Scalar* from, int64_t step, int64_t first,
                                int64_t num_channels, Scalar* to, int64_t to_step) {
  using Row = Pack<Scalar, kWidth>;
  for (int64_t c = first; c < num_channels; c += kSumLanes)
    *reinterpret_cast<Row*>(to + c * to_step) = *reinterpret_cast<const Row*>(from + c * step);
}

// Block (i, j) as in concept_mask_kernel. products [B, A, N - P]: of tokens that have a unit.
template <typename Scalar, int kWidth>
__global__ void __launch_bounds__(kMaskThreads)
    token_products(MaskedTokens tokens, const Scalar* grad, FeatureStrides of_grad, const Scalar* x,
                   FeatureStrides from, const Number<Scalar>* keep, Scalar* grad_x,
                   FeatureStrides to, double* products, int64_t* outside, bool heads_outside) {
  constexpr int kThreadsARow = kSumLanes / kWidth;
  constexpr int64_t kRows = kMaskThreads / kThreadsARow;
  const int64_t outer = heads_outside ? tokens.num_heads : tokens.num_tokens;
  const int64_t inner = heads_outside ? tokens.num_tokens : tokens.num_heads;
  const int64_t b = blockIdx.x / outer, o = blockIdx.x % outer;
  const int64_t first = static_cast<int64_t>(threadIdx.x % kThreadsARow) * kWidth;
  for (int64_t row = int64_t{blockIdx.y} * kRows; row < inner; row += gridDim.y * kRows) {
    const int64_t i = row + threadIdx.x / kThreadsARow;
    const int64_t head = heads_outside ? o : i, token = heads_outside ? i : o;
    int64_t unit = -1;
    double sums[kWidth] = {};
    if (i < inner) {
      unit = checked_unit(tokens, tokens.unit_of(b, head, token), outside);
      const Scalar* of_output = grad + of_grad.offset(b, head, token);
      Scalar* of_input = grad_x + to.offset(b, head, token);
      if (unit < 0) {
        copy_row<Scalar, kWidth>(of_output, of_grad.channel, first, tokens.num_channels, of_input,
                                 to.channel);
      } else {
        row_gradient<Scalar, kWidth>(of_output, of_grad.channel, x + from.offset(b, head, token),
                                     from.channel, first, tokens.num_channels,
                                     keep[b * tokens.num_units + unit], of_input, to.channel, sums);
      }
    }
    const double product = sum_of_lanes(sums);
    const int64_t num_assigned = tokens.num_tokens - tokens.num_prefix_tokens;
    if (unit >= 0 && first == 0)
      products[(b * tokens.num_heads + head) * num_assigned + token - tokens.num_prefix_tokens] =
          product;
  }
}

// The tokens of a tile and what their units have in their group.
struct GroupSums {
  double products[kTokenTile], sums[kTokenTile];
  int32_t units[kTokenTile], leaders[kTokenTile];  // leaders: the unit, once in each group; or -1
};

// Adds up the groups of the tokens [first, first + kTokenTile) of a head.
__device__ inline void sum_groups(const int32_t* units, const double* products, int64_t count,
                                  int64_t num_units, int64_t first, GroupSums& tile) {
  for (int n = static_cast<int>(threadIdx.x); n < kTokenTile; n += kMaskThreads) {
    const int32_t unit = first + n < count ? units[first + n] : -1;
    tile.units[n] = unit < num_units ? unit : -1;
    tile.products[n] = tile.units[n] >= 0 ? products[first + n] : 0.0;
  }
  __syncthreads();
  for (int n = static_cast<int>(threadIdx.x); n < kTokenTile; n += kMaskThreads) {
    const int group = n - n % static_cast<int>(kGroupTokens), unit = tile.units[n];
    double sum = 0;
    int leader = -1;
    for (int k = group; k < group + static_cast<int>(kGroupTokens); ++k) {
      if (tile.units[k] != unit) continue;
      if (leader < 0) leader = k;
      sum += tile.products[k];
    }
    tile.sums[n] = sum;
    tile.leaders[n] = leader == n ? unit : -1;
  }
  __syncthreads();
}

// Block (i, j): head i of the sequences from first_sequence on, units [j * kUnitTile, ...).
//   head_sums  [sequences, A, U]
__global__ inline void __launch_bounds__(kMaskThreads)
    sum_heads(MaskedTokens tokens, int64_t first_sequence, const double* products,
              double* head_sums) {
  VTCD_SHARED(double, sums, [kUnitTile]);
  VTCD_SHARED(GroupSums, tile, [1]);
  const int64_t b = first_sequence + blockIdx.x / tokens.num_heads;
  const int64_t head = blockIdx.x % tokens.num_heads;
  const int64_t count = tokens.num_tokens - tokens.num_prefix_tokens;
  const double* product = products + (b * tokens.num_heads + head) * count;
  for (int64_t first_unit = int64_t{blockIdx.y} * kUnitTile; first_unit < tokens.num_units;
       first_unit += int64_t{gridDim.y} * kUnitTile) {
    for (int u = static_cast<int>(threadIdx.x); u < kUnitTile; u += kMaskThreads) sums[u] = 0;
    for (int64_t first = 0; first < count; first += kTokenTile) {
      sum_groups(tokens.units(b, head), product, count, tokens.num_units, first, tile[0]);
      for (int n = static_cast<int>(threadIdx.x); threadIdx.x < 32 && n < kTokenTile; n += 32) {
        const int64_t u = tile[0].leaders[n] - first_unit;
        if (tile[0].leaders[n] >= 0 && u >= 0 && u < kUnitTile) sums[u] += tile[0].sums[n];
        __syncwarp();
      }
      __syncthreads();
    }
    __syncthreads();
    for (int64_t u = threadIdx.x; u < kUnitTile && first_unit + u < tokens.num_units;
         u += kMaskThreads)
      head_sums[int64_t{blockIdx.x} * tokens.num_units + first_unit + u] = sums[u];
    __syncthreads();
  }
}

// grad_keep [sequences, U]: a thread each.
template <typename Result>
__global__ void __launch_bounds__(kMaskThreads)
    sum_units(const double* head_sums, int64_t num_sequences, int64_t num_heads, int64_t num_units,
              Result* grad_keep) {
  for (int64_t i = int64_t{blockIdx.x} * kMaskThreads + threadIdx.x; i < num_sequences * num_units;
       i += int64_t{gridDim.x} * kMaskThreads) {
    const double* sums = head_sums + i / num_units * num_heads * num_units + i % num_units;
    double sum = 0;
    for (int64_t head = 0; head < num_heads; ++head) sum += sums[head * num_units];
    grad_keep[i] = static_cast<Result>(sum);
  }
}

template <typename Scalar, int kWidth>
void launch_token_products(const MaskedTokens& tokens, const Scalar* grad,
                           const FeatureStrides& of_grad, const Scalar* x,
                           const FeatureStrides& from, const Number<Scalar>* keep, Scalar* grad_x,
                           const FeatureStrides& to, double* products, int64_t* outside,
                           Stream stream) {
  const bool heads_outside = to.head >= to.token;
  const int64_t outer = heads_outside ? tokens.num_heads : tokens.num_tokens;
  const int64_t inner = heads_outside ? tokens.num_tokens : tokens.num_heads;
  const int64_t rows = kMaskThreads / (kSumLanes / kWidth);
  const int64_t parts = std::min((inner + rows - 1) / rows, kMostTiles);
  simt::launch(&token_products<Scalar, kWidth>, simt::grid(tokens.batch * outer, parts),
               dim3(kMaskThreads), 0, stream, tokens, grad, of_grad, x, from, keep, grad_x, to,
               products, outside, heads_outside);
}

template <typename Scalar>
void concept_mask_backward(const MaskedTokens& tokens, const Scalar* grad,
                           const FeatureStrides& of_grad, const Scalar* x,
                           const FeatureStrides& from, const Number<Scalar>* keep, Scalar* grad_x,
                           const FeatureStrides& to, double* products, int64_t* outside,
                           Stream stream) {
  if (tokens.batch * tokens.num_heads * tokens.num_tokens == 0) return;
  constexpr int kWidth = sizeof(Scalar) == 8 ? 2 : 4;
  const bool packed = is_packed(grad, of_grad, tokens.num_channels, kWidth) &&
                      is_packed(x, from, tokens.num_channels, kWidth) &&
                      is_packed(grad_x, to, tokens.num_channels, kWidth);
  const auto launch =
      packed ? &launch_token_products<Scalar, kWidth> : &launch_token_products<Scalar, 1>;
  launch(tokens, grad, of_grad, x, from, keep, grad_x, to, products, outside, stream);
}

template <typename Result>
void sum_by_unit(const MaskedTokens& tokens, int64_t first_sequence, int64_t num_sequences,
                 const double* products, double* head_sums, Result* grad_keep, Stream stream) {
  if (num_sequences * tokens.num_units == 0) return;
  const int64_t tiles = std::min((tokens.num_units + kUnitTile - 1) / kUnitTile, kMostTiles);
  if (tokens.num_heads > 0)
    simt::launch(&sum_heads, simt::grid(num_sequences * tokens.num_heads, tiles),
                 dim3(kMaskThreads), 0, stream, tokens, first_sequence, products, head_sums);
  const int64_t blocks = (num_sequences * tokens.num_units + kMaskThreads - 1) / kMaskThreads;
  simt::launch(&sum_units<Result>, simt::grid(std::min<int64_t>(blocks, 1 << 20)),
               dim3(kMaskThreads), 0, stream, head_sums, num_sequences, tokens.num_heads,
               tokens.num_units, grad_keep + first_sequence * tokens.num_units);
}

}  // namespace vtcd::cuda
