// SPDX-License-Identifier: MIT
// What the search asks of the supports, wherever they lie: scores of many tuples at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "core/rosetta/rosetta.h"

namespace vtcd {

// A member that a tuple can grow by, and the most that the grown tuple can score.
struct Extension {
  int32_t concept_index;
  double bound;
};

// Tuples of `length` members and what each of them may grow by: a range of the extensions.
struct Branches {
  int64_t length = 0;
  std::vector<int32_t> members;       // [B, length]
  std::vector<double> bounds;         // [B] no tuple grown from this one scores more
  std::vector<int64_t> begins;        // [B] the first of its extensions
  std::vector<int64_t> firsts{0};     // [B + 1] sums of the numbers of extensions
  std::vector<Extension> extensions;  // of all

  int64_t size() const { return static_cast<int64_t>(bounds.size()); }
  // Tuples that the branches may grow to. Those of branch b are [firsts[b], firsts[b + 1]).
  int64_t num_candidates() const { return firsts.back(); }
  const int32_t* tuple(int64_t branch) const { return members.data() + branch * length; }

  void add(const int32_t* tuple, double bound, int64_t begin, int64_t end) {
    members.insert(members.end(), tuple, tuple + length);
    bounds.push_back(bound);
    begins.push_back(begin);
    firsts.push_back(firsts.back() + end - begin);
  }

  void clear() { *this = Branches{length, {}, {}, {}, {0}, {}}; }
};

class TupleScorer {
 public:
  virtual ~TupleScorer() = default;

  // The pairs of a concept of [begin, end) and a later one of another model, and the candidates
  // [Q, order], that score at least `least`, which is above 0; in any order.
  virtual TupleList score_pairs(int64_t begin, int64_t end, double least) = 0;
  virtual TupleList score_tuples(const std::vector<int32_t>& candidates, int64_t order,
                                 double least) = 0;

  // The score of each candidate of the branches that scores at least `least`, else -1.
  virtual std::vector<double> score_extensions(const Branches& branches, double least) = 0;
};

// Supports in the memory of the host.
class HostScorer : public TupleScorer {
 public:
  HostScorer(const SupportSet& supports, const ParallelFor& parallel_for);

  TupleList score_pairs(int64_t begin, int64_t end, double least) override;
  TupleList score_tuples(const std::vector<int32_t>& candidates, int64_t order,
                         double least) override;
  std::vector<double> score_extensions(const Branches& branches, double least) override;

 private:
  const SupportSet& supports_;
  const ParallelFor parallel_for_;
  std::vector<int64_t> sizes_;  // voxels of every support, [C, V]
};

}  // namespace vtcd
