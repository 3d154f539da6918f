// SPDX-License-Identifier: MIT
// The best tuples of every order, by branch and bound.
#pragma once

#include <cstdint>
#include <vector>

#include "core/rosetta/rosetta.h"
#include "core/rosetta/scorer.h"

namespace vtcd {

// The best tuples of one order among those offered: those of the highest scores, and of equal ones
// the first in the order of their members.
class BestTuples {
 public:
  BestTuples(int64_t order, int64_t capacity, double least)
      : capacity_(capacity), least_(least), tuples_{order, {}, {}} {}

  int64_t size() const { return tuples_.size(); }
  bool full() const { return size() == capacity_; }

  // No tuple of a lower score is taken.
  double floor() const { return full() ? tuples_.scores[heap_.front()] : least_; }

  // Whether a tuple that begins with `prefix` and scores no more than `bound` could be taken.
  bool may_take(double bound, const int32_t* prefix, int64_t length) const;

  // Takes a tuple if it is one of the best.
  void offer(double score, const int32_t* members);

  // Best first.
  TupleList sorted() const;

 private:
  bool is_better(int64_t a, int64_t b) const;

  int64_t capacity_;
  double least_;
  TupleList tuples_;           // in no order
  std::vector<int64_t> heap_;  // of tuples_, the worst one in front
};

struct BestResult {
  std::vector<BestTuples> orders;  // 3, 4, ...
  int64_t incomplete_order = 0;  // the first order for which too many tuples had to be tried, or 0
};

// The `top` best tuples of orders 3 to max_order, of those whose pairs are all in the list.
//   pairs  best first
//   most   how many tuples are tried
BestResult find_best(TupleScorer& scorer, const std::vector<int64_t>& models,
                     const TupleList& pairs, const RosettaOptions& options, int64_t most);

}  // namespace vtcd
