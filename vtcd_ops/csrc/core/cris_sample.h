// SPDX-License-Identifier: MIT
// Random masks that remove a fixed share of all units: the sampling of CRIS (equation 6 of the
// paper).
#pragma once

#include <cstdint>

#include "core/formulas/cris_draw.h"
#include "core/parallel.h"

namespace vtcd {

// Draws the masks start, start + 1, ...; mask i is a pure function of (num_units, num_removed,
// seed, design, i).
//
//   keep  [M, U], out: false where the mask removes the unit
void cris_sample(int64_t num_units, int64_t num_removed, uint64_t seed, MaskDesign design,
                 int64_t start, int64_t num_masks, const ParallelFor& parallel_for, bool* keep);

}  // namespace vtcd
