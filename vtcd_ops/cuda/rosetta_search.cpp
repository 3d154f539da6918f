// SPDX-License-Identifier: MIT
#include "cuda/rosetta_search.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "csrc/rosetta.h"
#include "cuda/binding.h"
#include "cuda/rosetta_scorer.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Tensors of the device of `like`, which grow.
DeviceMemory memory_of(const Tensor& like) {
  return [like, tensors = std::map<int, Tensor>()](int number, size_t bytes) mutable {
    auto found = tensors.find(number);
    if (found != tensors.end() && static_cast<size_t>(found->second.numel()) < bytes) {
      tensors.erase(found);  // freed before more is taken; its work is earlier in the same stream
      found = tensors.end();
    }
    if (found == tensors.end()) {
      const auto length = static_cast<int64_t>(std::max<size_t>(bytes, 1));
      found =
          tensors.emplace(number, torch::stable::new_empty(like, {length}, ScalarType::Byte)).first;
    }
    return found->second.mutable_data_ptr();
  };
}

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1].
std::tuple<Tensor, Tensor> rosetta_search_op(const Tensor& supports, const Tensor& videos,
                                             const Tensor& models, double delta, int64_t max_order,
                                             int64_t top, int64_t max_tuples) {
  const char* op = "rosetta_search";
  check_search(op, delta, max_order, top, max_tuples);
  return on_device(op, "supports", supports, [&](const OnDevice& on) {
    check_not_recorded(op, on);
    const CheckedSupports checked = check_supports(op, supports, videos, models);
    const SupportSet& set = checked.set;
    const RosettaOptions options{delta, std::min(max_order, set.num_models()), top, max_tuples};
    RosettaResult result = no_tuples(options.max_order);
    if (set.videos.back() > 0) {
      DeviceScorer scorer(set, memory_of(supports), on.stream());
      result = find_rosetta(scorer, set.models, options);
    }
    check_complete(result, options);
    const auto [tuples, scores] = write_tuples(set, result);
    return std::tuple(torch::stable::to(tuples, supports.device()),
                      torch::stable::to(scores, supports.device()));
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("rosetta_search", TORCH_BOX(&vtcd::cuda::rosetta_search_op));
}
