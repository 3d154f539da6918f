// SPDX-License-Identifier: MIT
#include "core/rosetta/candidates.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace vtcd {
namespace {

constexpr int64_t kTile = 16;

// Which tuples a list holds: a hash table with linear probing.
class TupleIndex {
 public:
  explicit TupleIndex(const TupleList& tuples) : tuples_(tuples) {
    size_t capacity = 16;
    while (capacity < 2 * static_cast<size_t>(tuples.size())) capacity *= 2;
    slots_.assign(capacity, -1);
    for (int64_t i = 0; i < tuples.size(); ++i) {
      size_t slot = hash(tuples.tuple(i)) & (capacity - 1);
      while (slots_[slot] >= 0) slot = (slot + 1) & (capacity - 1);
      slots_[slot] = i;
    }
  }

  bool contains(const int32_t* tuple) const {
    size_t slot = hash(tuple) & (slots_.size() - 1);
    for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
      if (std::equal(tuple, tuple + tuples_.order, tuples_.tuple(slots_[slot]))) return true;
    }
    return false;
  }

 private:
  size_t hash(const int32_t* tuple) const {
    uint64_t state = 0x9E3779B97F4A7C15;
    for (int64_t i = 0; i < tuples_.order; ++i) {
      state = (state ^ static_cast<uint32_t>(tuple[i])) * 0xD6E8FEB86659FD93;
      state ^= state >> 32;
    }
    return state;
  }

  const TupleList& tuples_;
  std::vector<int64_t> slots_;  // index of a tuple, -1 where there is none
};

// Whether every sub-tuple of candidate [order + 1] is in the index, apart from the two that it was
// joined from: those without its last and without its last but one member.
bool all_subtuples_kept(const TupleIndex& index, const int32_t* candidate, int64_t order) {
  std::array<int32_t, 64> subtuple;
  for (int64_t left_out = 0; left_out + 1 < order; ++left_out) {
    std::copy(candidate, candidate + left_out, subtuple.begin());
    std::copy(candidate + left_out + 1, candidate + order + 1, subtuple.begin() + left_out);
    if (!index.contains(subtuple.data())) return false;
  }
  return true;
}

int64_t model_of(const std::vector<int64_t>& models, int32_t concept_index) {
  return std::upper_bound(models.begin(), models.end(), concept_index) - models.begin();
}

// Returns whether more are wanted.
bool flush(std::vector<int32_t>& slice, const CandidateSink& sink) {
  const bool more = slice.empty() || sink(slice);
  slice.clear();
  return more;
}

}  // namespace

std::vector<int32_t> pair_candidates(const std::vector<int64_t>& models, int64_t begin,
                                     int64_t end) {
  std::vector<int32_t> pairs;
  const int64_t num_concepts = models.back();
  for (size_t m = 0; m + 1 < models.size(); ++m) {
    const int64_t last = std::min(end, models[m + 1]);
    for (int64_t row = std::max(begin, models[m]); row < last; row += kTile) {
      for (int64_t column = models[m + 1]; column < num_concepts; column += kTile) {
        for (int64_t a = row; a < std::min(row + kTile, last); ++a) {
          for (int64_t b = column; b < std::min(column + kTile, num_concepts); ++b) {
            pairs.push_back(static_cast<int32_t>(a));
            pairs.push_back(static_cast<int32_t>(b));
          }
        }
      }
    }
  }
  return pairs;
}

void pair_ranges(const std::vector<int64_t>& models, int64_t slice_size,
                 const std::function<bool(int64_t begin, int64_t end)>& sink) {
  const int64_t num_concepts = models.back();
  const int64_t step = num_concepts > slice_size / kTile ? 1 : kTile;
  for (int64_t begin = 0, end = 0; begin < num_concepts; begin = end) {
    int64_t num_pairs = 0;
    while (end < num_concepts && num_pairs < slice_size) {
      const int64_t later = *std::upper_bound(models.begin(), models.end(), end);
      num_pairs += step * (num_concepts - later);
      end = std::min(end + step, num_concepts);
    }
    if (num_pairs > 0 && !sink(begin, end)) return;
  }
}

void joined_candidates(const TupleList& tuples, const std::vector<int64_t>& models,
                       int64_t slice_size, const CandidateSink& sink) {
  const int64_t order = tuples.order;
  const TupleIndex index(tuples);
  std::vector<int32_t> slice;
  std::vector<int32_t> candidate(order + 1);
  for (int64_t first = 0, end = 0; first < tuples.size(); first = end) {
    // [first, end) share all members but the last
    const int32_t* prefix = tuples.tuple(first);
    while (end < tuples.size() && std::equal(prefix, prefix + order - 1, tuples.tuple(end))) ++end;
    for (int64_t i = first; i < end; ++i) {
      std::copy(tuples.tuple(i), tuples.tuple(i) + order, candidate.begin());
      const int64_t model = model_of(models, candidate[order - 1]);
      for (int64_t j = i + 1; j < end; ++j) {
        candidate[order] = tuples.tuple(j)[order - 1];
        if (candidate[order] < models[model]) continue;  // of the same model
        if (!all_subtuples_kept(index, candidate.data(), order)) continue;
        slice.insert(slice.end(), candidate.begin(), candidate.end());
        if (std::ssize(slice) >= (order + 1) * slice_size && !flush(slice, sink)) return;
      }
    }
  }
  flush(slice, sink);
}

}  // namespace vtcd
