// SPDX-License-Identifier: MIT
// Tuples are grown from their first two members, one member at a time in ascending order. As no
// tuple scores higher than a part of it, a branch ends where a part scores less than the worst of
// the best tuples found so far. Pairs are taken best first, so that these are found early. Many
// branches are tried at a time (a wave), as a device wants it; neither the result nor the number of
// tuples tried depends on what tries them.
#include "core/rosetta/best.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace vtcd {

bool BestTuples::is_better(int64_t a, int64_t b) const {
  if (tuples_.scores[a] != tuples_.scores[b]) return tuples_.scores[a] > tuples_.scores[b];
  return std::lexicographical_compare(tuples_.tuple(a), tuples_.tuple(a) + tuples_.order,
                                      tuples_.tuple(b), tuples_.tuple(b) + tuples_.order);
}

bool BestTuples::may_take(double bound, const int32_t* prefix, int64_t length) const {
  if (bound != floor() || !full()) return bound >= floor();
  const int32_t* worst = tuples_.tuple(heap_.front());  // equal scores: the first ones are taken
  return !std::lexicographical_compare(worst, worst + length, prefix, prefix + length);
}

void BestTuples::offer(double score, const int32_t* members) {
  if (!may_take(score, members, tuples_.order)) return;
  const auto better = [this](int64_t a, int64_t b) { return is_better(a, b); };
  if (full()) {
    std::pop_heap(heap_.begin(), heap_.end(), better);
    tuples_.scores[heap_.back()] = score;
    std::copy_n(members, tuples_.order, tuples_.members.data() + heap_.back() * tuples_.order);
  } else {
    heap_.push_back(size());
    tuples_.scores.push_back(score);
    tuples_.members.insert(tuples_.members.end(), members, members + tuples_.order);
  }
  std::push_heap(heap_.begin(), heap_.end(), better);
}

TupleList BestTuples::sorted() const {
  std::vector<int64_t> indices(size());
  std::iota(indices.begin(), indices.end(), 0);
  std::sort(indices.begin(), indices.end(),
            [this](int64_t a, int64_t b) { return is_better(a, b); });
  TupleList list{tuples_.order, {}, {}};
  for (const int64_t i : indices) {
    list.members.insert(list.members.end(), tuples_.tuple(i), tuples_.tuple(i) + tuples_.order);
    list.scores.push_back(tuples_.scores[i]);
  }
  return list;
}

namespace {

// Candidates that are scored together, about: the first ones are few, to find good tuples soon.
constexpr int64_t kFirstWave = 256;
constexpr int64_t kLargestWave = int64_t{1} << 16;

// For each concept the later ones that it makes a pair of the list with, ascending.
class PairGraph {
 public:
  PairGraph(const TupleList& pairs, int64_t num_concepts) : begins_(num_concepts + 1) {
    for (int64_t i = 0; i < pairs.size(); ++i) ++begins_[pairs.tuple(i)[0] + 1];
    std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
    edges_.resize(pairs.size());
    std::vector<int64_t> next(begins_.begin(), begins_.end() - 1);
    for (int64_t i = 0; i < pairs.size(); ++i)
      edges_[next[pairs.tuple(i)[0]]++] = {pairs.tuple(i)[1], pairs.scores[i]};
    for (int64_t i = 0; i < num_concepts; ++i)
      std::sort(
          edges_.begin() + begins_[i], edges_.begin() + begins_[i + 1],
          [](const Extension& a, const Extension& b) { return a.concept_index < b.concept_index; });
  }

  // Adds the pair as a branch, with all extensions whose pairs score at least `least`.
  void add_branch(const int32_t* pair, double score, double least, Branches& branches) const {
    std::vector<Extension>& extensions = branches.extensions;
    const int64_t begin = std::ssize(extensions);
    const Extension* a = edges_.data() + begins_[pair[0]];
    const Extension* a_end = edges_.data() + begins_[pair[0] + 1];
    const Extension* b = edges_.data() + begins_[pair[1]];
    const Extension* b_end = edges_.data() + begins_[pair[1] + 1];
    while (a < a_end && b < b_end) {
      if (a->concept_index < b->concept_index) {
        ++a;
      } else if (b->concept_index < a->concept_index) {
        ++b;
      } else {
        const double bound = std::min(score, std::min(a->bound, b->bound));
        if (bound >= least) extensions.push_back({a->concept_index, bound});
        ++a, ++b;
      }
    }
    if (std::ssize(extensions) > begin) branches.add(pair, score, begin, std::ssize(extensions));
  }

 private:
  std::vector<int64_t> begins_;  // [C + 1]
  std::vector<Extension> edges_;
};

// Grows branches, many at a time.
class BestSearch {
 public:
  BestSearch(TupleScorer& scorer, const std::vector<int64_t>& models, const TupleList& pairs,
             const RosettaOptions& options, int64_t most)
      : scorer_(scorer),
        models_(models),
        pairs_(pairs),
        graph_(pairs, models.back()),
        options_(options),
        most_(most),
        members_(options.max_order),
        floors_(options.max_order + 2) {
    for (int64_t order = 3; order <= options.max_order; ++order)
      best_.emplace_back(order, options.top, options.least);
    update_floors();
  }

