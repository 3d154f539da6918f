// SPDX-License-Identifier: MIT
#include "core/cris_accumulate.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <optional>

#include "checks.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A table [2, U] that is added to.
void check_sums(const char* argument, const Tensor& sums, ScalarType type, int64_t num_units) {
  VTCD_CHECK(sums.scalar_type() == type, "cris_accumulate: ", argument, " expected ",
             type == ScalarType::Long ? "int64" : "float64", ", got ", dtype_text(sums));
  VTCD_CHECK(sums.dim() == 2 && sums.size(0) == 2 && sums.size(1) == num_units,
             "cris_accumulate: ", argument, " expected [2, ", num_units, "], got ",
             shape_text(sums));
}

void check_present(const Tensor& present, int64_t num_units) {
  VTCD_CHECK(present.scalar_type() == ScalarType::Bool,
             "cris_accumulate: present expected bool, got ", dtype_text(present));
  VTCD_CHECK(present.dim() == 1 && present.size(0) == num_units,
             "cris_accumulate: present expected [", num_units, "], got ", shape_text(present));
}

void check_finite(const Tensor& drop) {
  const double* values = drop.const_data_ptr<double>();
  for (int64_t m = 0; m < drop.numel(); ++m)
    VTCD_CHECK(std::isfinite(values[m]),
               "cris_accumulate: drop expected finite numbers, got NaN or infinity");
}

// count int64 [2, U], total and total_sq float64 [2, U], added to; keep bool [M, U], drop float64
// [M], present bool [U].
void cris_accumulate_op(Tensor count, Tensor total, Tensor total_sq, const Tensor& keep,
                        const Tensor& drop, const std::optional<Tensor>& present) {
  VTCD_CHECK(keep.scalar_type() == ScalarType::Bool, "cris_accumulate: keep expected bool, got ",
             dtype_text(keep));
  VTCD_CHECK(keep.dim() == 2, "cris_accumulate: keep expected [M, U], got ", shape_text(keep));
  const int64_t num_masks = keep.size(0), num_units = keep.size(1);
  check_sums("count", count, ScalarType::Long, num_units);
  check_sums("total", total, ScalarType::Double, num_units);
  check_sums("total_sq", total_sq, ScalarType::Double, num_units);
  VTCD_CHECK(drop.scalar_type() == ScalarType::Double,
             "cris_accumulate: drop expected float64, got ", dtype_text(drop));
  VTCD_CHECK(drop.dim() == 1 && drop.size(0) == num_masks, "cris_accumulate: drop expected [",
             num_masks, "], one per mask, got ", shape_text(drop));
  if (present) check_present(*present, num_units);

  const Tensor masks = torch::stable::contiguous(keep), drops = torch::stable::contiguous(drop);
  check_finite(drops);
  std::optional<Tensor> occurs;
  if (present) occurs = torch::stable::contiguous(*present);
  Tensor counts = torch::stable::contiguous(count), totals = torch::stable::contiguous(total),
         squares = torch::stable::contiguous(total_sq);
  cris_accumulate(masks.const_data_ptr<bool>(), drops.const_data_ptr<double>(),
                  occurs ? occurs->const_data_ptr<bool>() : nullptr, num_masks, num_units,
                  torch_parallel_for, counts.mutable_data_ptr<int64_t>(),
                  totals.mutable_data_ptr<double>(), squares.mutable_data_ptr<double>());
  if (!count.is_contiguous()) torch::stable::copy_(count, counts);
  if (!total.is_contiguous()) torch::stable::copy_(total, totals);
  if (!total_sq.is_contiguous()) torch::stable::copy_(total_sq, squares);
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("cris_accumulate", TORCH_BOX(&vtcd::cris_accumulate_op));
}
