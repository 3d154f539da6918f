// SPDX-License-Identifier: MIT
// Sums of the drops of a metric over the masks that remove, and over those that keep, each unit.
#pragma once

#include <cstdint>

#include "core/parallel.h"

namespace vtcd {

// Adds the masks in their order, so that sums do not depend on how they are handed over, nor on how
// parallel_for splits the units.
//
//   keep      [M, U]
//   drop      [M], finite: d_m, the drop of the metric under mask m
//   present   [U], or null: units that do not occur are neither removed nor kept
//   count     [2, U], total [2, U], total_sq [2, U]: added to; row 0 removed, row 1 kept
void cris_accumulate(const bool* keep, const double* drop, const bool* present, int64_t num_masks,
                     int64_t num_units, const ParallelFor& parallel_for, int64_t* count,
                     double* total, double* total_sq);

}  // namespace vtcd
