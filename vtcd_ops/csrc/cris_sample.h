// SPDX-License-Identifier: MIT
// What the CPU and the CUDA binding of cris_sample share: the checks of its arguments, in the words
// of vtcd_ops/ops/cris_sample.py.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <string>

#include "checks.h"
#include "core/formulas/cris_draw.h"

namespace vtcd {

struct MaskSampling {
  int64_t num_units, num_masks, num_removed, start;
  uint64_t seed;
  MaskDesign design;
};

inline MaskDesign check_design(const char* op, const std::string& design) {
  VTCD_CHECK(design == "simple" || design == "antithetic" || design == "balanced", op,
             ": design expected simple, antithetic or balanced, got ", design);
  return design == "simple"       ? MaskDesign::kSimple
         : design == "antithetic" ? MaskDesign::kAntithetic
                                  : MaskDesign::kBalanced;
}

inline MaskSampling check_cris_sample(const char* op, int64_t num_units, int64_t num_masks,
                                      double ratio, int64_t seed, int64_t start,
                                      const std::string& design) {
  constexpr int64_t kMostUnits = (int64_t{1} << 31) - 1;
  constexpr int64_t kLastStart = (int64_t{1} << 62) - 1;
  VTCD_CHECK(num_units >= 2 && num_units <= kMostUnits, op, ": num_units expected 2 to ",
             kMostUnits, ", got ", num_units);
  VTCD_CHECK(num_masks >= 0, op, ": num_masks expected at least 0, got ", num_masks);
  VTCD_CHECK(ratio > 0 && ratio < 1, op, ": ratio expected above 0 and below 1, got ", ratio);
  VTCD_CHECK(start >= 0 && start <= kLastStart, op, ": start expected 0 to ", kLastStart, ", got ",
             start);
  return {num_units,
          num_masks,
          removed_of(num_units, ratio),
          start,
          static_cast<uint64_t>(seed),
          check_design(op, design)};
}

// make() allocates keep, unless torch could not count its elements.
template <typename Make>
torch::stable::Tensor allocate_masks(const char* op, int64_t num_units, int64_t num_masks,
                                     const Make& make) {
  return allocate(op, "num_masks", {num_masks, num_units}, [&] {
    int64_t size = 0;  // torch does not count elements beyond 64 bits
    if (__builtin_mul_overflow(num_masks, num_units, &size)) throw std::bad_alloc();
    return make();
  });
}

}  // namespace vtcd
