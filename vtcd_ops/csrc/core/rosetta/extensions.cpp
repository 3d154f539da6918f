// SPDX-License-Identifier: MIT
// Scores of tuples that share all members but the last.
#include <algorithm>

#include "core/formulas/rosetta.h"
#include "core/rosetta/bitcount.h"
#include "core/rosetta/scorer.h"

namespace vtcd {
namespace {

// A tuple that is being grown: its voxels, and what they count.
struct Prefix {
  int32_t last_member = -1;
  std::vector<uint64_t> common, any;         // words of all videos: in every member, in any member
  std::vector<int64_t> num_common, num_any;  // [V]
  std::vector<double> inverse_any;           // [V], 0 where num_any is
  double num_counted = 0;                    // videos where num_any is not 0
};

// Grows one tuple after the other; what neighbours share is kept.
class ExtensionScorer {
 public:
  ExtensionScorer(const SupportSet& supports, const std::vector<int64_t>& sizes,
                  const Branches& branches, double least)
      : supports_(supports),
        sizes_(sizes),
        branches_(branches),
        least_(least),
        num_videos_(supports.num_videos()),
        margin_(bound_margin(num_videos_)),
        bounds_(num_videos_),
        commons_(num_videos_),
        prefixes_(branches.length) {}

  // scores: of the candidates of this branch.
  void run(int64_t branch, double* scores) {
    const int64_t begin = branches_.begins[branch];
    const int64_t count = branches_.firsts[branch + 1] - branches_.firsts[branch];
    bool is_ready = false;
    for (int64_t i = 0; i < count; ++i) {
      const Extension& extension = branches_.extensions[begin + i];
      scores[i] = -1;
      if (std::min(branches_.bounds[branch], extension.bound) < least_) continue;
      if (!is_ready) prepare(branches_.tuple(branch));
      is_ready = true;
      scores[i] = measure(prefixes_.back(), extension.concept_index);
    }
  }

 private:
  // The voxels of a tuple, from those of the longest part that the last one shares.
  void prepare(const int32_t* members) {
    bool is_kept = true;
    for (int64_t i = 0; i < branches_.length; ++i) {
      is_kept = is_kept && prefixes_[i].last_member == members[i];
      if (is_kept) continue;
      prefixes_[i].last_member = members[i];
      if (i == 0) {
        start(members[0]);
      } else {
        join(prefixes_[i - 1], members[i], prefixes_[i]);
      }
    }
  }

  void start(int32_t member) {
    Prefix& first = prefixes_[0];
    first.common.resize(supports_.videos.back());
    for (int64_t video = 0; video < num_videos_; ++video)
      std::copy_n(supports_.row(video, member), supports_.num_words(video),
                  first.common.data() + supports_.videos[video]);
    first.any = first.common;
  }

  // The voxels of a part and one member more.
  void join(const Prefix& from, int32_t added, Prefix& to) const {
    const size_t num_words = from.common.size();
    to.common.resize(num_words);
    to.any.resize(num_words);
    to.num_common.resize(num_videos_);
    to.num_any.resize(num_videos_);
    to.inverse_any.resize(num_videos_);
    to.num_counted = 0;
    for (int64_t video = 0; video < num_videos_; ++video) {
      const int64_t begin = supports_.videos[video], count = supports_.num_words(video);
      const uint64_t* words = supports_.row(video, added);
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

  // The score of the prefix with one more member, where it is at least `least`, or -1. What cannot
  // reach it is mostly known from counts, or from the intersections; unions come last.
  double measure(const Prefix& prefix, int32_t added) {
    const int64_t* sizes = sizes_.data() + added * num_videos_;
    double counted = prefix.num_counted;
    double sum = 0;  // an upper bound of the sum of ratios
    for (int64_t video = 0; video < num_videos_; ++video) {
      const int64_t common = std::min(prefix.num_common[video], sizes[video]);
      bounds_[video] = static_cast<double>(common) * prefix.inverse_any[video];
      sum += bounds_[video];
      if (prefix.num_any[video] == 0 && sizes[video] > 0) counted += 1;
    }
    const double enough = least_ * counted - margin_;
    if (counted == 0 || sum < enough) return -1;
    for (int64_t video = 0; video < num_videos_; ++video) {
      commons_[video] = 0;
      if (bounds_[video] == 0) continue;
      commons_[video] = count_common(prefix.common.data() + supports_.videos[video],
                                     supports_.row(video, added), supports_.num_words(video));
      sum -= bounds_[video];
      bounds_[video] = static_cast<double>(commons_[video]) * prefix.inverse_any[video];
      sum += bounds_[video];
      if (sum < enough) return -1;
    }
    const double score = total_of(prefix, added, sum, enough) / counted;
    return score >= least_ ? score : -1;
  }

  // The sum of the ratios, the intersections being known; or -1, once it is sure to be less than
  // `enough`.
  double total_of(const Prefix& prefix, int32_t added, double sum, double enough) const {
    double total = 0;
    for (int64_t video = 0; video < num_videos_; ++video) {
      if (commons_[video] == 0) continue;
      const int64_t in_both = count_common(prefix.any.data() + supports_.videos[video],
                                           supports_.row(video, added), supports_.num_words(video));
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
  const Branches& branches_;
  const double least_;
  const int64_t num_videos_;
  const double margin_;
  std::vector<double> bounds_;    // [V]
  std::vector<int64_t> commons_;  // [V]
  std::vector<Prefix> prefixes_;  // by length - 1
};

}  // namespace

std::vector<double> HostScorer::score_extensions(const Branches& branches, double least) {
  std::vector<double> scores(branches.num_candidates());
  parallel_for_(0, branches.size(), 1, [&](int64_t begin, int64_t end) {
    ExtensionScorer scorer(supports_, sizes_, branches, least);
    for (int64_t branch = begin; branch < end; ++branch)
      scorer.run(branch, scores.data() + branches.firsts[branch]);
  });
  return scores;
}

}  // namespace vtcd
