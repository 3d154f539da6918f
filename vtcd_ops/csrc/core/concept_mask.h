// SPDX-License-Identifier: MIT
// Multiplies the features of every token by what a table says of the token's unit.
#pragma once

#include <cstdint>

#include "core/formulas/concept_mask.h"
#include "core/parallel.h"

namespace vtcd {

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
