// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/rosetta/rosetta.h"

namespace vtcd {

// Takes a slice of candidates [Q, order]; returns whether it wants more.
using CandidateSink = std::function<bool(const std::vector<int32_t>& candidates)>;

// The pairs [Q, 2] of a concept of [begin, end) and a later one of another model; tile by tile, so
// that few supports are needed at a time.
std::vector<int32_t> pair_candidates(const std::vector<int64_t>& models, int64_t begin,
                                     int64_t end);

// Cuts the concepts into ranges [begin, end) of about slice_size such pairs.
void pair_ranges(const std::vector<int64_t>& models, int64_t slice_size,
                 const std::function<bool(int64_t begin, int64_t end)>& sink);

// The tuples of one concept more all of whose sub-tuples are in the list, in slices. As no tuple
// scores higher than a sub-tuple, no other can reach the score that all of the list have reached.
// tuples: in ascending order of their members.
void joined_candidates(const TupleList& tuples, const std::vector<int64_t>& models,
                       int64_t slice_size, const CandidateSink& sink);

}  // namespace vtcd
