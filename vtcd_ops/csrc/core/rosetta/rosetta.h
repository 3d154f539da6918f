// SPDX-License-Identifier: MIT
// Rosetta concepts (equations 7 and 8 of the paper): tuples of concepts, one from each of several
// models, whose supports overlap in the same videos.
//
//   score of a tuple = mean over videos of |intersection of supports| / |union of supports|
//
// A video whose union is empty does not count; the score is 0 where none counts.
#pragma once

#include <cstdint>
#include <vector>

#include "core/formulas/rosetta.h"
#include "core/parallel.h"

namespace vtcd {

// The supports of all concepts of all models, one bit a voxel. The block of a video holds one row
// of words for each concept; the blocks follow each other, so a search reads them in order, and
// they need not fit into memory together (the words may be a mapped file).
struct SupportSet {
  const uint64_t* words;        // the block of video v begins at num_concepts() * videos[v]
  std::vector<int64_t> videos;  // [V + 1] a row of video v has videos[v + 1] - videos[v] words
  std::vector<int64_t> models;  // [D + 1] model m has the concepts [models[m], models[m + 1])

  int64_t num_videos() const { return static_cast<int64_t>(videos.size()) - 1; }
  int64_t num_models() const { return static_cast<int64_t>(models.size()) - 1; }
  int64_t num_concepts() const { return models.back(); }
  SupportRows rows() const { return {words, videos.data(), num_videos(), num_concepts()}; }
  int64_t num_words(int64_t video) const { return rows().num_words(video); }

  const uint64_t* row(int64_t video, int64_t concept_index) const {
    return rows().row(video, concept_index);
  }
};

// Tuples of `order` concepts each; the concepts of a tuple ascend and are of different models.
struct TupleList {
  int64_t order = 0;
  std::vector<int32_t> members;  // [Q, order]
  std::vector<double> scores;    // [Q]

  int64_t size() const { return static_cast<int64_t>(scores.size()); }
  const int32_t* tuple(int64_t index) const { return members.data() + index * order; }
};

// |intersection| / |union| of each tuple in each video, [Q, V]; NaN where the union is empty.
// members [Q, width]: concepts, -1 for none; at least one in a row.
void tuple_ratios(const SupportSet& supports, const int32_t* members, int64_t num_tuples,
                  int64_t width, double* ratios, const ParallelFor& parallel_for);

struct RosettaOptions {
  double least = 0.15;           // delta: the lowest score of interest, at least 0
  int64_t max_order = 2;         // models in a tuple, at most
  int64_t top = 0;               // above 0: only so many tuples of every order, the best
  int64_t max_tuples = 1000000;  // held at a time, of all orders together
};

struct RosettaResult {
  std::vector<TupleList> orders;  // 2, 3, ...; best first, then in the order of their members
  // 0, or, where more than max_tuples reach `least`, the lowest delta for which they are not too
  // many; only those that reach it are in the result.
  double complete_from = 0;
  int64_t incomplete_order = 0;  // with `top`: the first order of which too few were found, or 0
};

class TupleScorer;

// All tuples of 2 to max_order concepts whose score is above 0 and at least options.least.
//   models   [D + 1], as in SupportSet
RosettaResult find_rosetta(TupleScorer& scorer, const std::vector<int64_t>& models,
                           const RosettaOptions& options);

// The same for supports in the memory of the host.
RosettaResult find_rosetta(const SupportSet& supports, const RosettaOptions& options,
                           const ParallelFor& parallel_for);

// Where there is no voxel at all no tuple scores above 0, however many there are.
RosettaResult no_tuples(int64_t max_order);

}  // namespace vtcd
