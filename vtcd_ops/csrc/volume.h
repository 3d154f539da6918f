// SPDX-License-Identifier: MIT
// What the operators on interpolated features share: the checks of their arguments, in the same
// words as vtcd_ops/ops/volumes.py, and how they run over a batch.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "checks.h"
#include "core/interpolation.h"
#include "parallel.h"

namespace vtcd {

inline bool is_floating(const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  const ScalarType type = tensor.scalar_type();
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
         type == ScalarType::BFloat16;
}

// features [B, C, t, h, w], only B may be 0.
inline Shape3 check_features(const char* op, const torch::stable::Tensor& features) {
  VTCD_CHECK(features.dim() == 5, op, ": features expected [B, C, t, h, w], got ",
             shape_text(features));
  VTCD_CHECK(is_floating(features), op, ": features expected a floating dtype, got ",
             dtype_text(features));
  for (int64_t axis = 1; axis < 5; ++axis)
    VTCD_CHECK(features.size(axis) > 0, op, ": features expected channels and tokens, got ",
               shape_text(features));
  return {features.size(2), features.size(3), features.size(4)};
}

inline Interpolation check_interpolation(const char* op, const std::string& interpolation) {
  VTCD_CHECK(interpolation == "trilinear" || interpolation == "nearest", op,
             ": interpolation expected trilinear or nearest, got ", interpolation);
  return interpolation == "nearest" ? Interpolation::kNearest : Interpolation::kTrilinear;
}

// A contiguous tensor of the dtype that the numerics are done in: half and bfloat16 become float32.
inline torch::stable::Tensor for_numerics(const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  const bool narrow =
      tensor.scalar_type() == ScalarType::Half || tensor.scalar_type() == ScalarType::BFloat16;
  return torch::stable::contiguous(narrow ? torch::stable::to(tensor, ScalarType::Float) : tensor);
}

// Numbers as Python prints a list of them: [1, 0.5, 2].
template <typename Number>
std::string list_text(const std::vector<Number>& values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) text += concatenate(i > 0 ? ", " : "", values[i]);
  return text + "]";
}

// The dispatcher does not check how many numbers a list has.
inline void check_positive_triple(const char* op, const char* argument, const char* names,
                                  const std::vector<int64_t>& values) {
  bool positive = values.size() == 3;
  for (const int64_t value : values) positive &= value > 0;
  VTCD_CHECK(positive, op, ": ", argument, " expected positive numbers (", names, "), got ",
             list_text(values));
}

// Runs over the volumes of a batch: as many at once as there are threads, and those that are left,
// which are too few for all threads, one after another with all threads inside each.
inline void for_each_volume(int64_t batch,
                            const std::function<void(int64_t, const ParallelFor&)>& body) {
  const int64_t num_threads =
      std::max<int64_t>(static_cast<int64_t>(torch::stable::get_num_threads()), 1);
  const int64_t at_once = batch / num_threads * num_threads;
  torch_parallel_for(0, at_once, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(b, serial_for);
  });
  for (int64_t b = at_once; b < batch; ++b) body(b, torch_parallel_for);
}

}  // namespace vtcd
