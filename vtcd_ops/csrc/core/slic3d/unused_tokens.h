// SPDX-License-Identifier: MIT
// Tokens that no voxel is interpolated from: fewer voxels than tokens leave some out.
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"

namespace vtcd {

// The features [C, t, h, w] with the value of a neighbour in use for every token that is not: what
// such a token holds, 1e300 or NaN, then neither counts nor overflows in products that are taken of
// all tokens. Empty where all are in use.
template <typename Scalar>
std::vector<Scalar> fill_unused_tokens(const Scalar* features, int64_t num_channels,
                                       const CellGrid& cells);

}  // namespace vtcd
