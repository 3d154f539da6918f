// SPDX-License-Identifier: MIT
#include "core/contour_match.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "checks.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_mask(const char* argument, const Tensor& mask) {
  VTCD_CHECK(mask.scalar_type() == ScalarType::Bool, "contour_match: ", argument,
             " expected bool, got ", dtype_text(mask));
  VTCD_CHECK(mask.dim() == 3 && mask.size(1) > 0 && mask.size(2) > 0, "contour_match: ", argument,
             " expected [T, H, W] with pixels, got ", shape_text(mask));
}

// The words are those of check_contour_match in Python. prediction and truth bool [T, H, W] ->
// counts int64 [T, 4].
Tensor contour_match_op(const Tensor& prediction, const Tensor& truth, int64_t radius) {
  check_mask("prediction", prediction);
  check_mask("truth", truth);
  VTCD_CHECK(shape_text(prediction) == shape_text(truth), "contour_match: truth expected ",
             shape_text(prediction), ", as prediction, got ", shape_text(truth));
  VTCD_CHECK(radius >= 0, "contour_match: radius expected at least 0, got ", radius);
  const int64_t num_frames = truth.size(0), height = truth.size(1), width = truth.size(2);
  return within_memory("contour_match", "prediction", prediction, [&] {
    const Tensor predicted = torch::stable::contiguous(prediction);
    const Tensor annotated = torch::stable::contiguous(truth);
    Tensor counts = torch::stable::new_empty(prediction, {num_frames, 4}, ScalarType::Long);
    contour_match(static_cast<const uint8_t*>(predicted.const_data_ptr()),
                  static_cast<const uint8_t*>(annotated.const_data_ptr()), num_frames, height,
                  width, radius, torch_parallel_for, counts.mutable_data_ptr<int64_t>());
    return counts;
  });
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("contour_match", TORCH_BOX(&vtcd::contour_match_op));
}
