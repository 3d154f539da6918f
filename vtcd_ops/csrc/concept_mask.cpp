// SPDX-License-Identifier: MIT
#include "core/concept_mask.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "concept_mask.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Checks of the arguments and of the units of assign, which must be contiguous.
MaskedTokens check_arguments(const char* op, const Tensor& x, const Tensor& assign,
                             const Tensor& keep, int64_t num_prefix_tokens) {
  const MaskedTokens tokens = check_concept_mask(op, x, assign, keep, num_prefix_tokens);
  const int32_t* units = assign.const_data_ptr<int32_t>();
  int32_t low = 0, high = -1;
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < assign.numel(); ++i) {
    low = std::min(low, units[i]);
    high = std::max(high, units[i]);
  }
  check_units(op, low, high, tokens.num_units);
  return tokens;
}

template <typename Scalar, typename Factor>
Tensor masked(const MaskedTokens& tokens, const Tensor& x, const Tensor& keep) {
  Tensor out = torch::stable::empty_like(x);
  concept_mask(tokens, static_cast<const Scalar*>(x.const_data_ptr()), strides_of(x),
               keep.const_data_ptr<Factor>(), torch_parallel_for,
               static_cast<Scalar*>(out.mutable_data_ptr()), strides_of(out));
  return out;
}

// keep bool [B, U]: what it does not keep becomes 0.
Tensor selected(const MaskedTokens& tokens, const Tensor& x, const Tensor& keep) {
  const Tensor table = torch::stable::contiguous(keep);
  switch (x.element_size()) {
    case 2:
      return masked<uint16_t, bool>(tokens, x, table);
    case 4:
      return masked<uint32_t, bool>(tokens, x, table);
    default:
      return masked<uint64_t, bool>(tokens, x, table);
  }
}

// keep floating [B, U].
Tensor multiplied(const MaskedTokens& tokens, const Tensor& x, const Tensor& keep) {
  const ScalarType type = numeric_type(x);
  const Tensor numbers = torch::stable::to(x, type);
  const Tensor table = torch::stable::contiguous(torch::stable::to(keep, type));
  const Tensor out = type == ScalarType::Double ? masked<double, double>(tokens, numbers, table)
                                                : masked<float, float>(tokens, numbers, table);
  return torch::stable::to(out, x.scalar_type());
}

// x [B, A, N, C], assign int32 [B or 1, A, N - P], keep [B, U] -> [B, A, N, C], in the layout of x.
Tensor concept_mask_op(const Tensor& x, const Tensor& assign, const Tensor& keep,
                       int64_t num_prefix_tokens) {
  return within_memory("concept_mask", "x", x, [&] {
    const Tensor units = torch::stable::contiguous(assign);
    const MaskedTokens tokens = check_arguments("concept_mask", x, units, keep, num_prefix_tokens);
    return keep.scalar_type() == ScalarType::Bool ? selected(tokens, x, keep)
                                                  : multiplied(tokens, x, keep);
  });
}

template <typename Scalar>
std::tuple<Tensor, Tensor> both_gradients(const MaskedTokens& tokens, const Tensor& grad,
                                          const Tensor& x, const Tensor& keep) {
  Tensor grad_x = torch::stable::empty_like(x);
  Tensor grad_keep =
      torch::stable::new_empty(keep, {tokens.batch, tokens.num_units}, ScalarType::Double);
  concept_mask_backward(tokens, grad.const_data_ptr<Scalar>(), strides_of(grad),
                        x.const_data_ptr<Scalar>(), strides_of(x), keep.const_data_ptr<Scalar>(),
                        torch_parallel_for, grad_x.mutable_data_ptr<Scalar>(), strides_of(grad_x),
                        grad_keep.mutable_data_ptr<double>());
  return {grad_x, grad_keep};
}

// grad and x [B, A, N, C], keep floating [B, U] -> grad_x [B, A, N, C] in the layout of x,
// grad_keep [B, U]. Private: called by the derivative of concept_mask, with what that was given.
std::tuple<Tensor, Tensor> concept_mask_backward_op(const Tensor& grad, const Tensor& x,
                                                    const Tensor& assign, const Tensor& keep,
                                                    int64_t num_prefix_tokens) {
  const char* op = "_concept_mask_backward";
  return within_memory(op, "x", x, [&]() -> std::tuple<Tensor, Tensor> {
    const Tensor units = torch::stable::contiguous(assign);
    const MaskedTokens tokens = check_arguments(op, x, units, keep, num_prefix_tokens);
    check_concept_mask_backward(op, grad, x, keep);
    const ScalarType type = numeric_type(x);
    const Tensor numbers = torch::stable::to(x, type), of_output = torch::stable::to(grad, type);
    const Tensor table = torch::stable::contiguous(torch::stable::to(keep, type));
    auto [grad_x, grad_keep] = type == ScalarType::Double
                                   ? both_gradients<double>(tokens, of_output, numbers, table)
                                   : both_gradients<float>(tokens, of_output, numbers, table);
    return {torch::stable::to(grad_x, x.scalar_type()),
            torch::stable::to(grad_keep, keep.scalar_type())};
  });
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("concept_mask", TORCH_BOX(&vtcd::concept_mask_op));
  m.impl("_concept_mask_backward", TORCH_BOX(&vtcd::concept_mask_backward_op));
}
