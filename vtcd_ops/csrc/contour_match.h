// SPDX-License-Identifier: MIT
// What the CPU and the CUDA binding of contour_match share: the checks of its arguments.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

#include "checks.h"

namespace vtcd {

inline void check_mask(const char* argument, const torch::stable::Tensor& mask) {
  VTCD_CHECK(mask.scalar_type() == torch::headeronly::ScalarType::Bool, "contour_match: ", argument,
             " expected bool, got ", dtype_text(mask));
  VTCD_CHECK(mask.dim() == 3 && mask.size(1) > 0 && mask.size(2) > 0, "contour_match: ", argument,
             " expected [T, H, W] with pixels, got ", shape_text(mask));
}

// The words are those of check_contour_match in Python.
inline void check_contour_match(const torch::stable::Tensor& prediction,
                                const torch::stable::Tensor& truth, int64_t radius) {
  check_mask("prediction", prediction);
  check_mask("truth", truth);
  check_on_device("contour_match", "truth", truth, prediction);
  VTCD_CHECK(shape_text(prediction) == shape_text(truth), "contour_match: truth expected ",
             shape_text(prediction), ", as prediction, got ", shape_text(truth));
  VTCD_CHECK(radius >= 0, "contour_match: radius expected at least 0, got ", radius);
}

}  // namespace vtcd
