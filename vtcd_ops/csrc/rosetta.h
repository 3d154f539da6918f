// SPDX-License-Identifier: MIT
// What the CPU and the CUDA bindings of the Rosetta operators share: the checks of their arguments.
#pragma once

#include <torch/csrc/stable/device.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "core/rosetta/rosetta.h"
#include "ragged.h"

namespace vtcd {

inline constexpr int64_t kMaxModels = 64;
inline constexpr int64_t kMaxConcepts = std::numeric_limits<int32_t>::max();  // tuples are int32

// Offsets int64 [n + 1], without their values.
inline void check_offsets_tensor(const char* op, const char* argument, const char* shape,
                                 const torch::stable::Tensor& offsets) {
  VTCD_CHECK(offsets.scalar_type() == torch::headeronly::ScalarType::Long, op, ": ", argument,
             " expected int64, got ", dtype_text(offsets));
  VTCD_CHECK(offsets.dim() == 1 && offsets.numel() > 0, op, ": ", argument, " expected ", shape,
             ", got ", shape_text(offsets));
}

// Offsets: from 0, never falling.
inline std::vector<int64_t> check_offsets(const char* op, const char* argument,
                                          const torch::stable::Tensor& offsets) {
  std::vector<int64_t> values = read_integers(op, argument, offsets);
  VTCD_CHECK(values[0] == 0, op, ": ", argument, " expected to start with 0, got ", values[0]);
  for (size_t i = 1; i < values.size(); ++i) {
    VTCD_CHECK(values[i] >= values[i - 1], op, ": ", argument, " expected never to fall, got ",
               values[i], " after ", values[i - 1]);
  }
  return values;
}

// A SupportSet, and the tensor that its words are in.
struct CheckedSupports {
  torch::stable::Tensor words;
  SupportSet set;
};

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1]. The words are those of
// check_supports in vtcd_ops/ops/supports.py.
inline CheckedSupports check_supports(const char* op, const torch::stable::Tensor& supports,
                                      const torch::stable::Tensor& videos,
                                      const torch::stable::Tensor& models) {
  VTCD_CHECK(supports.scalar_type() == torch::headeronly::ScalarType::Long, op,
             ": supports expected int64, got ", dtype_text(supports));
  VTCD_CHECK(supports.dim() == 1, op, ": supports expected [C * W], got ", shape_text(supports));
  check_offsets_tensor(op, "videos", "[V + 1]", videos);
  check_offsets_tensor(op, "models", "[D + 1]", models);
  check_beside(op, "videos", videos, supports);
  check_beside(op, "models", models, supports);
  const torch::stable::Tensor dense = torch::stable::contiguous(supports);
  SupportSet set{reinterpret_cast<const uint64_t*>(dense.const_data_ptr<int64_t>()),
                 check_offsets(op, "videos", videos), check_offsets(op, "models", models)};
  VTCD_CHECK(set.num_models() <= kMaxModels, op, ": models expected at most ", kMaxModels, ", got ",
             set.num_models());
  VTCD_CHECK(set.num_concepts() <= kMaxConcepts, op, ": models expected at most ", kMaxConcepts,
             " concepts, got ", set.num_concepts());
  int64_t num_words = 0;
  const bool countable = !__builtin_mul_overflow(set.num_concepts(), set.videos.back(), &num_words);
  VTCD_CHECK(countable && supports.numel() == num_words, op, ": supports expected [",
             countable ? std::to_string(num_words) : "more than 2^63", "], ", set.num_concepts(),
             " concepts of ", set.videos.back(), " words, got ", shape_text(supports));
  return {dense, std::move(set)};
}

// tuples int32 [Q, D], without their values.
inline void check_tuples_tensor(const char* op, const SupportSet& set,
                                const torch::stable::Tensor& tuples,
                                const torch::stable::Tensor& supports) {
  VTCD_CHECK(tuples.scalar_type() == torch::headeronly::ScalarType::Int, op,
             ": tuples expected int32, got ", dtype_text(tuples));
  check_on_device(op, "tuples", tuples, supports);
  VTCD_CHECK(tuples.dim() == 2 && tuples.size(1) == set.num_models(), op, ": tuples expected [Q, ",
             set.num_models(), "], one concept of each model or -1, got ", shape_text(tuples));
}

