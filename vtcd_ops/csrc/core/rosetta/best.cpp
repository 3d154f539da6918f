// SPDX-License-Identifier: MIT
// Tuples are grown from their first two members, one member at a time in ascending order. As no
// tuple scores higher than a part of it, a branch ends where a part scores less than the worst of
// the best tuples found so far. Pairs are taken best first, so that these are found early.
#include "core/rosetta/best.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "core/formulas/rosetta.h"
#include "core/rosetta/bitcount.h"

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

void BestTuples::offer_all(const BestTuples& others) {
  for (int64_t i = 0; i < others.size(); ++i)
    offer(others.tuples_.scores[i], others.tuples_.tuple(i));
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

// Pairs whose branches are searched side by side, at most. What they find is put together
// afterwards, in their order: so neither the result nor the number of tuples tried depends on
// threads. The first batches are small, to find good tuples soon.
constexpr int64_t kLargestBatch = 512;

// A member that a tuple can grow by, and the most that the grown tuple can score.
struct Extension {
  int32_t concept_index;
  double bound;
};

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

  // Extensions of a pair of that score.
  void common(const int32_t* pair, double score, std::vector<Extension>& extensions) const {
    extensions.clear();
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
        extensions.push_back({a->concept_index, bound});
        ++a, ++b;
      }
    }
  }

 private:
  std::vector<int64_t> begins_;  // [C + 1]
  std::vector<Extension> edges_;
};

// A tuple that is being grown: its voxels, and what they count.
struct Prefix {
  std::vector<uint64_t> common, any;         // words of all videos: in every member, in any member
  std::vector<int64_t> num_common, num_any;  // [V]
  std::vector<double> inverse_any;           // [V], 0 where num_any is
  double num_counted = 0;                    // videos where num_any is not 0
  std::vector<Extension> extensions;
};

// Searches the branch of one pair at a time.
class BranchSearch {
 public:
  BranchSearch(const SupportSet& supports, const std::vector<int64_t>& sizes,
               const PairGraph& graph, const std::vector<BestTuples>& known,
               const RosettaOptions& options, int64_t most)
      : supports_(supports),
        sizes_(sizes),
        graph_(graph),
        known_(known),
        options_(options),
        most_(most),
        num_videos_(supports.num_videos()),
        margin_(bound_margin(num_videos_)),
        members_(options.max_order),
        floors_(options.max_order + 2),
        bounds_(num_videos_),
        commons_(num_videos_),
        prefixes_(options.max_order) {}

  // The best of the branch, orders 3, 4, ..., where they may be among the best known.
  std::vector<BestTuples> run(const int32_t* pair, double score) {
    found_.clear();
    for (int64_t order = 3; order <= options_.max_order; ++order)
      found_.emplace_back(order, options_.top, options_.least);
    update_floors();
    std::copy_n(pair, 2, members_.begin());
    num_tried_ = 0;
    Prefix& prefix = prefixes_[2];
    graph_.common(pair, score, prefix.extensions);
    if (!prefix.extensions.empty()) {
      start(pair);
      extend(2);
    }
    return std::move(found_);
  }

  int64_t num_tried() const { return num_tried_; }

 private:
  const uint64_t* row(int64_t video, int64_t concept_index) const {
    return supports_.row(video, concept_index);
  }

  // Whether a tuple that begins with the first `length` members, and scores no more than `bound`,
  // could be one of the best of some order from `order` on.
  bool may_be_best(double bound, int64_t length, int64_t order) const {
    if (bound != floors_[order]) return bound > floors_[order];
    for (int64_t n = order; n <= options_.max_order; ++n) {
      if (known_[n - 3].may_take(bound, members_.data(), length) &&
          found_[n - 3].may_take(bound, members_.data(), length))
        return true;
    }
    return false;
  }

  // floors_[n]: the lowest score that is of use for any order from n on.
  void update_floors() {
    floors_[options_.max_order + 1] = std::numeric_limits<double>::infinity();
    for (int64_t n = options_.max_order; n >= 3; --n)
      floors_[n] = std::min(floors_[n + 1], std::max(known_[n - 3].floor(), found_[n - 3].floor()));
  }

