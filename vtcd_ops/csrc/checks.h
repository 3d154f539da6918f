// SPDX-License-Identifier: MIT
// Argument checks of the operators. Every message reads `operator: argument expected ..., got ...`,
// in the same words as vtcd_ops/ops/arguments.py.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

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

// Numbers as Python prints a list of them: [1, 0.5, 2].
template <typename Number>
std::string numbers_text(const std::vector<Number>& values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) text += concatenate(i > 0 ? ", " : "", values[i]);
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

// The device of a tensor as Python prints it: cpu, cuda:0.
inline std::string device_text(const torch::stable::Tensor& tensor) {
  if (tensor.is_cpu()) return "cpu";
  return concatenate(tensor.is_cuda() ? "cuda:" : "device ",
                     static_cast<int>(tensor.get_device_index()));
}

// What a kernel says itself about its arguments.
struct CheckError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What make() allocates, of the given shape. Where there is not the memory for it, the argument
// that asks for so much is named.
template <typename Make>
torch::stable::Tensor allocate(const char* op, const char* argument,
                               const std::vector<int64_t>& shape, const Make& make) {
  try {
    return make();
  } catch (const std::exception&) {  // torch's own words name neither operator nor argument
    throw CheckError(concatenate(op, ": ", argument,
                                 " expected an output that fits into memory, got ",
                                 numbers_text(shape)));
  }
}

// Runs body(), all of a kernel that comes after its checks. Whatever fails then is short of memory,
// and the argument that asks for so much is named.
template <typename Body>
auto within_memory(const char* op, const char* argument, const torch::stable::Tensor& tensor,
                   const Body& body) {
  try {
    return body();
  } catch (const CheckError&) {
    throw;
  } catch (const std::exception&) {  // std::bad_alloc, std::length_error, or torch's own
    throw CheckError(concatenate(
        op, ": ", argument, " expected a size that memory suffices for, got ", shape_text(tensor)));
  }
}

}  // namespace vtcd

// Throws the bare message, which the dispatcher hands to Python as a RuntimeError. torch's own
// STD_TORCH_CHECK would put function, file and line before it.
#define VTCD_CHECK(condition, ...)                                \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      throw ::vtcd::CheckError(::vtcd::concatenate(__VA_ARGS__)); \
  } while (false)

namespace vtcd {

// How often something is done: what would not end in a lifetime is refused before it begins.
inline void check_repeats(const char* op, const char* argument, int64_t count) {
  constexpr int64_t kMostRepeats = 1'000'000;
  VTCD_CHECK(count >= 1, op, ": ", argument, " expected at least 1, got ", count);
  VTCD_CHECK(count <= kMostRepeats, op, ": ", argument, " expected at most ", kMostRepeats,
             ", got ", count);
}

// Where the first tensor of an operator is, the others have to be.
inline void check_on_device(const char* op, const char* argument,
                            const torch::stable::Tensor& tensor,
                            const torch::stable::Tensor& first) {
  VTCD_CHECK(device_text(tensor) == device_text(first), op, ": ", argument, " expected on ",
             device_text(first), ", got ", device_text(tensor));
}

// A small tensor may be on the CPU as well.
inline void check_beside(const char* op, const char* argument, const torch::stable::Tensor& tensor,
                         const torch::stable::Tensor& first) {
  if (!tensor.is_cpu()) check_on_device(op, argument, tensor, first);
}

}  // namespace vtcd
