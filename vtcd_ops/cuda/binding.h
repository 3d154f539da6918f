// SPDX-License-Identifier: MIT
// What the bindings of the CUDA kernels share: the device and stream that they run on, the tensors
// that they work in, and what a kernel reports of the values that it found.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <cstdint>
#include <optional>

#include "checks.h"
#include "cuda/stream.h"

// In libtorch_cuda, which a CPU-only torch lacks: the weak reference lets this library load there.
extern "C" __attribute__((weak)) AOTITorchError
aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);

namespace vtcd {

// Makes the device of a tensor the current one, and holds its current stream. Where the tensor is
// on no GPU and another argument is, it holds none: the checks of the operator tell of that.
class OnDevice {
 public:
  explicit OnDevice(const torch::stable::Tensor& tensor) {
    if (!tensor.is_cuda()) return;
    guard_.emplace(tensor.get_device_index());
    stream_ = current(tensor.get_device_index());
  }

  Stream stream() const { return stream_; }

  // Whether the work of the stream is recorded into a CUDA graph: then nothing can be read back.
  bool is_recorded() const { return guard_.has_value() && is_capturing(stream_); }

 private:
  static Stream current(int32_t device) {
    if (aoti_torch_get_current_cuda_stream == nullptr)
      throw CudaError("CUDA: this torch was built without it");
    void* handle = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &handle));
    return {handle};
  }

  std::optional<torch::stable::accelerator::DeviceGuard> guard_;
  Stream stream_{nullptr};
};

// Runs body(on), a binding with its checks, on the device of a tensor. Where the device is short of
// memory the argument that asks for so much is named, as on the CPU; what CUDA says otherwise is
// told after the name of the operator.
template <typename Body>
auto on_device(const char* op, const char* argument, const torch::stable::Tensor& tensor,
               const Body& body) {
  return within_memory(op, argument, tensor, [&] {
    try {
      return body(OnDevice(tensor));
    } catch (const CudaError& error) {
      throw CheckError(concatenate(op, ": ", error.what()));
    }
  });
}

// The offsets are read by the host, which a CUDA graph would not do again.
inline void check_not_recorded(const char* op, const OnDevice& on) {
  VTCD_CHECK(!on.is_recorded(), op,
             ": a CUDA graph cannot record it, since it reads the offsets on the host");
}

// Numbers of the device that kernels report by. They begin with 0, and kernels change them by
// atomic maxima only, whose order does not show.
template <size_t kCount>
class Report {
 public:
  // On the device of `like`.
  Report(const torch::stable::Tensor& like, const OnDevice& on)
      : stream_(on.stream()),
        words_(torch::stable::new_empty(like, {static_cast<int64_t>(kCount)},
                                        torch::headeronly::ScalarType::Long)) {
    fill_bytes(words_.mutable_data_ptr(), 0, kCount * sizeof(int64_t), stream_);
  }

  int64_t* words() { return words_.mutable_data_ptr<int64_t>(); }

  // Calls check(values) with what was found, after the kernels of the stream; not while they are
  // recorded into a CUDA graph, since nothing can be read back then.
  template <typename Check>
  void read(const Check& check) const {
    if (is_capturing(stream_)) return;
    std::array<int64_t, kCount> values;
    copy_to_host(values.data(), words_.const_data_ptr(), sizeof(values), stream_);
    check(values);
  }

 private:
  Stream stream_;
  torch::stable::Tensor words_;
};

}  // namespace vtcd
