// SPDX-License-Identifier: MIT
// What the CUDA bindings of cris_sample and cris_accumulate call; the meaning is that of
// csrc/core/cris_sample.h and csrc/core/cris_accumulate.h. All pointers are those of the device.
#pragma once

#include <cstdint>

#include "core/formulas/cris_draw.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// Blocks of masks, of which those from first_block on are drawn.
//   units           [num_blocks, U], working memory
//   removals_left   [num_blocks, U] for a balanced design, else null
//   keep            [M, U]
struct MaskBlocks {
  int64_t num_units, num_removed, start, num_masks;
  uint64_t seed;
  MaskDesign design;
  int64_t first_block, num_blocks;
};
void draw_blocks(const MaskBlocks& blocks, uint32_t* units, int64_t* removals_left, bool* keep,
                 Stream stream);

// Adds nothing where not_finite[0] is not 0. present may be null.
void accumulate(const bool* keep, const double* drop, const bool* present, int64_t num_masks,
                int64_t num_units, const int64_t* not_finite, int64_t* count, double* total,
                double* total_sq, Stream stream);

}  // namespace vtcd::cuda
