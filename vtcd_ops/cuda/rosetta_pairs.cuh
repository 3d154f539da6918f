// SPDX-License-Identifier: MIT
// Scores of all pairs of concepts. A block takes 32 x 32 pairs, video after video. It brings 32
// words of 64 rows into shared memory at a time (16 KB); four groups of 64 threads take eight words
// each, a thread 4 x 4 pairs in registers, so that 8 words loaded serve 16 pairs. Then each thread
// adds up the ratios of four pairs. Of 8 bytes of a row 32 pairs are counted: what bounds it is the
// population count (16 of 32 bits a clock and multiprocessor); a full adder counts three words by
// two of them. Pairs that cannot reach the score any more are dropped; once few are left of a tile,
// they go on one by one, each with a warp (rosetta_search.cuh).
#pragma once

#include <cstdint>

#include "core/formulas/rosetta.h"
#include "cuda/launch.h"
#include "cuda/rosetta_search.h"

namespace vtcd::cuda {

inline constexpr unsigned kPairThreads = 256;
inline constexpr int kTileRows = 32;  // concepts on either side
inline constexpr int kTileWords = 32;
inline constexpr int kTileStride = kTileWords / 2 + 1;  // of a row, in WordPairs; rows in all banks
inline constexpr int kPairGroups = 4;
inline constexpr int kGroupWords = kTileWords / kPairGroups;
inline constexpr int kSide = 4;  // pairs of a thread of a group, along either side
inline constexpr int kTilePairs = kTileRows * kTileRows;
inline constexpr int kOwnPairs = kTilePairs / kPairThreads;  // whose ratios a thread adds up
inline constexpr unsigned kPairBlocks = 2;  // of a multiprocessor: one loads while others count
inline constexpr int64_t kChunkWords = int64_t{1} << 24;  // 32 bits hold their count

struct alignas(16) WordPair {
  uint64_t x, y;
};

// Bits that are set in both: three words of 32 bits are added up to two first.
__device__ inline unsigned count_common(const WordPair& a, const WordPair& b) {
  const uint64_t x = a.x & b.x, y = a.y & b.y;
  const auto x0 = static_cast<unsigned>(x), x1 = static_cast<unsigned>(x >> 32);
  const auto x2 = static_cast<unsigned>(y), x3 = static_cast<unsigned>(y >> 32);
  const unsigned ones = x0 ^ x1 ^ x2, twos = (x0 & x1) | (x2 & (x0 ^ x1));
  return static_cast<unsigned>(__popc(ones) + __popc(x3) + 2 * __popc(twos));
}

// Which concepts the rows and columns of a tile are.
struct PairTile {
  int64_t row, row_end, column, column_end;