  BestResult run() {
    int64_t begin = 0;
    while (begin < pairs_.size()) {
      Branches wave{2, {}, {}, {}, {0}, {}};
      int64_t end = begin;
      for (; end < pairs_.size() && wave.num_candidates() < wave_; ++end) {
        if (!may_be_best(pairs_.scores[end], pairs_.tuple(end), 2, 3)) break;
        graph_.add_branch(pairs_.tuple(end), pairs_.scores[end], floors_[3], wave);
      }
      if (end == begin) break;  // nor may any later pair, which is no better
      grow(wave);
      if (num_tried_ > most_) return {std::move(best_), incomplete_order(begin)};
      begin = end;
      wave_ = std::min(2 * wave_, kLargestWave);
    }
    return {std::move(best_), 0};
  }

 private:
  // Whether a tuple that begins with the first `length` members, and scores no more than `bound`,
  // could be one of the best of some order from `order` on.
  bool may_be_best(double bound, const int32_t* members, int64_t length, int64_t order) const {
    if (bound != floors_[order]) return bound > floors_[order];
    for (int64_t n = order; n <= options_.max_order; ++n)
      if (best_[n - 3].may_take(bound, members, length)) return true;
    return false;
  }

  // floors_[n]: the lowest score that is of use for any order from n on.
  void update_floors() {
    floors_[options_.max_order + 1] = std::numeric_limits<double>::infinity();
    for (int64_t n = options_.max_order; n >= 3; --n)
      floors_[n] = std::min(floors_[n + 1], best_[n - 3].floor());
  }

  // Tries all candidates of the branches, then what those that may lead to one of the best grow to.
  void grow(const Branches& wave) {
    num_tried_ += wave.num_candidates();
    if (wave.size() == 0 || num_tried_ > most_) return;
    const std::vector<double> scores = scorer_.score_extensions(wave, floors_[wave.length + 1]);
    BestTuples& best = best_[wave.length - 2];
    for (int64_t branch = 0; branch < wave.size(); ++branch) {
      std::copy_n(wave.tuple(branch), wave.length, members_.begin());
      const int64_t first = wave.firsts[branch], end = wave.firsts[branch + 1];
      for (int64_t i = first; i < end; ++i) {
        if (scores[i] < best.floor()) continue;
        members_[wave.length] = wave.extensions[wave.begins[branch] + i - first].concept_index;
        best.offer(scores[i], members_.data());
      }
    }
    update_floors();
    if (wave.length + 1 < options_.max_order) grow_next(wave, scores);
  }

  void grow_next(const Branches& wave, const std::vector<double>& scores) {
    Branches next{wave.length + 1, {}, {}, {}, {0}, {}};
    std::vector<Extension> kept;
    for (int64_t branch = 0; branch < wave.size() && num_tried_ <= most_; ++branch) {
      const double least = floors_[wave.length + 2];
      kept.clear();
      const int64_t first = wave.firsts[branch], end = wave.firsts[branch + 1];
      for (int64_t i = first; i < end; ++i) {
        if (scores[i] < least) continue;
        kept.push_back({wave.extensions[wave.begins[branch] + i - first].concept_index, scores[i]});
      }
      std::vector<int32_t> tuple(wave.tuple(branch), wave.tuple(branch) + wave.length);
      add_branches(tuple, kept, next);
    }
    grow(next);
  }

  // The tuple with one of its extensions may grow by the others of later models.
  void add_branches(std::vector<int32_t>& tuple, const std::vector<Extension>& kept,
                    Branches& next) {
    int64_t shift = -1;  // where the extensions begin in those of `next`
    int64_t later = 0;
    tuple.push_back(0);
    for (int64_t i = 0; i < std::ssize(kept); ++i) {
      const int64_t model_end = end_of_model(kept[i].concept_index);
      while (later < std::ssize(kept) && kept[later].concept_index < model_end) ++later;
      if (later == std::ssize(kept)) return;
      tuple.back() = kept[i].concept_index;
      if (!may_be_best(kept[i].bound, tuple.data(), next.length, next.length + 1)) continue;
      if (shift < 0) {
        shift = std::ssize(next.extensions);
        next.extensions.insert(next.extensions.end(), kept.begin(), kept.end());
      }
      next.add(tuple.data(), kept[i].bound, shift + later, shift + std::ssize(kept));
      if (next.num_candidates() < wave_) continue;
      grow(next);
      next.clear();
      shift = -1;
    }
  }

  int64_t end_of_model(int32_t concept_index) const {
    return *std::upper_bound(models_.begin(), models_.end(), concept_index);
  }

  // The first order whose best may be among those that were not tried, from this pair on.
  int64_t incomplete_order(int64_t pair) const {
    for (int64_t order = 3; order <= options_.max_order; ++order)
      if (best_[order - 3].may_take(pairs_.scores[pair], pairs_.tuple(pair), 2)) return order;
    return 0;
  }

  TupleScorer& scorer_;
  const std::vector<int64_t>& models_;
  const TupleList& pairs_;
  const PairGraph graph_;
  const RosettaOptions& options_;
  const int64_t most_;
  int64_t wave_ = kFirstWave;
  int64_t num_tried_ = 0;
  std::vector<BestTuples> best_;  // orders 3, 4, ...
  std::vector<int32_t> members_;
  std::vector<double> floors_;
};

}  // namespace

BestResult find_best(TupleScorer& scorer, const std::vector<int64_t>& models,
                     const TupleList& pairs, const RosettaOptions& options, int64_t most) {
  if (options.max_order < 3) return {};
  return BestSearch(scorer, models, pairs, options, most).run();
}

}  // namespace vtcd