// A concept of a tuple, counted from 0 in its model, or -1.
inline void check_member(const char* op, const SupportSet& set, int64_t model, int64_t member) {
  const int64_t count = set.models[model + 1] - set.models[model];
  VTCD_CHECK(member >= -1 && member < count, op, ": tuples expected concepts of model ", model,
             " from -1 to ", count - 1, ", got ", member);
}

inline void check_some_member(const char* op, int64_t row, bool some) {
  VTCD_CHECK(some, op, ": tuples expected a concept in every row, got none in row ", row);
}

inline void check_search(const char* op, double delta, int64_t max_order, int64_t top,
                         int64_t max_tuples) {
  VTCD_CHECK(max_order >= 2, op, ": max_order expected at least 2, got ", max_order);
  VTCD_CHECK(top >= 0, op, ": top expected at least 0, got ", top);
  VTCD_CHECK(max_tuples >= 1, op, ": max_tuples expected at least 1, got ", max_tuples);
  VTCD_CHECK(delta >= 0 && delta <= 1, op, ": delta expected 0 to 1, got ", delta);
}

inline std::string score_text(double score) {
  std::string text = std::to_string(score);  // six digits
  text.erase(text.find_last_not_of('0') + 1);
  return text.back() == '.' ? text + "0" : text;
}

// Fewer tuples than there are would be no exact answer: say what would give one.
inline void check_complete(const RosettaResult& result, const RosettaOptions& options) {
  if (options.top > 0) {
    VTCD_CHECK(result.incomplete_order == 0,
               "rosetta_search: max_tuples expected enough to find the ", options.top,
               " best tuples of order ", result.incomplete_order, ", got ", options.max_tuples);
    return;
  }
  if (result.complete_from <= options.least) return;
  const double rounded_up = std::ceil(result.complete_from * 1e6) / 1e6;
  VTCD_CHECK(rounded_up <= 1.0, "rosetta_search: max_tuples expected more, got ",
             options.max_tuples, ": so many tuples have a score of 1");
  VTCD_CHECK(false, "rosetta_search: delta expected at least ", score_text(rounded_up),
             ", for no more than ", options.max_tuples, " tuples (max_tuples), got ",
             score_text(options.least));
}

// The tuples of all orders as [Q, D], for each model a concept of it, counted from 0, or -1; and
// their scores [Q]. Both on the CPU.
inline std::pair<torch::stable::Tensor, torch::stable::Tensor> write_tuples(
    const SupportSet& set, const RosettaResult& result) {
  using torch::headeronly::ScalarType;
  int64_t num_tuples = 0;
  for (const TupleList& list : result.orders) num_tuples += list.size();
  const int64_t num_models = set.num_models();
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  const std::vector<int64_t> shape{num_tuples, num_models}, length{num_tuples};
  torch::stable::Tensor tuples = allocate("rosetta_search", "max_tuples", shape, [&] {
    return torch::stable::empty(shape, ScalarType::Int, std::nullopt, cpu);
  });
  torch::stable::Tensor scores = allocate("rosetta_search", "max_tuples", length, [&] {
    return torch::stable::empty(length, ScalarType::Double, std::nullopt, cpu);
  });
  int32_t* members = tuples.mutable_data_ptr<int32_t>();
  double* score = scores.mutable_data_ptr<double>();
  std::fill(members, members + num_tuples * num_models, -1);
  for (const TupleList& list : result.orders) {
    for (int64_t i = 0; i < list.size(); ++i, members += num_models) {
      for (int64_t k = 0; k < list.order; ++k) {
        const int32_t member = list.tuple(i)[k];
        const auto next = std::upper_bound(set.models.begin(), set.models.end(), member);
        const int64_t model = next - set.models.begin() - 1;
        members[model] = member - static_cast<int32_t>(set.models[model]);
      }
      *score++ = list.scores[i];
    }
  }
  return {tuples, scores};
}

}  // namespace vtcd
