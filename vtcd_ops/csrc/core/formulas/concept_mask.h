// SPDX-License-Identifier: MIT
// Which unit a token belongs to, what a table says of a unit, and in which order the products of
// its tokens are added up.
#pragma once

#include <cstdint>

#include "core/formulas/host_device.h"
#include "core/formulas/narrow_float.h"

namespace vtcd {

// Features [B, A, N, C] and the units of their tokens. Token n of head a is multiplied by
// keep[b, assign[b, a, n - P]]; prefix tokens, and tokens assigned to -1, are not.
struct MaskedTokens {
  int64_t batch, num_heads, num_tokens, num_channels;  // B, A, N (with prefix tokens), C
  int64_t num_prefix_tokens;                           // P
  const int32_t* assign;                               // [B or 1, A, N - P], -1 to num_units - 1
  bool assign_is_shared;                               // one assignment for the whole batch
  int64_t num_units;                                   // U

  // Units of the tokens of one head, without the prefix.
  VTCD_HOST_DEVICE const int32_t* units(int64_t b, int64_t head) const {
    const int64_t row = (assign_is_shared ? 0 : b) * num_heads + head;
    return assign + row * (num_tokens - num_prefix_tokens);
  }

  // The unit of a token, -1 for a prefix token.
  VTCD_HOST_DEVICE int64_t unit_of(int64_t b, int64_t head, int64_t token) const {
    const int64_t n = token - num_prefix_tokens;
    return n < 0 ? -1 : units(b, head)[n];
  }
};

// How many elements lie between neighbours along each axis of [B, A, N, C].
struct FeatureStrides {
  int64_t batch, head, token, channel;

  VTCD_HOST_DEVICE int64_t offset(int64_t b, int64_t h, int64_t n) const {
    return b * batch + h * head + n * token;
  }
};

// What a table says of a unit. Any byte but 0 is true: a tensor of bool may be a view of others.
template <typename Factor>
VTCD_HOST_DEVICE inline Factor factor_of(const Factor* keep, int64_t unit) {
  return keep[unit];
}
template <>
VTCD_HOST_DEVICE inline bool factor_of(const bool* keep, int64_t unit) {
  return reinterpret_cast<const unsigned char*>(keep)[unit] != 0;
}

// A table of bool selects, so that what it does not keep is 0 even where it was infinite; a
// floating table multiplies.
template <typename Scalar>
VTCD_HOST_DEVICE inline Scalar masked_value(Scalar value, bool keep) {
  return keep ? value : Scalar(0);
}
template <typename Scalar>
VTCD_HOST_DEVICE inline Scalar masked_value(Scalar value, Scalar keep) {
  return value * keep;
}
VTCD_HOST_DEVICE inline Half masked_value(Half value, float keep) {
  return round_to<Half>(to_number(value) * keep);
}
VTCD_HOST_DEVICE inline BFloat16 masked_value(BFloat16 value, float keep) {
  return round_to<BFloat16>(to_number(value) * keep);
}

// The derivative in keep[b, u] is a sum over the tokens of the unit of what channels give: float64,
// in an order that lets the parts be added at the same time.
//   The product of a token: over its channels, as core/formulas/ordered_sum.h adds up lanes.
//   The sum of a unit: its tokens among kGroupTokens neighbours of one head, without the prefix, in
//   order; the groups of a head in order; the heads in order. Each begins with 0.
inline constexpr int64_t kGroupTokens = 32;

}  // namespace vtcd
