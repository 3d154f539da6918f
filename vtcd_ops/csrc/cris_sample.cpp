// SPDX-License-Identifier: MIT
#include "core/cris_sample.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <new>
#include <string>

#include "checks.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kMostUnits = (int64_t{1} << 31) - 1;
constexpr int64_t kLastStart = (int64_t{1} << 62) - 1;

MaskDesign check_design(const std::string& design) {
  VTCD_CHECK(design == "simple" || design == "antithetic" || design == "balanced",
             "cris_sample: design expected simple, antithetic or balanced, got ", design);
  return design == "simple"       ? MaskDesign::kSimple
         : design == "antithetic" ? MaskDesign::kAntithetic
                                  : MaskDesign::kBalanced;
}

// -> keep bool [M, U].
Tensor cris_sample_op(int64_t num_units, int64_t num_masks, double ratio, int64_t seed,
                      int64_t start, const std::string& design) {
  VTCD_CHECK(num_units >= 2 && num_units <= kMostUnits, "cris_sample: num_units expected 2 to ",
             kMostUnits, ", got ", num_units);
  VTCD_CHECK(num_masks >= 0, "cris_sample: num_masks expected at least 0, got ", num_masks);
  VTCD_CHECK(ratio > 0 && ratio < 1, "cris_sample: ratio expected above 0 and below 1, got ",
             ratio);
  VTCD_CHECK(start >= 0 && start <= kLastStart, "cris_sample: start expected 0 to ", kLastStart,
             ", got ", start);
  const MaskDesign mask_design = check_design(design);
  int64_t size = 0;  // torch does not count elements beyond 64 bits
  const bool countable = !__builtin_mul_overflow(num_masks, num_units, &size);
  Tensor keep = allocate("cris_sample", "num_masks", {num_masks, num_units}, [&] {
    if (!countable) throw std::bad_alloc();
    return torch::stable::empty({num_masks, num_units}, ScalarType::Bool);
  });
  return within_memory("cris_sample", "num_masks", keep, [&] {
    cris_sample(num_units, removed_of(num_units, ratio), static_cast<uint64_t>(seed), mask_design,
                start, num_masks, torch_parallel_for, keep.mutable_data_ptr<bool>());
    return keep;
  });
}

}  // namespace
}  // namespace vtcd

// No argument is a tensor, so no device could be dispatched on; masks are drawn on the CPU.
STABLE_TORCH_LIBRARY_IMPL(vtcd, CompositeExplicitAutograd, m) {
  m.impl("cris_sample", TORCH_BOX(&vtcd::cris_sample_op));
}
