// SPDX-License-Identifier: MIT
#include "csrc/concept_mask.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

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
  const ScalarType type = numeric_type(x);
  const Tensor numbers = torch::stable::to(x, type);
  const Tensor table = torch::stable::contiguous(torch::stable::to(keep, type));
  const Tensor out = type == ScalarType::Double
                         ? masked<double, double>(tokens, numbers, table, outside, on)
                         : masked<float, float>(tokens, numbers, table, outside, on);
  return torch::stable::to(out, x.scalar_type());
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
    outside.read([&](const std::array<int64_t, 2>& found) {
      check_units(op, found[0] > 0 ? -found[0] : 0, found[1] - 1, tokens.num_units);
    });
    return out;
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("concept_mask", TORCH_BOX(&vtcd::cuda::concept_mask_op));
}
