// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/formulas/rosetta.h"
#include "core/rosetta/bitcount.h"
#include "core/rosetta/candidates.h"
#include "core/rosetta/rosetta.h"
#include "core/rosetta/scorer.h"

namespace vtcd {
namespace {

// Candidates that are scored together: neighbours share supports, which stay in the cache.
constexpr int64_t kChunk = 256;

// Every kLanes-th chunk is one unit of parallel work, so that threads get equal shares of chunks
// that are pruned early and of those that are not.
constexpr int64_t kLanes = 64;

// Words of the videos that all candidates are scored in before the next videos are read (256 MB).
constexpr int64_t kBlockWords = int64_t{1} << 25;

constexpr double kDropped = -std::numeric_limits<double>::infinity();

SizeRange size_range(const std::vector<int64_t>& sizes, const int32_t* tuple, int64_t order,
                     int64_t num_videos, int64_t video) {
  const int64_t first = sizes[tuple[0] * num_videos + video];
  SizeRange range{first, first};
  for (int64_t i = 1; i < order; ++i) range.add(sizes[tuple[i] * num_videos + video]);
  return range;
}

// Scores all candidates of a call, some videos at a time.
class Scorer {
 public:
  Scorer(const SupportSet& supports, const std::vector<int64_t>& sizes,
         const std::vector<int32_t>& candidates, int64_t order, double least)
      : supports_(supports),
        sizes_(sizes),
        candidates_(candidates),
        order_(order),
        least_(least),
        num_videos_(supports.num_videos()),
        margin_(bound_margin(num_videos_)),
        num_candidates_(static_cast<int64_t>(candidates.size()) / order),
        totals_(num_candidates_, 0.0),
        bounds_(num_candidates_),
        counted_(num_candidates_) {}

  std::vector<double> run(const ParallelFor& parallel_for) {
    for_each_chunk(parallel_for, [&](int64_t first, int64_t last) { bound(first, last); });
    for (int64_t begin = 0; begin < num_videos_;) {
      int64_t end = begin + 1;
      while (end < num_videos_ && block_words(begin, end + 1) <= kBlockWords) ++end;
      for_each_chunk(parallel_for, [&](int64_t first, int64_t last) {
        for (int64_t video = begin; video < end; ++video) add_video(first, last, video);
      });
      begin = end;
    }
    for (int64_t i = 0; i < num_candidates_; ++i) {
      const double score = bounds_[i] == kDropped ? -1.0 : totals_[i] / counted_[i];
      totals_[i] = score >= least_ ? score : -1.0;
    }
    return std::move(totals_);
  }

 private:
  int64_t block_words(int64_t begin, int64_t end) const {
    return supports_.num_concepts() * (supports_.videos[end] - supports_.videos[begin]);
  }

  template <typename Body>
  void for_each_chunk(const ParallelFor& parallel_for, const Body& body) const {
    const int64_t num_chunks = (num_candidates_ + kChunk - 1) / kChunk;
    parallel_for(0, std::min(kLanes, num_chunks), 1, [&](int64_t first_lane, int64_t last_lane) {
      for (int64_t lane = first_lane; lane < last_lane; ++lane) {
        for (int64_t chunk = lane; chunk < num_chunks; chunk += kLanes) {
          body(chunk * kChunk, std::min(num_candidates_, (chunk + 1) * kChunk));
        }
      }
    });
  }

  // What sizes alone say about each candidate, without a look at its voxels.
  void bound(int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int32_t* tuple = candidates_.data() + i * order_;
      double sum = 0;
      int64_t counted = 0;
      for (int64_t video = 0; video < num_videos_; ++video) {
        const SizeRange range = size_range(sizes_, tuple, order_, num_videos_, video);
        sum += overlap_bound(range);
        counted += range.largest > 0;
      }
      bounds_[i] = sum;
      counted_[i] = static_cast<double>(counted);
      drop_if_hopeless(i);
    }
  }

  void add_video(int64_t first, int64_t last, int64_t video) {
    for (int64_t i = first; i < last; ++i) {
      if (bounds_[i] == kDropped) continue;
      const int32_t* tuple = candidates_.data() + i * order_;
      const SizeRange range = size_range(sizes_, tuple, order_, num_videos_, video);
      if (range.smallest == 0) continue;  // no intersection: the ratio, and its bound, are 0
      const double ratio = measure(tuple, video);
      totals_[i] += ratio;
      bounds_[i] += ratio - overlap_bound(range);
      drop_if_hopeless(i);
    }
  }