  __device__ int64_t row_of(int pair) const { return row + pair / kTileRows; }
  __device__ int64_t column_of(int pair) const { return column + pair % kTileRows; }
};

// 32 words of all rows from `first` on; those that there are not are 0.
__device__ inline void load_tile(const SupportRows& supports, const PairTile& tile, int64_t video,
                                 int64_t first, WordPair* words) {
  const int64_t num_words = supports.num_words(video);
  const uint64_t* block = supports.row(video, 0);
  const int64_t word = first + threadIdx.x % kTileWords;
  auto* out = reinterpret_cast<uint64_t*>(words);
  for (int i = 0; i < 2 * kTileRows * kTileWords / static_cast<int>(kPairThreads); ++i) {
    const int r = static_cast<int>(threadIdx.x) / kTileWords + i * kPairGroups * 2;
    const bool is_column = r >= kTileRows;
    const int64_t concept_index = is_column ? tile.column + r - kTileRows : tile.row + r;
    const bool exists = concept_index < (is_column ? tile.column_end : tile.row_end);
    out[r * 2 * kTileStride + threadIdx.x % kTileWords] =
        exists && word < num_words ? block[concept_index * num_words + word] : 0;
  }
}

// Adds the counts of a thread's pairs in the words of its group.
__device__ inline void count_tile(const WordPair* words, unsigned (&counts)[kSide][kSide]) {
  const int group = static_cast<int>(threadIdx.x) / 64;
  const int y = static_cast<int>(threadIdx.x) / 8 % 8, x = static_cast<int>(threadIdx.x) % 8;
  for (int k = 0; k < kGroupWords / 2; ++k) {
    const WordPair* from = words + group * kGroupWords / 2 + k;
    WordPair rows[kSide];
    for (int i = 0; i < kSide; ++i) rows[i] = from[(y + 8 * i) * kTileStride];
    for (int j = 0; j < kSide; ++j) {
      const WordPair column = from[(kTileRows + x + 8 * j) * kTileStride];
      for (int i = 0; i < kSide; ++i) counts[i][j] += count_common(rows[i], column);
    }
  }
}

// common[j]: voxels that pair threadIdx.x + 256 j shares in a video.
__device__ inline void count_pairs(const SupportRows& supports, const PairTile& tile, int64_t video,
                                   WordPair* words, int64_t (&common)[kOwnPairs]) {
  const int64_t num_words = supports.num_words(video);
  const int group = static_cast<int>(threadIdx.x) / 64;
  const int y = static_cast<int>(threadIdx.x) / 8 % 8, x = static_cast<int>(threadIdx.x) % 8;
  for (int j = 0; j < kOwnPairs; ++j) common[j] = 0;
  for (int64_t chunk = 0; chunk < num_words; chunk += kChunkWords) {
    unsigned counts[kSide][kSide] = {};
    const int64_t end = min(num_words, chunk + kChunkWords);
    for (int64_t first = chunk; first < end; first += kTileWords) {
      load_tile(supports, tile, video, first, words);
      __syncthreads();
      count_tile(words, counts);
      __syncthreads();
    }
    auto* of_group = reinterpret_cast<unsigned*>(words);  // [groups, 32, 32]
    for (int i = 0; i < kSide; ++i)
      for (int j = 0; j < kSide; ++j)
        of_group[(group * kTileRows + y + 8 * i) * kTileRows + x + 8 * j] = counts[i][j];
    __syncthreads();
    for (int j = 0; j < kOwnPairs; ++j)
      for (int g = 0; g < kPairGroups; ++g)
        common[j] += of_group[g * kTileRows * kTileRows + threadIdx.x + j * kPairThreads];
    __syncthreads();
  }
}

// What is known of the pairs of a tile; thread t adds up pairs t, t + 256, ... In shared memory, as
// the counts need the registers.
struct TileState {
  double total[kTilePairs], bound[kTilePairs], counted[kTilePairs];
};

// Which of a thread's pairs may still reach the score, a bit each.
struct Alive {
  unsigned bits = 0;

