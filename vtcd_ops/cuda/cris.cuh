// SPDX-License-Identifier: MIT
// Kernels of cris_sample and cris_accumulate.
//
//   draw_blocks   a thread for each block of masks (one mask, two, or 20), as on the CPU: the draws
//                 of a permutation wait for each other. 4,000 masks of 864 units: 14 MB of working
//                 memory in the caches, 432 draws of about 200 cycles, .1 ms of an H100; blocks of
//                 32 threads spread them over its multiprocessors. A balanced design has a
//                 twentieth of the threads, each with twenty permutations: some 2 ms.
//   accumulate    a block for 32 units: a warp for the masks that remove them, another one for
//                 those that keep them, six that read the next 256 masks into shared memory
//                 meanwhile. A thread adds mask after mask, as on the CPU, so that all sums are the
//                 same bits: 4,000 dependent additions bound it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/formulas/cris_draw.h"
#include "core/formulas/cris_sums.h"
#include "cuda/cris.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kDrawThreads = 32;
inline constexpr unsigned kSumUnits = 32;
inline constexpr int kSumThreads = 256;
inline constexpr int kTileMasks = 256;

// Templates, so that a test may include them beside the file that instantiates them.
template <typename Bool>
__global__ void __launch_bounds__(kDrawThreads)
    draw_blocks_kernel(MaskBlocks blocks, uint32_t* units, int64_t* removals_left, Bool* keep) {
  const int64_t block = int64_t{blockIdx.x} * kDrawThreads + threadIdx.x;
  if (block >= blocks.num_blocks) return;
  const int64_t own = block * blocks.num_units;
  BlockSampler sampler(blocks.num_units, blocks.num_removed, blocks.design, units + own,
                       removals_left == nullptr ? nullptr : removals_left + own);
  sampler.draw(blocks.seed, blocks.first_block + block, blocks.start, blocks.num_masks, keep);
}

// Some masks of 32 units, and what is added under each.
template <typename Number>
struct MaskTile {
  unsigned char keep[kTileMasks][kSumUnits];
  Number drop[kTileMasks], square[kTileMasks];
};

// Reads the masks [first, first + kTileMasks) of the units [first_unit, ...), by the threads from
// `begin` on.
template <typename Number>
__device__ inline void load_tile(const unsigned char* keep, const Number* drop, int64_t num_masks,
                                 int64_t num_units, int64_t first, int64_t first_unit, int begin,
                                 MaskTile<Number>& tile) {
  const int thread = static_cast<int>(threadIdx.x) - begin;
  if (thread < 0) return;
  const int count =
      num_masks - first < kTileMasks ? static_cast<int>(num_masks - first) : kTileMasks;
  const int unit = thread % static_cast<int>(kSumUnits), threads = kSumThreads - begin;
  VTCD_UNROLL(8)
  for (int m = thread / static_cast<int>(kSumUnits); m < count; m += threads / kSumUnits)
    tile.keep[m][unit] =
        first_unit + unit < num_units ? keep[(first + m) * num_units + first_unit + unit] : 0;
  for (int m = thread; m < count; m += threads) {
    tile.drop[m] = drop[first + m];
    tile.square[m] = drop[first + m] * drop[first + m];
  }
}

// Block i: units [32 i, 32 i + 32); row 0, removed, by the first warp, row 1, kept, by the second;
// the others read the next masks meanwhile.
template <typename Number>
__global__ void __launch_bounds__(kSumThreads)
    accumulate_kernel(const unsigned char* keep, const Number* drop, const unsigned char* present,
                      int64_t num_masks, int64_t num_units, const int64_t* not_finite,
                      int64_t* count, Number* total, Number* total_sq) {
  VTCD_SHARED(MaskTile<Number>, tiles, [2]);
  if (*not_finite != 0) return;
  const int64_t first_unit = int64_t{blockIdx.x} * kSumUnits;
  const int lane = static_cast<int>(threadIdx.x % kSumUnits);
  const int64_t unit = first_unit + lane;
  const bool counts_kept = threadIdx.x >= kSumUnits, sums_up = threadIdx.x < 2 * kSumUnits;
  const int64_t place = (counts_kept ? num_units : 0) + unit;
  const bool occurs = sums_up && unit < num_units && (present == nullptr || present[unit] != 0);
  Number sum = occurs ? total[place] : 0, sum_sq = occurs ? total_sq[place] : 0;
  int64_t masks = 0;
  load_tile(keep, drop, num_masks, num_units, 0, first_unit, 0, tiles[0]);
  __syncthreads();
  for (int64_t first = 0, turn = 0; first < num_masks; first += kTileMasks, turn ^= 1) {
    load_tile(keep, drop, num_masks, num_units, first + kTileMasks, first_unit, 2 * kSumUnits,
              tiles[turn ^ 1]);
    const MaskTile<Number>& tile = tiles[turn];
    const int here =
        num_masks - first < kTileMasks ? static_cast<int>(num_masks - first) : kTileMasks;
    VTCD_UNROLL(8)
    for (int m = 0; m < (occurs ? here : 0); ++m) {
      const bool counts = (tile.keep[m][lane] != 0) == counts_kept;
      sum = add_where(counts, tile.drop[m], sum);
      sum_sq = add_where(counts, tile.square[m], sum_sq);
      masks += counts ? 1 : 0;
    }
    __syncthreads();
  }
  if (!occurs) return;
  count[place] += masks;
  total[place] = sum;
  total_sq[place] = sum_sq;
}

inline unsigned blocks_for(int64_t count, int64_t a_block) {
  return static_cast<unsigned>(std::min<int64_t>((count + a_block - 1) / a_block, 0x7FFFFFFF));
}

template <typename Bool>
void launch_draw_blocks(const MaskBlocks& blocks, uint32_t* units, int64_t* removals_left,
                        Bool* keep, Stream stream) {
  simt::launch(&draw_blocks_kernel<Bool>, dim3(blocks_for(blocks.num_blocks, kDrawThreads)),
               dim3(kDrawThreads), 0, stream, blocks, units, removals_left, keep);
}

template <typename Number>
void launch_accumulate(const bool* keep, const Number* drop, const bool* present, int64_t num_masks,
                       int64_t num_units, const int64_t* not_finite, int64_t* count, Number* total,
                       Number* total_sq, Stream stream) {
  if (num_masks * num_units == 0) return;
  simt::launch(&accumulate_kernel<Number>, dim3(blocks_for(num_units, kSumUnits)),
               dim3(kSumThreads), 0, stream, reinterpret_cast<const unsigned char*>(keep), drop,
               reinterpret_cast<const unsigned char*>(present), num_masks, num_units, not_finite,
               count, total, total_sq);
}

}  // namespace vtcd::cuda
