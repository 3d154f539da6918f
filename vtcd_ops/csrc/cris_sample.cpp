// SPDX-License-Identifier: MIT
#include "cris_sample.h"

#include <torch/csrc/stable/device.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <optional>
#include <string>

#include "core/cris_sample.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::DeviceType;
using torch::headeronly::ScalarType;
using torch::stable::Device;
using torch::stable::Tensor;

// keep bool [M, U], on the CPU.
Tensor sample_on_cpu(const char* op, const MaskSampling& sampling) {
  Tensor keep = allocate_masks(op, sampling.num_units, sampling.num_masks, [&] {
    return torch::stable::empty({sampling.num_masks, sampling.num_units}, ScalarType::Bool);
  });
  return within_memory(op, "num_masks", keep, [&] {
    cris_sample(sampling.num_units, sampling.num_removed, sampling.seed, sampling.design,
                sampling.start, sampling.num_masks, torch_parallel_for,
                keep.mutable_data_ptr<bool>());
    return keep;
  });
}

const char* name_of(DeviceType type) {
  switch (type) {
    case DeviceType::Meta:
      return "meta";
    case DeviceType::MPS:
      return "mps";
    case DeviceType::XPU:
      return "xpu";
    default:
      return "another device";
  }
}

// -> keep bool [M, U], on the device of a tensor.
Tensor cris_sample_like_op(const Tensor& /*like*/, int64_t num_units, int64_t num_masks,
                           double ratio, int64_t seed, int64_t start, const std::string& design) {
  const char* op = "_cris_sample_like";
  return sample_on_cpu(op, check_cris_sample(op, num_units, num_masks, ratio, seed, start, design));
}

// The kernel for a device, asked for through the dispatcher by a tensor that is there.
Tensor sample_on(const Device& device, int64_t num_units, int64_t num_masks, double ratio,
                 int64_t seed, int64_t start, const std::string& design) {
  using torch::stable::detail::from;
  const Tensor like = torch::stable::empty({0}, ScalarType::Bool, std::nullopt, device);
  std::array<StableIValue, 7> stack{from(like), from(num_units), from(num_masks), from(ratio),
                                    from(seed), from(start),     from(design)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("vtcd::_cris_sample_like", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

// -> keep bool [M, U], on a device.
Tensor cris_sample_op(int64_t num_units, int64_t num_masks, double ratio, int64_t seed,
                      int64_t start, const std::string& design, std::optional<Device> device) {
  const char* op = "cris_sample";
  const MaskSampling sampling =
      check_cris_sample(op, num_units, num_masks, ratio, seed, start, design);
  if (!device || device->type() == DeviceType::CPU) return sample_on_cpu(op, sampling);
  VTCD_CHECK(device->type() == DeviceType::CUDA, op, ": device expected cpu or cuda, got ",
             name_of(device->type()));
  return allocate_masks(op, num_units, num_masks, [&] {
    return sample_on(*device, num_units, num_masks, ratio, seed, start, design);
  });
}

}  // namespace
}  // namespace vtcd

// No argument is a tensor, so no device could be dispatched on.
STABLE_TORCH_LIBRARY_IMPL(vtcd, CompositeExplicitAutograd, m) {
  m.impl("cris_sample", TORCH_BOX(&vtcd::cris_sample_op));
}

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("_cris_sample_like", TORCH_BOX(&vtcd::cris_sample_like_op));
}
