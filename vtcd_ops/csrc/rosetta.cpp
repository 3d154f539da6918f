// SPDX-License-Identifier: MIT
#include "rosetta.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "checks.h"
#include "core/rosetta/rosetta.h"
#include "parallel.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1].
std::tuple<Tensor, Tensor> rosetta_search(const Tensor& supports, const Tensor& videos,
                                          const Tensor& models, double delta, int64_t max_order,
                                          int64_t top, int64_t max_tuples) {
  const char* op = "rosetta_search";
  check_search(op, delta, max_order, top, max_tuples);
  return within_memory(op, "supports", supports, [&] {
    const CheckedSupports checked = check_supports(op, supports, videos, models);
    const SupportSet& set = checked.set;
    const RosettaOptions options{delta, std::min(max_order, set.num_models()), top, max_tuples};
    const RosettaResult result = find_rosetta(set, options, torch_parallel_for);
    check_complete(result, options);
    const auto [tuples, scores] = write_tuples(set, result);
    return std::tuple(tuples, scores);
  });
}

// Concepts [Q, D], counted from 0 in each model, as concepts of the whole set; -1 stays -1.
std::vector<int32_t> check_tuples(const char* op, const SupportSet& set, const Tensor& tuples) {
  const Tensor dense = torch::stable::contiguous(tuples);
  const int32_t* values = dense.const_data_ptr<int32_t>();
  std::vector<int32_t> members(values, values + dense.numel());
  const int64_t num_models = set.num_models();
  for (int64_t i = 0; i < tuples.size(0); ++i) {
    bool some = false;
    for (int64_t m = 0; m < num_models; ++m) {
      int32_t& member = members[i * num_models + m];
      check_member(op, set, m, member);
      if (member < 0) continue;
      member += static_cast<int32_t>(set.models[m]);
      some = true;
    }
    check_some_member(op, i, some);
  }
  return members;
}

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1], tuples int32 [Q, D].
Tensor rosetta_ratios(const Tensor& supports, const Tensor& videos, const Tensor& models,
                      const Tensor& tuples) {
  const char* op = "rosetta_ratios";
  return within_memory(op, "tuples", tuples, [&] {
    const CheckedSupports checked = check_supports(op, supports, videos, models);
    const SupportSet& set = checked.set;
    check_tuples_tensor(op, set, tuples, supports);
    const std::vector<int32_t> members = check_tuples(op, set, tuples);
    const std::vector<int64_t> shape{tuples.size(0), set.num_videos()};
    Tensor ratios = allocate(op, "tuples", shape, [&] {
      return torch::stable::new_empty(supports, shape, ScalarType::Double);
    });
    tuple_ratios(set, members.data(), tuples.size(0), set.num_models(),
                 ratios.mutable_data_ptr<double>(), torch_parallel_for);
    return ratios;
  });
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("rosetta_search", TORCH_BOX(&vtcd::rosetta_search));
  m.impl("rosetta_ratios", TORCH_BOX(&vtcd::rosetta_ratios));
}
