// SPDX-License-Identifier: MIT
// What a contour is, and how far a disk reaches.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// The pixels of the contour among those of a word, one bit each, from their own bits and those of
// their right, lower and lower right neighbours: those that differ from one of them; in the last
// row only the right one counts, in the last column only the lower one.
//   last_column   the bit of the pixel in the last column; 0 where the word has none
template <typename Word>
VTCD_HOST_DEVICE inline Word contour_bits(Word here, Word right, Word below, Word below_right,
                                          Word last_column, bool is_last_row) {
  if (is_last_row) return (here ^ right) & ~last_column;
  return (((here ^ right) | (here ^ below_right)) & ~last_column) | (here ^ below);
}

// How far a disk reaches in columns at a distance in rows, at most the radius:
// floor(sqrt(radius^2 - rows^2)), decided in integers. radius is below 2^31.
VTCD_HOST_DEVICE inline int64_t disk_reach(int64_t radius, int64_t rows) {
  const int64_t square = radius * radius - rows * rows;
  auto reach = static_cast<int64_t>(sqrt(static_cast<double>(square)));
  while (reach * reach > square) --reach;
  while ((reach + 1) * (reach + 1) <= square) ++reach;
  return reach;
}

}  // namespace vtcd