  // The voxels of the pair.
  void start(const int32_t* pair) {
    Prefix& first = prefixes_[1];
    first.common.resize(supports_.videos.back());
    for (int64_t video = 0; video < num_videos_; ++video)
      std::copy_n(row(video, pair[0]), supports_.num_words(video),
                  first.common.data() + supports_.videos[video]);
    first.any = first.common;
    join(1, pair[1]);
  }

  // The voxels of the first `length` members and one more.
  void join(int64_t length, int32_t added) {
    const Prefix& from = prefixes_[length];
    Prefix& to = prefixes_[length + 1];
    const size_t num_words = from.common.size();
    to.common.resize(num_words);
    to.any.resize(num_words);
    to.num_common.resize(num_videos_);
    to.num_any.resize(num_videos_);
    to.inverse_any.resize(num_videos_);
    to.num_counted = 0;
    for (int64_t video = 0; video < num_videos_; ++video) {
      const int64_t begin = supports_.videos[video], count = supports_.num_words(video);
      const uint64_t* words = row(video, added);
      for (int64_t i = 0; i < count; ++i) {
        to.common[begin + i] = from.common[begin + i] & words[i];
        to.any[begin + i] = from.any[begin + i] | words[i];
      }
      const uint64_t* common = to.common.data() + begin;
      const uint64_t* any = to.any.data() + begin;
      to.num_common[video] = count_common(common, common, count);
      const int64_t num_any = count_common(any, any, count);
      to.num_any[video] = num_any;
      to.inverse_any[video] = num_any > 0 ? 1.0 / static_cast<double>(num_any) : 0.0;
      to.num_counted += num_any > 0 ? 1.0 : 0.0;
    }
  }

  // Tries all extensions of the first `length` members, then those of each extended tuple.
  void extend(int64_t length) {
    Prefix& prefix = prefixes_[length];
    size_t num_kept = 0;
    for (const Extension& extension : prefix.extensions) {
      members_[length] = extension.concept_index;
      if (!may_be_best(extension.bound, length + 1, length + 1)) continue;
      if (++num_tried_ > most_) return;
      const double score = measure(prefix, extension.concept_index, floors_[length + 1]);
      if (score < 0) continue;
      if (known_[length - 2].may_take(score, members_.data(), length + 1)) {
        found_[length - 2].offer(score, members_.data());
        update_floors();
      }
      prefix.extensions[num_kept++] = {extension.concept_index, score};
    }
    prefix.extensions.resize(num_kept);
    if (length + 1 < options_.max_order) extend_each(length);
  }

  void extend_each(int64_t length) {
    const std::vector<Extension>& all = prefixes_[length].extensions;
    std::vector<Extension>& next = prefixes_[length + 1].extensions;
    for (auto it = all.begin(); it != all.end() && num_tried_ <= most_; ++it) {
      members_[length] = it->concept_index;
      if (!may_be_best(it->bound, length + 1, length + 2)) continue;
      const int64_t later = end_of_model(it->concept_index);
      next.clear();
      for (auto other = it + 1; other != all.end(); ++other) {
        if (other->concept_index < later) continue;
        next.push_back({other->concept_index, std::min(it->bound, other->bound)});
      }
      if (next.empty()) continue;
      join(length, it->concept_index);
      extend(length + 1);
    }
  }

  int64_t end_of_model(int32_t concept_index) const {
    return *std::upper_bound(supports_.models.begin(), supports_.models.end(), concept_index);
  }

