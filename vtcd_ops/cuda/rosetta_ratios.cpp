// SPDX-License-Identifier: MIT
#include "cuda/rosetta_ratios.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <vector>

#include "csrc/rosetta.h"
#include "cuda/binding.h"
#include "cuda/transfer.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Says what is wrong at a place, see Tuples.
void tell_fault(const char* op, const SupportSet& set, const Tuples& tuples, int64_t place,
                const OnDevice& on) {
  const int64_t width = tuples.num_models + 1, row = place / width, model = place % width;
  if (model == tuples.num_models) return check_some_member(op, row, false);
  int32_t member = 0;
  copy_to_host(&member, tuples.members + row * tuples.num_models + model, sizeof(member),
               on.stream());
  check_member(op, set, model, member);
}

Tensor ratios_of(const char* op, const SupportSet& set, const Tensor& tuples, const OnDevice& on) {
  const Tensor dense = torch::stable::contiguous(tuples);
  const Tensor video_offsets = upload(set.videos, tuples, on);
  const Tensor model_offsets = upload(set.models, tuples, on);
  const std::vector<int64_t> shape{tuples.size(0), set.num_videos()};
  Tensor ratios = allocate(op, "tuples", shape, [&] {
    return torch::stable::new_empty(tuples, shape, ScalarType::Double);
  });
  Tensor members = torch::stable::empty_like(dense);
  Report<1> fault(tuples, on);
  const SupportRows rows{set.words, video_offsets.const_data_ptr<int64_t>(), set.num_videos(),
                         set.num_concepts()};
  const Tuples given{dense.const_data_ptr<int32_t>(), model_offsets.const_data_ptr<int64_t>(),
                     tuples.size(0), set.num_models()};
  rosetta_ratios(rows, given, members.mutable_data_ptr<int32_t>(),
                 ratios.mutable_data_ptr<double>(), fault.words(), on.stream());
  fault.read([&](const std::array<int64_t, 1>& found) {
    if (found[0] > 0) tell_fault(op, set, given, given.num_places() - found[0], on);
  });
  return ratios;
}

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1], tuples int32 [Q, D].
Tensor rosetta_ratios_op(const Tensor& supports, const Tensor& videos, const Tensor& models,
                         const Tensor& tuples) {
  const char* op = "rosetta_ratios";
  return on_device(op, "tuples", tuples, [&](const OnDevice& on) {
    check_not_recorded(op, on);
    const CheckedSupports checked = check_supports(op, supports, videos, models);
    check_tuples_tensor(op, checked.set, tuples, supports);
    return ratios_of(op, checked.set, tuples, on);
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("rosetta_ratios", TORCH_BOX(&vtcd::cuda::rosetta_ratios_op));
}
