// SPDX-License-Identifier: MIT
// What the voxels of a label weigh on the tokens, and in which order weights and products are added
// up: a plane of voxels after the other; in a plane a row after the other; in a row the runs of the
// label, cut where a cell ends. A mean adds up the tokens in lanes (core/formulas/ordered_sum.h).
#pragma once

#include <cstdint>

#include "core/formulas/interpolation.h"

namespace vtcd {

// Labels whose weights are held at once: bounds the memory whatever the number of labels.
inline constexpr int64_t kLabelBlock = 64;

// What is weighed on the lower and on the upper one of two tokens.
struct TokenPair {
  double on_lower, on_upper;
};

// The voxels [offset, offset + count) of a cell: the sum of an affine weight is closed.
VTCD_HOST_DEVICE inline TokenPair weigh_run(const AxisCell& cell, int64_t offset, int64_t count) {
  const int64_t offsets = count * offset + count * (count - 1) / 2;
  TokenPair pair{static_cast<double>(count), static_cast<double>(offsets)};
  cell.to_tokens(pair.on_lower, pair.on_upper);
  return pair;
}

// What a plane of voxels weighs goes to the tokens below and above it.
VTCD_HOST_DEVICE inline TokenPair weigh_plane(double of_plane, double weight) {
  const double on_upper = weight * of_plane;
  return {of_plane - on_upper, on_upper};
}

}  // namespace vtcd
