// SPDX-License-Identifier: MIT
// What the CUDA binding of concept_mask calls; the meaning is that of csrc/core/concept_mask.h.
#pragma once

#include <cstdint>

#include "core/formulas/concept_mask.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// The pointers are those of the device. A unit outside [-1, U) counts as -1; raised to the largest
// of them, each + 1 so that 0 says there is none: outside[0] by -1 - unit, outside[1] by unit.
template <typename Scalar, typename Factor>
void concept_mask(const MaskedTokens& tokens, const Scalar* x, const FeatureStrides& from,
                  const Factor* keep, Scalar* out, const FeatureStrides& to, int64_t* outside,
                  Stream stream);

// The derivative in x, and products [B, A, N - P], for sum_by_unit.
template <typename Scalar>
void concept_mask_backward(const MaskedTokens& tokens, const Scalar* grad,
                           const FeatureStrides& of_grad, const Scalar* x,
                           const FeatureStrides& from, const Number<Scalar>* keep, Scalar* grad_x,
                           const FeatureStrides& to, double* products, int64_t* outside,
                           Stream stream);

// The derivative in keep, grad_keep [B, U], of the sequences [first, first + num_sequences).
//   head_sums  [num_sequences, A, U], working memory
template <typename Result>
void sum_by_unit(const MaskedTokens& tokens, int64_t first_sequence, int64_t num_sequences,
                 const double* products, double* head_sums, Result* grad_keep, Stream stream);

}  // namespace vtcd::cuda