  double measure(const int32_t* tuple, int64_t video) const {
    const int64_t num_words = supports_.num_words(video);
    std::array<const uint64_t*, 64> rows;
    for (int64_t i = 0; i < order_; ++i) rows[i] = supports_.row(video, tuple[i]);
    JointCount count;
    if (order_ == 2) {
      count.common = count_common(rows[0], rows[1], num_words);
      count.any = sizes_[tuple[0] * num_videos_ + video] + sizes_[tuple[1] * num_videos_ + video] -
                  count.common;
    } else {
      count = count_joint(rows.data(), order_, num_words);
    }
    return overlap(count.common, count.any);
  }

  void drop_if_hopeless(int64_t i) {
    if (counted_[i] == 0 || bounds_[i] < least_ * counted_[i] - margin_) bounds_[i] = kDropped;
  }

  const SupportSet& supports_;
  const std::vector<int64_t>& sizes_;
  const std::vector<int32_t>& candidates_;
  const int64_t order_;
  const double least_;
  const int64_t num_videos_;
  const double margin_;
  const int64_t num_candidates_;
  std::vector<double> totals_;   // sum of the ratios of the videos so far
  std::vector<double> bounds_;   // the sum that is still possible, or kDropped
  std::vector<double> counted_;  // videos with a union that is not empty
};

// Voxels of every support, [C, V].
std::vector<int64_t> support_sizes(const SupportSet& supports, const ParallelFor& parallel_for) {
  const int64_t num_videos = supports.num_videos(), num_concepts = supports.num_concepts();
  std::vector<int64_t> sizes(num_concepts * num_videos);
  for (int64_t video = 0; video < num_videos; ++video) {
    parallel_for(0, num_concepts, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const uint64_t* row = supports.row(video, i);
        sizes[i * num_videos + video] = count_common(row, row, supports.num_words(video));
      }
    });
  }
  return sizes;
}

}  // namespace

HostScorer::HostScorer(const SupportSet& supports, const ParallelFor& parallel_for)
    : supports_(supports),
      parallel_for_(parallel_for),
      sizes_(support_sizes(supports, parallel_for)) {}

TupleList HostScorer::score_pairs(int64_t begin, int64_t end, double least) {
  return score_tuples(pair_candidates(supports_.models, begin, end), 2, least);
}

TupleList HostScorer::score_tuples(const std::vector<int32_t>& candidates, int64_t order,
                                   double least) {
  const std::vector<double> scores =
      Scorer(supports_, sizes_, candidates, order, least).run(parallel_for_);
  TupleList list{order, {}, {}};
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] < least) continue;
    const auto begin = candidates.begin() + static_cast<int64_t>(i) * order;
    list.members.insert(list.members.end(), begin, begin + order);
    list.scores.push_back(scores[i]);
  }
  return list;
}

void tuple_ratios(const SupportSet& supports, const int32_t* members, int64_t num_tuples,
                  int64_t width, double* ratios, const ParallelFor& parallel_for) {
  const int64_t num_videos = supports.num_videos();
  for (int64_t video = 0; video < num_videos; ++video) {
    parallel_for(0, num_tuples, 64, [&](int64_t begin, int64_t end) {
      std::vector<const uint64_t*> rows;
      for (int64_t i = begin; i < end; ++i) {
        rows.clear();
        for (int64_t k = 0; k < width; ++k) {
          const int32_t member = members[i * width + k];
          if (member >= 0) rows.push_back(supports.row(video, member));
        }
        const JointCount count =
            count_joint(rows.data(), static_cast<int64_t>(rows.size()), supports.num_words(video));
        ratios[i * num_videos + video] = overlap_or_nan(count.common, count.any);
      }
    });
  }
}

RosettaResult find_rosetta(const SupportSet& supports, const RosettaOptions& options,
                           const ParallelFor& parallel_for) {
  if (supports.videos.back() == 0) return no_tuples(options.max_order);
  HostScorer scorer(supports, parallel_for);
  return find_rosetta(scorer, supports.models, options);
}

}  // namespace vtcd
