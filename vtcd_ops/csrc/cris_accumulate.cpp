// SPDX-License-Identifier: MIT
#include "core/cris_accumulate.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

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

// Where the elements of a tensor begin, ascending.
std::vector<uintptr_t> element_addresses(const Tensor& tensor) {
  std::vector<uintptr_t> addresses{reinterpret_cast<uintptr_t>(tensor.const_data_ptr())};
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    const size_t count = addresses.size();
    const auto step = static_cast<uintptr_t>(tensor.stride(axis)) * tensor.element_size();
    for (int64_t i = 1; i < tensor.size(axis); ++i)
      for (size_t k = 0; k < count; ++k) addresses.push_back(addresses[k] + i * step);
  }
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

// The bytes from the first element of a tensor to its last one.
std::pair<uintptr_t, uintptr_t> extent(const Tensor& tensor) {
  uintptr_t first = reinterpret_cast<uintptr_t>(tensor.const_data_ptr()), last = first;
  for (int64_t axis = 0; axis < tensor.dim(); ++axis)
    last += (tensor.size(axis) - 1) * tensor.stride(axis) * tensor.element_size();
  return {first, last + tensor.element_size()};
}

bool share_memory(const Tensor& a, const Tensor& b) {
  if (a.numel() == 0 || b.numel() == 0) return false;
  const auto [a_begin, a_end] = extent(a);
  const auto [b_begin, b_end] = extent(b);
  if (a_end <= b_begin || b_end <= a_begin) return false;
  const std::vector<uintptr_t> in_a = element_addresses(a), in_b = element_addresses(b);
  for (size_t i = 0, k = 0; i < in_a.size() && k < in_b.size();) {
    const bool a_first = in_a[i] < in_b[k];
    if (a_first ? in_b[k] - in_a[i] < a.element_size() : in_a[i] - in_b[k] < b.element_size())
      return true;
    a_first ? ++i : ++k;
  }
  return false;
}

bool overlaps_itself(const Tensor& tensor) {
  if (tensor.is_contiguous() || tensor.numel() == 0) return false;
  const std::vector<uintptr_t> addresses = element_addresses(tensor);
  return std::adjacent_find(addresses.begin(), addresses.end(), [&](uintptr_t a, uintptr_t b) {
           return b - a < tensor.element_size();
         }) != addresses.end();
}

struct Argument {
  const char* name;
  const Tensor* tensor;
};

// Sums are added to element by element, so no two of their elements may be the same memory, nor one
// that is read.
void check_memory(const std::vector<Argument>& sums, const std::vector<Argument>& inputs) {
  std::vector<Argument> others;
  for (const Argument& written : sums) {
    VTCD_CHECK(!overlaps_itself(*written.tensor), "cris_accumulate: ", written.name,
               " expected elements that share no memory, got an expanded tensor");
    for (const Argument& other : others)
      VTCD_CHECK(!share_memory(*written.tensor, *other.tensor), "cris_accumulate: ", written.name,
                 " expected memory of its own, got that of ", other.name);
    others.push_back(written);
  }
  for (const Argument& read : inputs)
    for (const Argument& written : sums)
      VTCD_CHECK(!share_memory(*read.tensor, *written.tensor), "cris_accumulate: ", read.name,
                 " expected memory of its own, got that of ", written.name);
}

// Everything that can be wrong, before the first sum is changed.
void check_arguments(const Tensor& count, const Tensor& total, const Tensor& total_sq,
                     const Tensor& keep, const Tensor& drop, const std::optional<Tensor>& present) {
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
  std::vector<Argument> inputs{{"keep", &keep}, {"drop", &drop}};
  if (present) inputs.push_back({"present", &*present});
  check_memory({{"count", &count}, {"total", &total}, {"total_sq", &total_sq}}, inputs);
}

// count int64 [2, U], total and total_sq float64 [2, U], added to; keep bool [M, U], drop float64
// [M], present bool [U].
void cris_accumulate_op(Tensor count, Tensor total, Tensor total_sq, const Tensor& keep,
                        const Tensor& drop, const std::optional<Tensor>& present) {
  within_memory("cris_accumulate", "keep", keep, [&] {
    check_arguments(count, total, total_sq, keep, drop, present);
    const Tensor masks = torch::stable::contiguous(keep), drops = torch::stable::contiguous(drop);
    check_finite(drops);
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
