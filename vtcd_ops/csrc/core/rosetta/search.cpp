// SPDX-License-Identifier: MIT
// The search, order by order: pairs, then the triples whose pairs all remain, and so on. See
// docs/rosetta.md for why nothing is missed.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "core/rosetta/best.h"
#include "core/rosetta/candidates.h"
#include "core/rosetta/rosetta.h"
#include "core/rosetta/scorer.h"

namespace vtcd {
namespace {

// Candidates that are scored in one pass over the videos: 4 M take some 150 MB.
constexpr int64_t kSlice = int64_t{1} << 22;

// As many fit into no memory; twice the number is no overflow.
constexpr int64_t kMostTuples = int64_t{1} << 48;

// How many tuples a search for the best ones tries, at most, for each that may be held.
constexpr int64_t kTriedATupleHeld = 2048;

// Keeps the tuples at the given indices of a list, in their order.
void gather(TupleList& list, const std::vector<int64_t>& indices) {
  TupleList kept{list.order, {}, {}};
  kept.members.reserve(indices.size() * list.order);
  kept.scores.reserve(indices.size());
  for (const int64_t i : indices) {
    kept.members.insert(kept.members.end(), list.tuple(i), list.tuple(i) + list.order);
    kept.scores.push_back(list.scores[i]);
  }
  list = std::move(kept);
}

void sort_by(TupleList& list, const std::function<bool(int64_t, int64_t)>& before) {
  std::vector<int64_t> indices(list.size());
  std::iota(indices.begin(), indices.end(), 0);
  std::sort(indices.begin(), indices.end(), before);
  gather(list, indices);
}

bool members_before(const TupleList& list, int64_t a, int64_t b) {
  return std::lexicographical_compare(list.tuple(a), list.tuple(a) + list.order, list.tuple(b),
                                      list.tuple(b) + list.order);
}

void sort_by_members(TupleList& list) {
  sort_by(list, [&](int64_t a, int64_t b) { return members_before(list, a, b); });
}

void sort_by_score(TupleList& list) {
  sort_by(list, [&](int64_t a, int64_t b) {
    if (list.scores[a] != list.scores[b]) return list.scores[a] > list.scores[b];
    return members_before(list, a, b);
  });
}

void keep_first(TupleList& list, int64_t count) {
  if (list.size() <= count) return;
  list.members.resize(count * list.order);
  list.scores.resize(count);
}

void drop_below(TupleList& list, double least) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < list.size(); ++i) {
    if (list.scores[i] >= least) indices.push_back(i);
  }
  if (static_cast<int64_t>(indices.size()) < list.size()) gather(list, indices);
}

// The tuples of orders 2, 3, ... that reach `least`, which rises as soon as more than max_tuples
// do, to the lowest value at which they no longer do.
class Levels {
 public:
  Levels(TupleScorer& scorer, const std::vector<int64_t>& models, double least, int64_t max_tuples)
      : scorer_(scorer), models_(models), least_(least), max_tuples_(max_tuples) {}

  double least() const { return least_; }
  std::vector<TupleList>& lists() { return lists_; }

  void find_pairs() {
    lists_.push_back({2, {}, {}});
    pair_ranges(models_, kSlice, [&](int64_t begin, int64_t end) {
      return add(scorer_.score_pairs(begin, end, least_));
    });
    finish_level();
  }

  void find_next() {
    const TupleList last = lists_.back();
    lists_.push_back({last.order + 1, {}, {}});
    joined_candidates(last, models_, kSlice, [&](const auto& slice) {
      return add(scorer_.score_tuples(slice, last.order + 1, least_));
    });
    finish_level();
  }

 private:
  // Returns whether more can still be found.
  bool add(const TupleList& found) {
    TupleList& list = lists_.back();
    for (int64_t i = 0; i < found.size(); ++i) {
      if (found.scores[i] < least_) continue;
      list.members.insert(list.members.end(), found.tuple(i), found.tuple(i) + list.order);
      list.scores.push_back(found.scores[i]);
      if (num_tuples() > 2 * max_tuples_) raise_least();
    }
    return least_ <= 1;
  }

