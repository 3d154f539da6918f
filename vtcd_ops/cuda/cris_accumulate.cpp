// SPDX-License-Identifier: MIT
#include "csrc/cris_accumulate.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "cuda/binding.h"
#include "cuda/cris.h"
#include "cuda/finite.h"

namespace vtcd::cuda {
namespace {

using torch::stable::Tensor;

// count int64 [2, U], total and total_sq float64 [2, U], added to; keep bool [M, U], drop float64
// [M], present bool [U].
void cris_accumulate_op(Tensor count, Tensor total, Tensor total_sq, const Tensor& keep,
                        const Tensor& drop, const std::optional<Tensor>& present) {
  on_device("cris_accumulate", "keep", keep, [&](const OnDevice& on) {
    check_cris_accumulate(count, total, total_sq, keep, drop, present);
    const Tensor masks = torch::stable::contiguous(keep), drops = torch::stable::contiguous(drop);
    std::optional<Tensor> occurs;
    if (present) occurs = torch::stable::contiguous(*present);
    Tensor counts = torch::stable::contiguous(count), totals = torch::stable::contiguous(total),
           squares = torch::stable::contiguous(total_sq);
    Report<1> not_finite(drops, on);
    find_non_finite(drops.const_data_ptr<double>(), drops.numel(), not_finite.words(), on.stream());
    accumulate(masks.const_data_ptr<bool>(), drops.const_data_ptr<double>(),
               occurs ? occurs->const_data_ptr<bool>() : nullptr, keep.size(0), keep.size(1),
               not_finite.words(), counts.mutable_data_ptr<int64_t>(),
               totals.mutable_data_ptr<double>(), squares.mutable_data_ptr<double>(), on.stream());
    if (!count.is_contiguous()) torch::stable::copy_(count, counts);
    if (!total.is_contiguous()) torch::stable::copy_(total, totals);
    if (!total_sq.is_contiguous()) torch::stable::copy_(total_sq, squares);
    not_finite.read([](const auto& found) { check_finite_drop(found[0] == 0); });
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("cris_accumulate", TORCH_BOX(&vtcd::cuda::cris_accumulate_op));
}
