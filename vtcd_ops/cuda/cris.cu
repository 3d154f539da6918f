// SPDX-License-Identifier: MIT
#include "cuda/cris.cuh"

namespace vtcd::cuda {

void draw_blocks(const MaskBlocks& blocks, uint32_t* units, int64_t* removals_left, bool* keep,
                 Stream stream) {
  launch_draw_blocks(blocks, units, removals_left, keep, stream);
}

void accumulate(const bool* keep, const double* drop, const bool* present, int64_t num_masks,
                int64_t num_units, const int64_t* not_finite, int64_t* count, double* total,
                double* total_sq, Stream stream) {
  launch_accumulate(keep, drop, present, num_masks, num_units, not_finite, count, total, total_sq,
                    stream);
}

}  // namespace vtcd::cuda
