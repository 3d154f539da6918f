// SPDX-License-Identifier: MIT
#include "contour_match.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "checks.h"
#include "core/contour_match.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// prediction and truth bool [T, H, W] ->
// counts int64 [T, 4].
Tensor contour_match_op(const Tensor& prediction, const Tensor& truth, int64_t radius) {
  check_contour_match(prediction, truth, radius);
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
