// SPDX-License-Identifier: MIT
// Arrays of the host as tensors of the device.
#pragma once

#include <torch/csrc/stable/device.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <vector>

namespace vtcd {

template <typename Number>
constexpr torch::headeronly::ScalarType scalar_type_of() {
  static_assert(sizeof(Number) == 4 || sizeof(Number) == 8);
  return sizeof(Number) == 4 ? torch::headeronly::ScalarType::Int
                             : torch::headeronly::ScalarType::Long;
}

// A copy of `count` integers on the device of `like`; they may change afterwards.
template <typename Number>
torch::stable::Tensor upload(const Number* values, int64_t count,
                             const torch::stable::Tensor& like) {
  const std::vector<int64_t> size{count}, stride{1};
  const torch::stable::Tensor host = torch::stable::from_blob(
      const_cast<Number*>(values), size, stride,
      torch::stable::Device(torch::headeronly::DeviceType::CPU), scalar_type_of<Number>());
  return torch::stable::to(host, like.device());
}

template <typename Number>
torch::stable::Tensor upload(const std::vector<Number>& values, const torch::stable::Tensor& like) {
  return upload(values.data(), static_cast<int64_t>(values.size()), like);
}

}  // namespace vtcd
