// SPDX-License-Identifier: MIT
// Integers of the host as tensors of the device.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <vector>

#include "cuda/binding.h"

namespace vtcd {

// A copy of integers of the host on the device of `like`; they may change afterwards.
inline torch::stable::Tensor upload(const std::vector<int64_t>& values,
                                    const torch::stable::Tensor& like, const OnDevice& on) {
  torch::stable::Tensor copy = torch::stable::new_empty(like, {static_cast<int64_t>(values.size())},
                                                        torch::headeronly::ScalarType::Long);
  if (!values.empty())
    copy_to_device(copy.mutable_data_ptr(), values.data(), values.size() * sizeof(int64_t),
                   on.stream());
  return copy;
}

}  // namespace vtcd
