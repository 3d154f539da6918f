// SPDX-License-Identifier: MIT
#include "csrc/concept_mask.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>

#include "cuda/binding.h"
#include "cuda/concept_mask.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename Scalar, typename Factor>
Tensor masked(const MaskedTokens& tokens, const Tensor& x, const Tensor& keep, Report<2>& outside,
              const OnDevice& on) {
  Tensor out = torch::stable::empty_like(x);
  concept_mask(tokens, static_cast<const Scalar*>(x.const_data_ptr()), strides_of(x),
               keep.const_data_ptr<Factor>(), static_cast<Scalar*>(out.mutable_data_ptr()),
               strides_of(out), outside.words(), on.stream());
  return out;
}

// keep bool [B, U]: what it does not keep becomes 0.
Tensor selected(const MaskedTokens& tokens, const Tensor& x, const Tensor& keep, Report<2>& outside,
                const OnDevice& on) {
  const Tensor table = torch::stable::contiguous(keep);
  switch (x.element_size()) {
    case 2:
      return masked<uint16_t, bool>(tokens, x, table, outside, on);
    case 4:
      return masked<uint32_t, bool>(tokens, x, table, outside, on);
    default:
      return masked<uint64_t, bool>(tokens, x, table, outside, on);
  }
}

// keep floating [B, U].
Tensor multiplied(const MaskedTokens& tokens, const Tensor& x, const Tensor& keep,
                  Report<2>& outside, const OnDevice& on) {
  const Tensor table = torch::stable::contiguous(torch::stable::to(keep, numeric_type(x)));
  switch (x.scalar_type()) {
    case ScalarType::Half:
      return masked<Half, float>(tokens, x, table, outside, on);
    case ScalarType::BFloat16:
      return masked<BFloat16, float>(tokens, x, table, outside, on);
    case ScalarType::Double:
      return masked<double, double>(tokens, x, table, outside, on);
    default:
      return masked<float, float>(tokens, x, table, outside, on);
  }
}

// Throws where a unit was outside, once all kernels have run.
void check_report(const char* op, const MaskedTokens& tokens, const Report<2>& outside) {
  outside.read([&](const std::array<int64_t, 2>& found) {
    check_units(op, found[0] > 0 ? -found[0] : 0, found[1] - 1, tokens.num_units);
  });
}

// x [B, A, N, C], assign int32 [B or 1, A, N - P], keep [B, U] -> [B, A, N, C], in the layout of x.
Tensor concept_mask_op(const Tensor& x, const Tensor& assign, const Tensor& keep,
                       int64_t num_prefix_tokens) {
  const char* op = "concept_mask";
  return on_device(op, "x", x, [&](const OnDevice& on) {
    const Tensor units = torch::stable::contiguous(assign);
    const MaskedTokens tokens = check_concept_mask(op, x, units, keep, num_prefix_tokens);
    Report<2> outside(x, on);
    const Tensor out = keep.scalar_type() == ScalarType::Bool
                           ? selected(tokens, x, keep, outside, on)
                           : multiplied(tokens, x, keep, outside, on);
    check_report(op, tokens, outside);
    return out;
  });
}

// The derivative in x, and products [B, A, N - P].
template <typename Scalar>
std::tuple<Tensor, Tensor> products_of(const MaskedTokens& tokens, const Tensor& grad,
                                       const Tensor& x, const Tensor& keep, Report<2>& outside,
                                       const OnDevice& on) {
  Tensor grad_x = torch::stable::empty_like(x);
  Tensor products = torch::stable::new_empty(
      x, {tokens.batch, tokens.num_heads, tokens.num_tokens - tokens.num_prefix_tokens},
      ScalarType::Double);
  concept_mask_backward(tokens, static_cast<const Scalar*>(grad.const_data_ptr()), strides_of(grad),
                        static_cast<const Scalar*>(x.const_data_ptr()), strides_of(x),
                        keep.const_data_ptr<Number<Scalar>>(),
                        static_cast<Scalar*>(grad_x.mutable_data_ptr()), strides_of(grad_x),
                        products.mutable_data_ptr<double>(), outside.words(), on.stream());
  return {grad_x, products};
}

