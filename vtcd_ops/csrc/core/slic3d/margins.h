// SPDX-License-Identifier: MIT
// What a difference of two distances in single precision says about the exact one.
#pragma once

#include "core/slic3d/tokens.h"

namespace vtcd {

// How far differences of two distances of a round can be from the exact ones, with what rounding
// can do to the reference's: where they are larger, the reference's are of the same sign.
struct Margins {
  float corner;        // at a corner of a cell
  float voxel;         // at any voxel of a cell, interpolated from corners
  float row_rounding;  // on rows (box_rows.h), beside `corner`, for each unit of the differences

  // On the rows of a box for differences of corners up to `largest`. A little more, as this is
  // rounded itself.
  float on_rows(float largest) const { return (corner + largest * row_rounding) * 1.00001f; }
};

// A bound as a float that is no smaller.
float rounded_up(double bound);

// Margins of single precision distances, for distances in space up to `spatial` and `rounding` of
// two distances in double precision, here and in the reference.
Margins margins_of(const ScoreBound& score, double spatial, double rounding);

}  // namespace vtcd
