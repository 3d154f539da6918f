// SPDX-License-Identifier: MIT
// What the CPU and the CUDA binding of concept_mask share: the checks of its arguments.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

#include "core/formulas/concept_mask.h"
#include "volume.h"

namespace vtcd {

// The words are those of check_concept_mask in vtcd_ops/ops/concept_mask.py. The
// values of assign are not looked at. The result points into assign, which must be contiguous.
inline MaskedTokens check_concept_mask(const char* op, const torch::stable::Tensor& x,
                                       const torch::stable::Tensor& assign,
                                       const torch::stable::Tensor& keep,
                                       int64_t num_prefix_tokens) {
  using torch::headeronly::ScalarType;
  VTCD_CHECK(x.dim() == 4, op, ": x expected [B, A, N, C], got ", shape_text(x));
  VTCD_CHECK(is_floating(x), op, ": x expected a floating dtype, got ", dtype_text(x));
  const int64_t batch = x.size(0), num_heads = x.size(1), num_tokens = x.size(2);
  VTCD_CHECK(num_prefix_tokens >= 0 && num_prefix_tokens <= num_tokens, op,
             ": num_prefix_tokens expected 0 to ", num_tokens, ", got ", num_prefix_tokens);
  VTCD_CHECK(assign.scalar_type() == ScalarType::Int, op, ": assign expected int32, got ",
             dtype_text(assign));
  check_on_device(op, "assign", assign, x);
  const int64_t num_assigned = num_tokens - num_prefix_tokens;
  VTCD_CHECK(assign.dim() == 3 && (assign.size(0) == batch || assign.size(0) == 1) &&
                 assign.size(1) == num_heads && assign.size(2) == num_assigned,
             op, ": assign expected [", batch, " or 1, ", num_heads, ", ", num_assigned, "], got ",
             shape_text(assign));
  VTCD_CHECK(keep.scalar_type() == ScalarType::Bool || is_floating(keep), op,
             ": keep expected bool or a floating dtype, got ", dtype_text(keep));
  check_on_device(op, "keep", keep, x);
  VTCD_CHECK(keep.dim() == 2 && keep.size(0) == batch, op, ": keep expected [", batch, ", U], got ",
             shape_text(keep));
  return {batch,
          num_heads,
          num_tokens,
          x.size(3),
          num_prefix_tokens,
          assign.const_data_ptr<int32_t>(),
          assign.size(0) != batch,
          keep.size(1)};
}

inline FeatureStrides strides_of(const torch::stable::Tensor& x) {
  return {x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// The dtype that a floating mask is multiplied in.
inline torch::headeronly::ScalarType numeric_type(const torch::stable::Tensor& x) {
  using torch::headeronly::ScalarType;
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// The least and the largest unit in assign.
inline void check_units(const char* op, int64_t low, int64_t high, int64_t num_units) {
  VTCD_CHECK(low >= -1 && high < num_units, op, ": assign expected -1 to ", num_units - 1, ", got ",
             low < -1 ? low : high);
}

// grad [B, A, N, C] and a floating keep, beside what concept_mask was given.
inline void check_concept_mask_backward(const char* op, const torch::stable::Tensor& grad,
                                        const torch::stable::Tensor& x,
                                        const torch::stable::Tensor& keep) {
  VTCD_CHECK(is_floating(keep), op, ": keep expected a floating dtype, got ", dtype_text(keep));
  VTCD_CHECK(is_floating(grad), op, ": grad expected a floating dtype, got ", dtype_text(grad));
  check_on_device(op, "grad", grad, x);
  VTCD_CHECK(shape_text(grad) == shape_text(x), op, ": grad expected ", shape_text(x), ", got ",
             shape_text(grad));
}

}  // namespace vtcd
