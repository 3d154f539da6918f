// SPDX-License-Identifier: MIT
// Tokens that no voxel is interpolated from: fewer voxels than tokens leave some out.
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"

namespace vtcd {

// Along each axis the tokens that voxels are interpolated from, with whatever weight, in order.
struct TokensInUse {
  explicit TokensInUse(const CellGrid& cells);

  bool all() const { return t.size() * h.size() * w.size() == static_cast<size_t>(count); }

  std::vector<int64_t> t, h, w;
  int64_t count;  // of all tokens
};

// The features [C, t, h, w] with the value of a neighbour in use for every token that is not: what
// such a token holds, 1e300 or NaN, then does not overflow in products that are taken of all.
template <typename Scalar>
std::vector<Scalar> fill_unused_tokens(const Scalar* features, int64_t num_channels, Shape3 grid,
                                       const TokensInUse& in_use);

}  // namespace vtcd
