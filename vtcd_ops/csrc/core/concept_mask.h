// SPDX-License-Identifier: MIT
// Multiplies the features of every token by what a table says of the token's unit.
#pragma once

#include <cstdint>

#include "core/parallel.h"

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
  const int32_t* units(int64_t b, int64_t head) const {
    const int64_t row = (assign_is_shared ? 0 : b) * num_heads + head;
    return assign + row * (num_tokens - num_prefix_tokens);
  }
};

// How many elements lie between neighbours along each axis of [B, A, N, C].
struct FeatureStrides {
  int64_t batch, head, token, channel;
};

// A table of bool selects: what it does not keep becomes 0. A floating table multiplies.
//
//   x     [B, A, N, C] with strides `from`
//   keep  [B, U]
//   out   [B, A, N, C] with strides `to`
template <typename Scalar, typename Factor>
void concept_mask(const MaskedTokens& tokens, const Scalar* x, const FeatureStrides& from,
                  const Factor* keep, const ParallelFor& parallel_for, Scalar* out,
                  const FeatureStrides& to);

// Both derivatives of a function of what concept_mask returned.
//
//   grad        [B, A, N, C] with strides `of_grad`
//   x           [B, A, N, C] with strides `from`
//   grad_x      [B, A, N, C] with strides `to`, out
//   grad_keep   [B, U], out
//
// Sums over channels and tokens are float64 and do not depend on how parallel_for splits its range.
template <typename Scalar>
void concept_mask_backward(const MaskedTokens& tokens, const Scalar* grad,
                           const FeatureStrides& of_grad, const Scalar* x,
                           const FeatureStrides& from, const Scalar* keep,
                           const ParallelFor& parallel_for, Scalar* grad_x,
                           const FeatureStrides& to, double* grad_keep);

}  // namespace vtcd
