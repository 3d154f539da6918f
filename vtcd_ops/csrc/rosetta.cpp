// SPDX-License-Identifier: MIT
#include "core/rosetta/rosetta.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "checks.h"
#include "parallel.h"
#include "ragged.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kMaxModels = 64;
constexpr int64_t kMaxConcepts = std::numeric_limits<int32_t>::max();  // tuples are int32

// Offsets int64 [n + 1]: from 0, never falling.
std::vector<int64_t> check_offsets(const char* op, const char* argument, const char* shape,
                                   const Tensor& offsets) {
  VTCD_CHECK(offsets.scalar_type() == ScalarType::Long, op, ": ", argument, " expected int64, got ",
             dtype_text(offsets));
  VTCD_CHECK(offsets.dim() == 1 && offsets.numel() > 0, op, ": ", argument, " expected ", shape,
             ", got ", shape_text(offsets));
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
  Tensor words;
  SupportSet set;
};

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1].
CheckedSupports check_supports(const char* op, const Tensor& supports, const Tensor& videos,
                               const Tensor& models) {
  VTCD_CHECK(supports.scalar_type() == ScalarType::Long, op, ": supports expected int64, got ",
             dtype_text(supports));
  VTCD_CHECK(supports.dim() == 1, op, ": supports expected [C * W], got ", shape_text(supports));
  const Tensor dense = torch::stable::contiguous(supports);
  SupportSet set{reinterpret_cast<const uint64_t*>(dense.const_data_ptr<int64_t>()),
                 check_offsets(op, "videos", "[V + 1]", videos),
                 check_offsets(op, "models", "[D + 1]", models)};
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

std::string score_text(double score) {
  std::string text = std::to_string(score);  // six digits
  text.erase(text.find_last_not_of('0') + 1);
  return text.back() == '.' ? text + "0" : text;
}

// Fewer tuples than there are would be no exact answer: say what would give one.
void check_complete(const RosettaResult& result, const RosettaOptions& options) {
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

// The tuples of all orders as [Q, D]: for each model a concept of it, counted from 0, or -1.
std::tuple<Tensor, Tensor> write_tuples(const Tensor& like, const SupportSet& set,
                                        const RosettaResult& result) {
  int64_t num_tuples = 0;
  for (const TupleList& list : result.orders) num_tuples += list.size();
  const int64_t num_models = set.num_models();
  Tensor tuples = allocate("rosetta_search", "max_tuples", {num_tuples, num_models}, [&] {
    return torch::stable::new_empty(like, {num_tuples, num_models}, ScalarType::Int);
  });
  Tensor scores = allocate("rosetta_search", "max_tuples", {num_tuples}, [&] {
    return torch::stable::new_empty(like, {num_tuples}, ScalarType::Double);
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

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1].
std::tuple<Tensor, Tensor> rosetta_search(const Tensor& supports, const Tensor& videos,
                                          const Tensor& models, double delta, int64_t max_order,
                                          int64_t top, int64_t max_tuples) {
  const char* op = "rosetta_search";
  VTCD_CHECK(max_order >= 2, op, ": max_order expected at least 2, got ", max_order);
  VTCD_CHECK(top >= 0, op, ": top expected at least 0, got ", top);
  VTCD_CHECK(max_tuples >= 1, op, ": max_tuples expected at least 1, got ", max_tuples);
  VTCD_CHECK(delta >= 0 && delta <= 1, op, ": delta expected 0 to 1, got ", delta);
  return within_memory(op, "supports", supports, [&] {
    const CheckedSupports checked = check_supports(op, supports, videos, models);
    const SupportSet& set = checked.set;
    const RosettaOptions options{delta, std::min(max_order, set.num_models()), top, max_tuples};
    const RosettaResult result = find_rosetta(set, options, torch_parallel_for);
    check_complete(result, options);
    return write_tuples(supports, set, result);
  });
}

// Concepts [Q, D], counted from 0 in each model, as concepts of the whole set; -1 stays -1.
std::vector<int32_t> check_tuples(const char* op, const SupportSet& set, const Tensor& tuples) {
  VTCD_CHECK(tuples.scalar_type() == ScalarType::Int, op, ": tuples expected int32, got ",
             dtype_text(tuples));
  VTCD_CHECK(tuples.dim() == 2 && tuples.size(1) == set.num_models(), op, ": tuples expected [Q, ",
             set.num_models(), "], one concept of each model or -1, got ", shape_text(tuples));
  const Tensor dense = torch::stable::contiguous(tuples);
  const int32_t* values = dense.const_data_ptr<int32_t>();
  std::vector<int32_t> members(values, values + dense.numel());
  const int64_t num_models = set.num_models();
  for (int64_t i = 0; i < tuples.size(0); ++i) {
    bool some = false;
    for (int64_t m = 0; m < num_models; ++m) {
      int32_t& member = members[i * num_models + m];
      const int64_t count = set.models[m + 1] - set.models[m];
      VTCD_CHECK(member >= -1 && member < count, op, ": tuples expected concepts of model ", m,
                 " from -1 to ", count - 1, ", got ", member);
      if (member < 0) continue;
      member += static_cast<int32_t>(set.models[m]);
      some = true;
    }
    VTCD_CHECK(some, op, ": tuples expected a concept in every row, got none in row ", i);
  }
  return members;
}

// supports int64 [C * W], videos int64 [V + 1], models int64 [D + 1], tuples int32 [Q, D].
Tensor rosetta_ratios(const Tensor& supports, const Tensor& videos, const Tensor& models,
                      const Tensor& tuples) {
  return within_memory("rosetta_ratios", "tuples", tuples, [&] {
    const CheckedSupports checked = check_supports("rosetta_ratios", supports, videos, models);
    const SupportSet& set = checked.set;
    const std::vector<int32_t> members = check_tuples("rosetta_ratios", set, tuples);
    const std::vector<int64_t> shape{tuples.size(0), set.num_videos()};
    Tensor ratios = allocate("rosetta_ratios", "tuples", shape, [&] {
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
