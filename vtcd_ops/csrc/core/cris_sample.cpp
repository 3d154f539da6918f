// SPDX-License-Identifier: MIT
#include "core/cris_sample.h"

#include <algorithm>
#include <vector>

namespace vtcd {

void cris_sample(int64_t num_units, int64_t num_removed, uint64_t seed, MaskDesign design,
                 int64_t start, int64_t num_masks, const ParallelFor& parallel_for, bool* keep) {
  if (num_masks == 0) return;
  const int64_t length = block_length(design);
  const int64_t first_block = start / length, last_block = (start + num_masks - 1) / length;
  const int64_t grain = std::max<int64_t>(1, (1 << 14) / (num_units * length));
  parallel_for(first_block, last_block + 1, grain, [&](int64_t begin_block, int64_t end_block) {
    std::vector<uint32_t> units(num_units);
    std::vector<int64_t> removals_left(design == MaskDesign::kBalanced ? num_units : 0);
    BlockSampler sampler(num_units, num_removed, design, units.data(), removals_left.data());
    for (int64_t block = begin_block; block < end_block; ++block)
      sampler.draw(seed, block, start, num_masks, keep);
  });
}

}  // namespace vtcd
