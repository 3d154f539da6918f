// SPDX-License-Identifier: MIT
// What the CPU and the CUDA binding of cris_accumulate share: the checks of its arguments.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "checks.h"

namespace vtcd {

inline void check_finite_drop(bool is_finite) {
  VTCD_CHECK(is_finite, "cris_accumulate: drop expected finite numbers, got NaN or infinity");
}

// A table [2, U] that is added to.
inline void check_sums(const char* argument, const torch::stable::Tensor& sums,
                       torch::headeronly::ScalarType type, int64_t num_units) {
  VTCD_CHECK(sums.scalar_type() == type, "cris_accumulate: ", argument, " expected ",
             type == torch::headeronly::ScalarType::Long ? "int64" : "float64", ", got ",
             dtype_text(sums));
  VTCD_CHECK(sums.dim() == 2 && sums.size(0) == 2 && sums.size(1) == num_units,
             "cris_accumulate: ", argument, " expected [2, ", num_units, "], got ",
             shape_text(sums));
}

inline void check_present(const torch::stable::Tensor& present, int64_t num_units) {
  VTCD_CHECK(present.scalar_type() == torch::headeronly::ScalarType::Bool,
             "cris_accumulate: present expected bool, got ", dtype_text(present));
  VTCD_CHECK(present.dim() == 1 && present.size(0) == num_units,
             "cris_accumulate: present expected [", num_units, "], got ", shape_text(present));
}

// Where the elements of a tensor begin, ascending.
inline std::vector<uintptr_t> element_addresses(const torch::stable::Tensor& tensor) {
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
inline std::pair<uintptr_t, uintptr_t> extent(const torch::stable::Tensor& tensor) {
  uintptr_t first = reinterpret_cast<uintptr_t>(tensor.const_data_ptr()), last = first;
  for (int64_t axis = 0; axis < tensor.dim(); ++axis)
    last += (tensor.size(axis) - 1) * tensor.stride(axis) * tensor.element_size();
  return {first, last + tensor.element_size()};
}

inline bool share_memory(const torch::stable::Tensor& a, const torch::stable::Tensor& b) {
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

inline bool overlaps_itself(const torch::stable::Tensor& tensor) {
  if (tensor.is_contiguous() || tensor.numel() == 0) return false;
  const std::vector<uintptr_t> addresses = element_addresses(tensor);
  return std::adjacent_find(addresses.begin(), addresses.end(), [&](uintptr_t a, uintptr_t b) {
           return b - a < tensor.element_size();
         }) != addresses.end();
}

struct Argument {
  const char* name;
  const torch::stable::Tensor* tensor;
};

// Sums are added to element by element, so no two of their elements may be the same memory, nor one
// that is read.
inline void check_memory(const std::vector<Argument>& sums, const std::vector<Argument>& inputs) {
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
inline void check_cris_accumulate(const torch::stable::Tensor& count,
                                  const torch::stable::Tensor& total,
                                  const torch::stable::Tensor& total_sq,
                                  const torch::stable::Tensor& keep,
                                  const torch::stable::Tensor& drop,
                                  const std::optional<torch::stable::Tensor>& present) {
  std::vector<Argument> inputs{{"keep", &keep}, {"drop", &drop}};
  if (present) inputs.push_back({"present", &*present});
  check_on_device("cris_accumulate", "total", total, count);
  check_on_device("cris_accumulate", "total_sq", total_sq, count);
  for (const Argument& read : inputs)
    check_on_device("cris_accumulate", read.name, *read.tensor, count);
  VTCD_CHECK(keep.scalar_type() == torch::headeronly::ScalarType::Bool,
             "cris_accumulate: keep expected bool, got ", dtype_text(keep));
  VTCD_CHECK(keep.dim() == 2, "cris_accumulate: keep expected [M, U], got ", shape_text(keep));
  const int64_t num_masks = keep.size(0), num_units = keep.size(1);
  check_sums("count", count, torch::headeronly::ScalarType::Long, num_units);
  check_sums("total", total, torch::headeronly::ScalarType::Double, num_units);
  check_sums("total_sq", total_sq, torch::headeronly::ScalarType::Double, num_units);
  VTCD_CHECK(drop.scalar_type() == torch::headeronly::ScalarType::Double,
             "cris_accumulate: drop expected float64, got ", dtype_text(drop));
  VTCD_CHECK(drop.dim() == 1 && drop.size(0) == num_masks, "cris_accumulate: drop expected [",
             num_masks, "], one per mask, got ", shape_text(drop));
  if (present) check_present(*present, num_units);
  check_memory({{"count", &count}, {"total", &total}, {"total_sq", &total_sq}}, inputs);
}

}  // namespace vtcd
