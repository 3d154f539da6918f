// SPDX-License-Identifier: MIT
#include "cuda/rosetta_search.cuh"

namespace vtcd::cuda {

void support_sizes(const SupportRows& supports, int64_t* sizes, Stream stream) {
  const int64_t count = supports.num_concepts * supports.num_videos;
  if (count == 0) return;
  simt::launch(&support_sizes_kernel, tuple_blocks(count), dim3(kTupleThreads), 0, stream, supports,
               sizes);
}

void score_pairs(const DeviceSupports& supports, const PairBlock& block, double least,
                 const StartedPairs& started, const FoundTuples& found, Stream stream) {
  constexpr int64_t kMostRows = int64_t{kTileRows} * 65535;  // of a grid
  const int64_t columns = block.num_column_tiles(supports.rows.num_concepts);
  for (PairBlock part = block; part.begin < block.end; part.begin += kMostRows) {
    part.end = std::min(block.end, part.begin + kMostRows);
    simt::launch(&pair_tiles_kernel,
                 dim3(static_cast<unsigned>(columns), static_cast<unsigned>(part.num_row_tiles())),
                 dim3(kPairThreads), 0, stream, supports, part, least, started, found);
  }
  simt::launch(&started_pairs_kernel, tuple_blocks(columns * block.num_row_tiles() * kFewPairs),
               dim3(kTupleThreads), 0, stream, supports, started, least, found);
}

void score_tuples(const DeviceSupports& supports, const int32_t* candidates, int64_t count,
                  int64_t order, double least, const FoundTuples& found, Stream stream) {
  simt::launch(&score_tuples_kernel, tuple_blocks(count), dim3(kTupleThreads), 0, stream, supports,
               candidates, count, order, least, found);
}

void score_extensions(const DeviceSupports& supports, const DeviceBranches& branches, double least,
                      double* scores, Stream stream) {
  simt::launch(&count_branches_kernel, tuple_blocks(branches.count * supports.rows.num_videos),
               dim3(kTupleThreads), 0, stream, supports, branches);
  simt::launch(&score_extensions_kernel, tuple_blocks(branches.num_candidates), dim3(kTupleThreads),
               0, stream, supports, branches, least, scores);
}

}  // namespace vtcd::cuda
