// SPDX-License-Identifier: MIT
// What the CUDA binding of rosetta_ratios calls.
#pragma once

#include <cstdint>

#include "core/formulas/rosetta.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// Tuples of concepts, each counted from 0 in its model, or -1. Pointers of the device.
struct Tuples {
  const int32_t* members;  // [Q, D]
  const int64_t* models;   // [D + 1]
  int64_t count, num_models;

  // Places of what can be wrong in a row: its members, or, after them, that it has none.
  int64_t num_places() const { return count * (num_models + 1); }
};

// ratios [Q, V]. members [Q, D] is a workspace. The first of what is wrong raises fault[0] to the
// number of places minus its own; what is outside its model counts as -1.
void rosetta_ratios(const SupportRows& supports, const Tuples& tuples, int32_t* members,
                    double* ratios, int64_t* fault, Stream stream);

}  // namespace vtcd::cuda