  // The score of the prefix with one more member, where it is at least `least`, or -1. What cannot
  // reach it is mostly known from counts, or from the intersections; unions come last.
  double measure(const Prefix& prefix, int32_t added, double least) {
    const int64_t* sizes = sizes_.data() + added * num_videos_;
    double counted = prefix.num_counted;
    double sum = 0;  // an upper bound of the sum of ratios
    for (int64_t video = 0; video < num_videos_; ++video) {
      const int64_t common = std::min(prefix.num_common[video], sizes[video]);
      bounds_[video] = static_cast<double>(common) * prefix.inverse_any[video];
      sum += bounds_[video];
      if (prefix.num_any[video] == 0 && sizes[video] > 0) counted += 1;
    }
    const double enough = least * counted - margin_;
    if (counted == 0 || sum < enough) return -1;
    for (int64_t video = 0; video < num_videos_; ++video) {
      commons_[video] = 0;
      if (bounds_[video] == 0) continue;
      commons_[video] = count_common(prefix.common.data() + supports_.videos[video],
                                     row(video, added), supports_.num_words(video));
      sum -= bounds_[video];
      bounds_[video] = static_cast<double>(commons_[video]) * prefix.inverse_any[video];
      sum += bounds_[video];
      if (sum < enough) return -1;
    }
    const double score = total_of(prefix, added, sum, enough) / counted;
    return score >= least ? score : -1;
  }

  // The sum of the ratios, the intersections being known; or -1, once it is sure to be less than
  // `enough`.
  double total_of(const Prefix& prefix, int32_t added, double sum, double enough) const {
    double total = 0;
    for (int64_t video = 0; video < num_videos_; ++video) {
      if (commons_[video] == 0) continue;
      const int64_t in_both = count_common(prefix.any.data() + supports_.videos[video],
                                           row(video, added), supports_.num_words(video));
      const int64_t size = sizes_[added * num_videos_ + video];
      const double ratio = overlap(commons_[video], prefix.num_any[video] + size - in_both);
      total += ratio;
      sum += ratio - bounds_[video];
      if (sum < enough) return -1;
    }
    return total;
  }

  const SupportSet& supports_;
  const std::vector<int64_t>& sizes_;
  const PairGraph& graph_;
  const std::vector<BestTuples>& known_;
  const RosettaOptions& options_;
  const int64_t most_;
  const int64_t num_videos_;
  const double margin_;
  int64_t num_tried_ = 0;
  std::vector<BestTuples> found_;
  std::vector<int32_t> members_;
  std::vector<double> floors_;
  std::vector<double> bounds_;    // [V]
  std::vector<int64_t> commons_;  // [V]
  std::vector<Prefix> prefixes_;  // by length
};

bool any_may_take(const std::vector<BestTuples>& orders, double bound, const int32_t* pair) {
  return std::any_of(orders.begin(), orders.end(),
                     [&](const BestTuples& best) { return best.may_take(bound, pair, 2); });
}

}  // namespace

BestResult find_best(const SupportSet& supports, const std::vector<int64_t>& sizes,
                     const TupleList& pairs, const RosettaOptions& options, int64_t most,
                     const ParallelFor& parallel_for) {
  BestResult result;
  for (int64_t order = 3; order <= options.max_order; ++order)
    result.orders.emplace_back(order, options.top, options.least);
  const PairGraph graph(pairs, supports.num_concepts());
  int64_t begin = 0;
  for (int64_t batch = 1; begin < pairs.size(); batch = std::min(2 * batch, kLargestBatch)) {
    int64_t end = begin;
    while (end < std::min(begin + batch, pairs.size()) &&
           any_may_take(result.orders, pairs.scores[end], pairs.tuple(end)))
      ++end;
    if (end == begin) return result;  // nor may any later pair, which is no better
    std::vector<std::vector<BestTuples>> found(end - begin);
    std::vector<int64_t> tried(end - begin);
    parallel_for(begin, end, 1, [&](int64_t first, int64_t last) {
      BranchSearch search(supports, sizes, graph, result.orders, options, most);
      for (int64_t i = first; i < last; ++i) {
        found[i - begin] = search.run(pairs.tuple(i), pairs.scores[i]);
        tried[i - begin] = search.num_tried();
      }
    });
    for (int64_t i = begin; i < end; ++i) {
      for (size_t n = 0; n < result.orders.size(); ++n)
        result.orders[n].offer_all(found[i - begin][n]);
      most -= tried[i - begin];
    }
    if (most < 0) break;
    begin = end;
  }
  for (size_t n = 0; n < result.orders.size() && most < 0; ++n) {
    if (!result.orders[n].may_take(pairs.scores[begin], pairs.tuple(begin), 2)) continue;
    result.incomplete_order = static_cast<int64_t>(n) + 3;
    break;
  }
  return result;
}

}  // namespace vtcd