// As many sequences at once as kWorkBytes hold the sums of the heads of.
template <typename Result>
void sums_of(const MaskedTokens& tokens, const Tensor& products, Tensor& grad_keep,
             const OnDevice& on) {
  constexpr int64_t kWorkBytes = int64_t{1} << 28;
  const int64_t a_sequence = std::max<int64_t>(1, tokens.num_heads * tokens.num_units);
  const int64_t at_once =
      std::clamp<int64_t>(kWorkBytes / 8 / a_sequence, 1, std::max<int64_t>(tokens.batch, 1));
  Tensor head_sums =
      torch::stable::new_empty(products, {at_once, tokens.num_heads, tokens.num_units});
  for (int64_t first = 0; first < tokens.batch; first += at_once)
    sum_by_unit(tokens, first, std::min(at_once, tokens.batch - first),
                products.const_data_ptr<double>(), head_sums.mutable_data_ptr<double>(),
                grad_keep.mutable_data_ptr<Result>(), on.stream());
}

// grad_x in the dtype of x, and products. Two dtypes meet in the one that is computed in.
std::tuple<Tensor, Tensor> first_part(const MaskedTokens& tokens, const Tensor& grad,
                                      const Tensor& x, const Tensor& keep, Report<2>& outside,
                                      const OnDevice& on) {
  const ScalarType type = numeric_type(x);
  const Tensor table = torch::stable::contiguous(torch::stable::to(keep, type));
  const bool same = grad.scalar_type() == x.scalar_type();
  if (same && x.scalar_type() == ScalarType::Half)
    return products_of<Half>(tokens, grad, x, table, outside, on);
  if (same && x.scalar_type() == ScalarType::BFloat16)
    return products_of<BFloat16>(tokens, grad, x, table, outside, on);
  const Tensor numbers = torch::stable::to(x, type), of_output = torch::stable::to(grad, type);
  auto [grad_x, products] =
      type == ScalarType::Double
          ? products_of<double>(tokens, of_output, numbers, table, outside, on)
          : products_of<float>(tokens, of_output, numbers, table, outside, on);
  return {torch::stable::to(grad_x, x.scalar_type()), products};
}

// grad and x [B, A, N, C], keep floating [B, U] -> grad_x [B, A, N, C] in the layout of x,
// grad_keep [B, U].
std::tuple<Tensor, Tensor> concept_mask_backward_op(const Tensor& grad, const Tensor& x,
                                                    const Tensor& assign, const Tensor& keep,
                                                    int64_t num_prefix_tokens) {
  const char* op = "_concept_mask_backward";
  return on_device(op, "x", x, [&](const OnDevice& on) -> std::tuple<Tensor, Tensor> {
    const Tensor units = torch::stable::contiguous(assign);
    const MaskedTokens tokens = check_concept_mask(op, x, units, keep, num_prefix_tokens);
    check_concept_mask_backward(op, grad, x, keep);
    Report<2> outside(x, on);
    const auto [grad_x, products] = first_part(tokens, grad, x, keep, outside, on);
    const bool single = keep.scalar_type() == ScalarType::Float;
    Tensor grad_keep = torch::stable::new_empty(keep, {tokens.batch, tokens.num_units},
                                                single ? ScalarType::Float : ScalarType::Double);
    single ? sums_of<float>(tokens, products, grad_keep, on)
           : sums_of<double>(tokens, products, grad_keep, on);
    check_report(op, tokens, outside);
    return {grad_x, torch::stable::to(grad_keep, keep.scalar_type())};
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("concept_mask", TORCH_BOX(&vtcd::cuda::concept_mask_op));
  m.impl("_concept_mask_backward", TORCH_BOX(&vtcd::cuda::concept_mask_backward_op));
}
