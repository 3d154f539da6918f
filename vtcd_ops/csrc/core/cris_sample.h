// SPDX-License-Identifier: MIT
// Random masks that remove a fixed share of all units: the sampling of CRIS (equation 6 of the
// paper).
#pragma once

#include <cstdint>

#include "core/parallel.h"

namespace vtcd {

// How masks depend on each other. Masks of different blocks are independent.
//   simple       a block is one mask.
//   antithetic   a block is two masks that remove the first and the last num_removed units of one
//                random permutation.
//   balanced     a block is kBalancedBlock masks in which the removal counts of any two units
//                differ by at most 1.
enum class MaskDesign { kSimple, kAntithetic, kBalanced };

inline constexpr int64_t kBalancedBlock = 20;

inline int64_t block_length(MaskDesign design) {
  return design == MaskDesign::kSimple ? 1 : design == MaskDesign::kAntithetic ? 2 : kBalancedBlock;
}

// Units that a mask removes: ratio * num_units rounded to the nearest integer, a half upwards, but
// at least 1 and at most num_units - 1.
int64_t removed_of(int64_t num_units, double ratio);

// Draws the masks start, start + 1, ...; mask i is a pure function of (num_units, num_removed,
// seed, design, i).
//
//   keep  [M, U], out: false where the mask removes the unit
void cris_sample(int64_t num_units, int64_t num_removed, uint64_t seed, MaskDesign design,
                 int64_t start, int64_t num_masks, const ParallelFor& parallel_for, bool* keep);

}  // namespace vtcd
