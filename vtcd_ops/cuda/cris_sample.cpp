// SPDX-License-Identifier: MIT
#include "csrc/cris_sample.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>

#include "cuda/binding.h"
#include "cuda/cris.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kWorkBytes = int64_t{1} << 28;

// keep bool [M, U]: the blocks of masks in parts that kWorkBytes suffice for.
void draw(const MaskSampling& sampling, Tensor& keep, const OnDevice& on) {
  if (sampling.num_masks == 0) return;
  const int64_t length = block_length(sampling.design);
  const int64_t first = sampling.start / length;
  const int64_t end = (sampling.start + sampling.num_masks - 1) / length + 1;
  const int64_t a_block = sampling.num_units * static_cast<int64_t>(sizeof(uint32_t));
  const int64_t at_once = std::clamp<int64_t>(kWorkBytes / a_block, 1, end - first);
  Tensor units = torch::stable::new_empty(keep, {at_once * sampling.num_units}, ScalarType::Int);
  const bool balanced = sampling.design == MaskDesign::kBalanced;
  Tensor removals = torch::stable::new_empty(keep, {balanced ? at_once * sampling.num_units : 0},
                                             ScalarType::Long);
  for (int64_t block = first; block < end; block += at_once) {
    const MaskBlocks blocks{
        sampling.num_units, sampling.num_removed, sampling.start, sampling.num_masks,
        sampling.seed,      sampling.design,      block,          std::min(at_once, end - block)};
    draw_blocks(blocks, static_cast<uint32_t*>(units.mutable_data_ptr()),
                balanced ? removals.mutable_data_ptr<int64_t>() : nullptr,
                keep.mutable_data_ptr<bool>(), on.stream());
  }
}

// -> keep bool [M, U], on the device of a tensor.
Tensor cris_sample_like_op(const Tensor& like, int64_t num_units, int64_t num_masks, double ratio,
                           int64_t seed, int64_t start, const std::string& design) {
  const char* op = "_cris_sample_like";
  const MaskSampling sampling =
      check_cris_sample(op, num_units, num_masks, ratio, seed, start, design);
  Tensor keep = allocate_masks(op, num_units, num_masks, [&] {
    return torch::stable::new_empty(like, {num_masks, num_units}, ScalarType::Bool);
  });
  return on_device(op, "num_masks", keep, [&](const OnDevice& on) {
    draw(sampling, keep, on);
    return keep;
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("_cris_sample_like", TORCH_BOX(&vtcd::cuda::cris_sample_like_op));
}
