// SPDX-License-Identifier: MIT
// Problems that the tests of the kernels on masked tokens share.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "core/formulas/concept_mask.h"

namespace vtcd {

struct MaskProblem {
  int64_t batch, num_heads, num_tokens, num_channels, num_prefix_tokens, num_units;
  bool assign_is_shared;

  int64_t size() const { return batch * num_heads * num_tokens * num_channels; }
};

inline std::vector<int32_t> random_units(const MaskProblem& problem, std::mt19937& random) {
  const int64_t sequences = problem.assign_is_shared ? 1 : problem.batch;
  std::vector<int32_t> units(sequences * problem.num_heads *
                             (problem.num_tokens - problem.num_prefix_tokens));
  std::uniform_int_distribution<int32_t> any(-1, static_cast<int32_t>(problem.num_units) - 1);
  for (int32_t& unit : units) unit = any(random);
  return units;
}

inline MaskedTokens tokens_of(const MaskProblem& p, const std::vector<int32_t>& units) {
  return {p.batch,      p.num_heads,        p.num_tokens, p.num_channels, p.num_prefix_tokens,
          units.data(), p.assign_is_shared, p.num_units};
}

// [B, A, N, C], or the same as a view of [B, N, A, C].
inline FeatureStrides strides(const MaskProblem& p, bool transposed) {
  const int64_t row = p.num_channels;
  return transposed ? FeatureStrides{p.num_heads * p.num_tokens * row, row, p.num_heads * row, 1}
                    : FeatureStrides{p.num_heads * p.num_tokens * row, p.num_tokens * row, row, 1};
}

}  // namespace vtcd
