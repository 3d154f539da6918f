// SPDX-License-Identifier: MIT
// Argument checks of the operators. Every message reads `operator: argument expected ..., got ...`,
// in the same words as vtcd_ops/_checks.py.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace vtcd {

template <typename... Parts>
std::string concatenate(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

// The shape of a tensor as Python prints it: [2, 64, 8, 14, 14].
inline std::string shape_text(const torch::stable::Tensor& tensor) {
  std::string text = "[";
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(tensor.size(axis));
  }
  return text + "]";
}

// The dtype of a tensor as Python names it, without `torch.`: float32.
inline std::string dtype_text(const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Bool:
      return "bool";
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Char:
      return "int8";
    case ScalarType::Short:
      return "int16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::ComplexFloat:
      return "complex64";
    case ScalarType::ComplexDouble:
      return "complex128";
    default:
      return "another dtype";
  }
}

}  // namespace vtcd

// Throws the bare message, which the dispatcher hands to Python as a RuntimeError. torch's own
// STD_TORCH_CHECK would put function, file and line before it.
#define VTCD_CHECK(condition, ...)                                \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      throw std::runtime_error(::vtcd::concatenate(__VA_ARGS__)); \
  } while (false)