  __device__ bool has(int j) const { return (bits >> j & 1) != 0; }
  __device__ void set(int j, bool alive) {
    bits = (bits & ~(1u << j)) | static_cast<unsigned>(alive) << j;
  }
  // How many of the block's pairs may. A barrier.
  __device__ int count_all() const {
    int count = 0;
    for (int j = 0; j < kOwnPairs; ++j) count += __syncthreads_count(has(j));
    return count;
  }
};

__device__ inline int own_pair(int j) {
  return static_cast<int>(threadIdx.x) + j * static_cast<int>(kPairThreads);
}

__device__ inline SizeRange pair_range(const DeviceSupports& supports, int64_t a, int64_t b,
                                       int64_t video) {
  const int64_t size = supports.sizes[a * supports.rows.num_videos + video];
  SizeRange range{size, size};
  range.add(supports.sizes[b * supports.rows.num_videos + video]);
  return range;
}

// What sizes alone say.
__device__ inline Alive bound_pairs(const DeviceSupports& supports, const PairTile& tile,
                                    double least, TileState& state) {
  const int64_t num_videos = supports.rows.num_videos;
  Alive alive;
  for (int j = 0; j < kOwnPairs; ++j) {
    const int pair = own_pair(j);
    const int64_t a = tile.row_of(pair), b = tile.column_of(pair);
    if (a >= tile.row_end || b >= tile.column_end || b < supports.model_ends[a]) continue;
    double bound = 0, counted = 0;
    for (int64_t video = 0; video < num_videos; ++video) {
      const SizeRange range = pair_range(supports, a, b, video);
      bound += overlap_bound(range);
      counted += range.largest > 0 ? 1.0 : 0.0;
    }
    state.total[pair] = 0;
    state.bound[pair] = bound;
    state.counted[pair] = counted;
    alive.set(j, counted > 0 && bound >= least * counted - bound_margin(num_videos));
  }
  return alive;
}

// Counts a video of all pairs, unless none of those that matter can overlap in it.
__device__ inline void add_video(const DeviceSupports& supports, const PairTile& tile,
                                 int64_t video, double least, WordPair* words, TileState& state,
                                 Alive& alive) {
  bool is_needed = false;
  for (int j = 0; j < kOwnPairs; ++j) {
    if (!alive.has(j)) continue;
    const int pair = own_pair(j);
    const SizeRange range = pair_range(supports, tile.row_of(pair), tile.column_of(pair), video);
    is_needed = is_needed || range.smallest > 0;
  }
  if (!__syncthreads_or(is_needed)) return;
  int64_t common[kOwnPairs];
  count_pairs(supports.rows, tile, video, words, common);
  const double margin = bound_margin(supports.rows.num_videos);
  for (int j = 0; j < kOwnPairs; ++j) {
    if (!alive.has(j)) continue;
    const int pair = own_pair(j);
    const SizeRange range = pair_range(supports, tile.row_of(pair), tile.column_of(pair), video);
    if (range.smallest == 0) continue;
    const double ratio = overlap(common[j], range.smallest + range.largest - common[j]);
    state.total[pair] += ratio;
    state.bound[pair] += ratio - overlap_bound(range);
    alive.set(j, state.bound[pair] >= least * state.counted[pair] - margin);
  }
}

// Few are left: they go on one by one.
__device__ inline void hand_over(const PairTile& tile, int64_t video, const TileState& state,
                                 const Alive& alive, const StartedPairs& started) {
  for (int j = 0; j < kOwnPairs; ++j) {
    if (!alive.has(j)) continue;
    const int pair = own_pair(j);
    started.pairs[atomicAdd(started.count, 1ULL)] = {static_cast<int32_t>(tile.row_of(pair)),
                                                     static_cast<int32_t>(tile.column_of(pair)),
                                                     video,
                                                     state.total[pair],
                                                     state.bound[pair],
                                                     state.counted[pair]};
  }
}

// Block (x, y): tile x of the columns, tile y of the rows.
__global__ void __launch_bounds__(kPairThreads, kPairBlocks)
    pair_tiles_kernel(DeviceSupports supports, PairBlock block, double least, StartedPairs started,
                      FoundTuples found) {
  VTCD_SHARED(WordPair, words, [2 * kTileRows * kTileStride]);
  VTCD_SHARED(TileState, state, [1]);
  const int64_t num_videos = supports.rows.num_videos, num_concepts = supports.rows.num_concepts;
  const PairTile tile{block.begin + kTileRows * int64_t{blockIdx.y}, block.end,
                      block.first_column + kTileRows * int64_t{blockIdx.x}, num_concepts};
  if (tile.column + kTileRows <= supports.model_ends[tile.row]) return;
  Alive alive = bound_pairs(supports, tile, least, state[0]);
  for (int64_t video = 0; video < num_videos; ++video) {
    const int num_alive = alive.count_all();
    if (num_alive <= kFewPairs) return hand_over(tile, video, state[0], alive, started);
    add_video(supports, tile, video, least, words, state[0], alive);
  }
  for (int j = 0; j < kOwnPairs; ++j) {
    if (!alive.has(j)) continue;
    const int pair = own_pair(j);
    const double score = state[0].total[pair] / state[0].counted[pair];
    if (!(score >= least)) continue;
    const auto slot = atomicAdd(found.count, 1ULL);
    found.keys[slot] = tile.row_of(pair) * num_concepts + tile.column_of(pair);
    found.scores[slot] = score;
  }
}

}  // namespace vtcd::cuda
