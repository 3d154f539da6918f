// SPDX-License-Identifier: MIT
#include "csrc/contour_match.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "cuda/binding.h"
#include "cuda/contour_match.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// prediction and truth bool [T, H, W] -> counts int64 [T, 4].
Tensor contour_match_op(const Tensor& prediction, const Tensor& truth, int64_t radius) {
  return on_device("contour_match", "prediction", prediction, [&](const OnDevice& on) {
    check_contour_match(prediction, truth, radius);
    const ContourFrames frames{truth.size(0), truth.size(1), truth.size(2), radius};
    const Tensor predicted = torch::stable::contiguous(prediction);
    const Tensor annotated = torch::stable::contiguous(truth);
    Tensor counts = torch::stable::new_empty(prediction, {frames.num_frames, 4}, ScalarType::Long);
    Tensor contours =
        torch::stable::new_empty(prediction, {frames.contour_words()}, ScalarType::Int);
    Tensor reach = torch::stable::new_empty(prediction, {frames.num_reaches()}, ScalarType::Long);
    contour_match(frames, static_cast<const uint8_t*>(predicted.const_data_ptr()),
                  static_cast<const uint8_t*>(annotated.const_data_ptr()),
                  static_cast<uint32_t*>(contours.mutable_data_ptr()),
                  reach.mutable_data_ptr<int64_t>(), counts.mutable_data_ptr<int64_t>(),
                  on.stream());
    return counts;
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("contour_match", TORCH_BOX(&vtcd::cuda::contour_match_op));
}
