// SPDX-License-Identifier: MIT
#include "core/cris_accumulate.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <cstdint>
#include <optional>

#include "cris_accumulate.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_drop(const Tensor& drop) {
  const double* values = drop.const_data_ptr<double>();
  for (int64_t m = 0; m < drop.numel(); ++m) check_finite_drop(std::isfinite(values[m]));
}

// count int64 [2, U], total and total_sq float64 [2, U], added to; keep bool [M, U], drop float64
// [M], present bool [U].
void cris_accumulate_op(Tensor count, Tensor total, Tensor total_sq, const Tensor& keep,
                        const Tensor& drop, const std::optional<Tensor>& present) {
  within_memory("cris_accumulate", "keep", keep, [&] {
    check_cris_accumulate(count, total, total_sq, keep, drop, present);
    const Tensor masks = torch::stable::contiguous(keep), drops = torch::stable::contiguous(drop);
    check_drop(drops);
    std::optional<Tensor> occurs;
    if (present) occurs = torch::stable::contiguous(*present);
    Tensor counts = torch::stable::contiguous(count), totals = torch::stable::contiguous(total),
           squares = torch::stable::contiguous(total_sq);
    cris_accumulate(masks.const_data_ptr<bool>(), drops.const_data_ptr<double>(),
                    occurs ? occurs->const_data_ptr<bool>() : nullptr, keep.size(0), keep.size(1),
                    torch_parallel_for, counts.mutable_data_ptr<int64_t>(),
                    totals.mutable_data_ptr<double>(), squares.mutable_data_ptr<double>());
    if (!count.is_contiguous()) torch::stable::copy_(count, counts);
    if (!total.is_contiguous()) torch::stable::copy_(total, totals);
    if (!total_sq.is_contiguous()) torch::stable::copy_(total_sq, squares);
  });
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("cris_accumulate", TORCH_BOX(&vtcd::cris_accumulate_op));
}
