// SPDX-License-Identifier: MIT
// Kernels of contour_match. The first one packs the contours of both masks, one bit a pixel: a warp
// takes 32 pixels of a row, a lane one of them. In the second one a lane whose pixel is on a
// contour goes through the rows of the disk, nearest first, until the other contour has a bit in
// reach. Traffic: a byte a pixel and mask (neighbours come from the L1 cache), then the bits, an
// eighth of it; what bounds it is this traffic where masks are objects, whose contours are few
// pixels, and the disk's rows where they are noise.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/formulas/contour_match.h"
#include "cuda/contour_match.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kContourThreads = 256;
inline constexpr unsigned kContourWarps = kContourThreads / 32;

// Where the 32 pixels of a warp are.
struct PixelWord {
  int64_t frame, y, word;

  __device__ PixelWord(int64_t index, int64_t height, int64_t num_words) {
    const int64_t row = index / num_words;
    word = index - row * num_words;
    frame = row / height;
    y = row - frame * height;
  }
};

// How far the disk reaches, by rows from its centre.
__global__ void __launch_bounds__(kContourThreads)
    disk_reach_kernel(int64_t radius, int64_t num_reaches, int64_t* reach) {
  const int64_t step = int64_t{gridDim.x} * kContourThreads;
  for (int64_t rows = int64_t{blockIdx.x} * kContourThreads + threadIdx.x; rows < num_reaches;
       rows += step)
    reach[rows] = disk_reach(radius, rows);
}

__device__ inline void add_count(int64_t* count, int added) {
  atomicAdd(reinterpret_cast<unsigned long long*>(count), static_cast<unsigned long long>(added));
}

// Blocks (x, 0): the prediction, (x, 1): the truth. Counts the pixels of the contours.
__global__ void __launch_bounds__(kContourThreads)
    contour_kernel(ContourFrames frames, const uint8_t* prediction, const uint8_t* truth,
                   uint32_t* contours, int64_t* counts) {
  const int64_t height = frames.height, width = frames.width, num_words = (width + 31) / 32;
  const int64_t count = frames.num_frames * height * num_words;
  const uint8_t* masks = blockIdx.y == 0 ? prediction : truth;
  uint32_t* out = contours + blockIdx.y * count;
  const int64_t step = int64_t{gridDim.x} * kContourWarps;
  for (int64_t i = int64_t{blockIdx.x} * kContourWarps + threadIdx.x / 32; i < count; i += step) {
    const PixelWord at(i, height, num_words);
    const int64_t x = 32 * at.word + threadIdx.x % 32;
    const bool is_last_row = at.y + 1 == height, is_last_column = x + 1 >= width;
    uint32_t is_contour = 0;
    if (x < width) {
      const uint8_t* here = masks + (at.frame * height + at.y) * width + x;
      const uint8_t* below = is_last_row ? here : here + width;
      const int64_t right = is_last_column ? 0 : 1;
      is_contour = contour_bits<uint32_t>(here[0] != 0, here[right] != 0, below[0] != 0,
                                          below[right] != 0, is_last_column, is_last_row);
    }
    const uint32_t bits = __ballot_sync(~0u, is_contour != 0);
    if (threadIdx.x % 32 == 0) {
      out[i] = bits;
      if (bits != 0) add_count(counts + 4 * at.frame + (blockIdx.y == 0 ? 1 : 3), __popc(bits));
    }
  }
}

// Whether a row has a bit in columns [first, last].
__device__ inline bool has_bit(const uint32_t* row, int64_t first, int64_t last) {
  for (int64_t word = first / 32; word <= last / 32; ++word) {
    uint32_t bits = row[word];
    if (word == first / 32) bits &= ~0u << first % 32;
    if (word == last / 32) bits &= ~0u >> (31 - last % 32);
    if (bits != 0) return true;
  }
  return false;
}

// Whether a contour, of one frame, has a pixel in the disk around (y, x).
__device__ inline bool is_near(const uint32_t* contour, int64_t height, int64_t width,
                               const int64_t* reach, int64_t num_reaches, int64_t y, int64_t x) {
  const int64_t num_words = (width + 31) / 32;
  const int64_t num_rows = min(num_reaches - 1, max(y, height - 1 - y));
  for (int64_t rows = 0; rows <= num_rows; ++rows) {
    const int64_t first = max(int64_t{0}, x - reach[rows]);
    const int64_t last = min(width - 1, x + reach[rows]);
    if (y >= rows && has_bit(contour + (y - rows) * num_words, first, last)) return true;
    if (rows > 0 && y + rows < height && has_bit(contour + (y + rows) * num_words, first, last))
      return true;
  }
  return false;
}

// Blocks (x, 0): pixels of the prediction's contour, (x, 1): of the truth's.
__global__ void __launch_bounds__(kContourThreads)
    contour_match_kernel(ContourFrames frames, const uint32_t* contours, const int64_t* reach,
                         int64_t num_reaches, int64_t* counts) {
  const int64_t height = frames.height, width = frames.width, num_words = (width + 31) / 32;
  const int64_t count = frames.num_frames * height * num_words;
  const uint32_t* ours = contours + blockIdx.y * count;
  const uint32_t* others = contours + (1 - blockIdx.y) * count;
  const int64_t step = int64_t{gridDim.x} * kContourWarps;
  for (int64_t i = int64_t{blockIdx.x} * kContourWarps + threadIdx.x / 32; i < count; i += step) {
    const uint32_t bits = ours[i];
    if (bits == 0) continue;
    const PixelWord at(i, height, num_words);
    int64_t* of_frame = counts + 4 * at.frame;
    if (of_frame[blockIdx.y == 0 ? 3 : 1] == 0) continue;  // nothing to be near to
    const int64_t lane = threadIdx.x % 32;
    const bool near =
        (bits >> lane & 1) != 0 && is_near(others + at.frame * height * num_words, height, width,
                                           reach, num_reaches, at.y, 32 * at.word + lane);
    const uint32_t matched = __ballot_sync(~0u, near);
    if (lane == 0 && matched != 0) add_count(of_frame + (blockIdx.y == 0 ? 0 : 2), __popc(matched));
  }
}

inline unsigned contour_blocks(int64_t count, int64_t a_block) {
  return static_cast<unsigned>(std::min<int64_t>(1 << 20, (count + a_block - 1) / a_block));
}

inline void launch_contour_match(const ContourFrames& frames, const uint8_t* prediction,
                                 const uint8_t* truth, uint32_t* contours, int64_t* reach,
                                 int64_t* counts, Stream stream) {
  if (frames.num_frames == 0) return;
  fill_bytes(counts, 0, static_cast<size_t>(4 * frames.num_frames) * sizeof(int64_t), stream);
  const dim3 blocks(contour_blocks(frames.contour_words() / 2, kContourWarps), 2);
  simt::launch(&disk_reach_kernel, dim3(contour_blocks(frames.num_reaches(), kContourThreads)),
               dim3(kContourThreads), 0, stream, frames.useful_radius(), frames.num_reaches(),
               reach);
  simt::launch(&contour_kernel, blocks, dim3(kContourThreads), 0, stream, frames, prediction, truth,
               contours, counts);
  simt::launch(&contour_match_kernel, blocks, dim3(kContourThreads), 0, stream, frames, contours,
               reach, frames.num_reaches(), counts);
}

}  // namespace vtcd::cuda