  void finish_level() {
    raise_least();
    sort_by_members(lists_.back());
  }

  int64_t num_tuples() const {
    int64_t sum = 0;
    for (const TupleList& list : lists_) sum += list.size();
    return sum;
  }

  // The score of the best tuple that is one too many is the highest that must go. All that are
  // dropped score no more, and so does every tuple that would have grown from them.
  void raise_least() {
    if (num_tuples() <= max_tuples_) return;
    std::vector<double> scores;
    for (const TupleList& list : lists_) {
      scores.insert(scores.end(), list.scores.begin(), list.scores.end());
    }
    std::nth_element(scores.begin(), scores.begin() + max_tuples_, scores.end(), std::greater<>());
    least_ = std::nextafter(scores[max_tuples_], std::numeric_limits<double>::infinity());
    for (TupleList& list : lists_) drop_below(list, least_);
  }

  TupleScorer& scorer_;
  const std::vector<int64_t>& models_;
  double least_;
  const int64_t max_tuples_;
  std::vector<TupleList> lists_;
};

RosettaResult find_all(TupleScorer& scorer, const std::vector<int64_t>& models,
                       const RosettaOptions& options) {
  Levels levels(scorer, models, options.least, options.max_tuples);
  levels.find_pairs();
  for (int64_t order = 3; order <= options.max_order; ++order) levels.find_next();
  for (TupleList& list : levels.lists()) sort_by_score(list);
  const bool complete = levels.least() == options.least;
  return {std::move(levels.lists()), complete ? 0.0 : levels.least(), 0};
}

RosettaResult find_top(TupleScorer& scorer, const std::vector<int64_t>& models,
                       const RosettaOptions& options) {
  Levels level(scorer, models, options.least, options.max_tuples);
  level.find_pairs();
  TupleList pairs = std::move(level.lists().back());
  sort_by_score(pairs);
  RosettaOptions bounded = options;  // one more than may be held: then there are too many
  bounded.top = std::min(options.top, options.max_tuples + 1);
  const BestResult best =
      find_best(scorer, models, pairs, bounded, kTriedATupleHeld * options.max_tuples);

  RosettaResult result{{std::move(pairs)}, 0.0, best.incomplete_order};
  const bool pairs_are_missing = level.least() > options.least;
  for (const BestTuples& tuples : best.orders) {
    // What has a pair that is missing scores less than level.least().
    const bool complete =
        tuples.size() <= options.max_tuples &&
        (!pairs_are_missing || (tuples.full() && tuples.floor() >= level.least()));
    const int64_t order = std::ssize(result.orders) + 2;
    if (!complete && (result.incomplete_order == 0 || order < result.incomplete_order))
      result.incomplete_order = order;
    result.orders.push_back(tuples.sorted());
  }
  keep_first(result.orders[0], options.top);
  if (pairs_are_missing && result.orders[0].size() < options.top) result.incomplete_order = 2;
  return result;
}

}  // namespace

RosettaResult no_tuples(int64_t max_order) {
  RosettaResult result;
  for (int64_t order = 2; order <= max_order; ++order) result.orders.push_back({order, {}, {}});
  return result;
}

RosettaResult find_rosetta(TupleScorer& scorer, const std::vector<int64_t>& models,
                           const RosettaOptions& options) {
  RosettaOptions positive = options;  // a score of 0 is no overlap at all
  positive.least = std::max(options.least, std::numeric_limits<double>::denorm_min());
  positive.max_tuples = std::min(options.max_tuples, kMostTuples);
  return options.top > 0 ? find_top(scorer, models, positive) : find_all(scorer, models, positive);
}

}  // namespace vtcd
