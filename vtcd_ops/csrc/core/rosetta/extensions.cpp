// SPDX-License-Identifier: MIT
// Scores of tuples that share all members but the last.
#include <algorithm>

#include "core/formulas/rosetta.h"
#include "core/rosetta/bitcount.h"
#include "core/rosetta/scorer.h"

namespace vtcd {
namespace {

// Words of a concept in all videos together.
constexpr int64_t kShortRows = 128;

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
        rows_are_short_(supports.videos.back() <= kShortRows),
        bounds_(num_videos_ * kCountGroup),
        commons_(num_videos_ * kCountGroup),
        prefixes_(branches.length) {}

  // scores: of the candidates of this branch.
  void run(int64_t branch, double* scores) {
    const Extension* extensions = branches_.extensions.data() + branches_.begins[branch];
    const int64_t count = branches_.firsts[branch + 1] - branches_.firsts[branch];
    std::fill_n(scores, count, -1.0);
    if (branches_.bounds[branch] < least_) return;
    bool is_ready = false;
    Group group;
    for (int64_t i = 0; i < count; ++i) {
      if (extensions[i].bound >= least_) group.add(extensions[i].concept_index, scores + i);
      if (group.size < kCountGroup && (i + 1 < count || group.size == 0)) continue;
      if (!is_ready) prepare(branches_.tuple(branch));
      is_ready = true;
      measure(prefixes_.back(), group);
      group.size = 0;
    }
  }

 private:
  // Members that the prefix may grow by, measured together.
  struct Group {
    void add(int32_t member, double* score) {
      members[size] = member;
      scores[size++] = score;
    }

    int size = 0;
    int32_t members[kCountGroup];
    double* scores[kCountGroup];
    double sums[kCountGroup];  // upper bounds of the sums of ratios
    double counted[kCountGroup];
  };

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

  // The scores of the prefix with one more member, where they are at least `least`. What cannot
  // reach it is mostly known from counts, or from the intersections; unions come last.
  void measure(const Prefix& prefix, Group& group) {
    if (rows_are_short_) bound_by_counts(prefix, group);
    if (group.size == 0) return;
    bound_by_sizes(prefix, group);
    for (int64_t video = 0; video < num_videos_ && group.size > 0; ++video) {
      int64_t commons[kCountGroup] = {};
      count_video(prefix, group, video, commons);
      const int size = group.size;
      group.size = 0;
      for (int i = 0; i < size; ++i) {
        const int64_t at = video * kCountGroup;
        const double bound = static_cast<double>(commons[i]) * prefix.inverse_any[video];
        const double sum = group.sums[i] - bounds_[at + i] + bound;
        commons_[at + i] = commons[i];
        bounds_[at + i] = bound;
        if (sum >= enough(group.counted[i])) keep(group, i, sum);
      }
    }
    for (int i = 0; i < group.size; ++i) {
      const double score = total_of(prefix, group, i) / group.counted[i];
      if (score >= least_) *group.scores[i] = score;
    }
  }

  double enough(double counted) const { return least_ * counted - margin_; }

  // Moves a member to the end of those that remain.
  void keep(Group& group, int from, double sum) {
    const int to = group.size++;
    group.sums[to] = sum;
    if (to == from) return;
    group.members[to] = group.members[from];
    group.scores[to] = group.scores[from];
    group.counted[to] = group.counted[from];
    for (int64_t video = 0; video < num_videos_; ++video) {
      bounds_[video * kCountGroup + to] = bounds_[video * kCountGroup + from];
      commons_[video * kCountGroup + to] = commons_[video * kCountGroup + from];
    }
  }

  // Short rows are counted sooner than sizes are looked up: most members go here.
  void bound_by_counts(const Prefix& prefix, Group& group) const {
    double sums[kCountGroup] = {};
    for (int64_t video = 0; video < num_videos_; ++video) {
      if (prefix.num_common[video] == 0) continue;
      int64_t commons[kCountGroup];
      count_group(prefix, group, video, commons);
      for (int i = 0; i < kCountGroup; ++i)
        sums[i] += static_cast<double>(commons[i]) * prefix.inverse_any[video];
    }
    const double least_sum = enough(prefix.num_counted);  // more videos may count, but not fewer
    bool any = false;
    for (int i = 0; i < kCountGroup; ++i) any |= sums[i] >= least_sum;
    const int size = group.size;
    group.size = 0;
    for (int i = 0; any && i < size; ++i)
      if (sums[i] >= least_sum) group.add(group.members[i], group.scores[i]);
  }

  void bound_by_sizes(const Prefix& prefix, Group& group) {
    const int size = group.size;
    group.size = 0;
    for (int i = 0; i < size; ++i) {
      const int64_t* sizes = sizes_.data() + group.members[i] * num_videos_;
      double counted = prefix.num_counted, sum = 0;
      for (int64_t video = 0; video < num_videos_; ++video) {
        const int64_t common = std::min(prefix.num_common[video], sizes[video]);
        const double bound = static_cast<double>(common) * prefix.inverse_any[video];
        bounds_[video * kCountGroup + i] = bound;
        sum += bound;
        if (prefix.num_any[video] == 0 && sizes[video] > 0) counted += 1;
      }
      group.counted[i] = counted;
      if (counted > 0 && sum >= enough(counted)) keep(group, i, sum);
    }
  }

  // Intersections of the prefix and each member: together where all are wanted, else one by one.
  void count_video(const Prefix& prefix, const Group& group, int64_t video,
                   int64_t (&commons)[kCountGroup]) const {
    const double* bounds = &bounds_[video * kCountGroup];
    if (group.size > kCountGroup / 2 && prefix.num_common[video] > 0)
      return count_group(prefix, group, video, commons);
    for (int i = 0; i < group.size; ++i)
      if (bounds[i] > 0)
        commons[i] =
            count_common(prefix.common.data() + supports_.videos[video],
                         supports_.row(video, group.members[i]), supports_.num_words(video));
  }

  void count_group(const Prefix& prefix, const Group& group, int64_t video,
                   int64_t (&commons)[kCountGroup]) const {
    const uint64_t* rows[kCountGroup];
    for (int i = 0; i < kCountGroup; ++i)
      rows[i] = supports_.row(video, group.members[i < group.size ? i : 0]);
    count_common(prefix.common.data() + supports_.videos[video], rows, supports_.num_words(video),
                 commons);
  }

  // The sum of the ratios, the intersections being known; or -1, once it is sure to be too little.
  double total_of(const Prefix& prefix, const Group& group, int member) const {
    const int32_t added = group.members[member];
    const double least_sum = enough(group.counted[member]);
    double total = 0, sum = group.sums[member];
    for (int64_t video = 0; video < num_videos_; ++video) {
      const int64_t common = commons_[video * kCountGroup + member];
      if (common == 0) continue;
      const int64_t in_both = count_common(prefix.any.data() + supports_.videos[video],
                                           supports_.row(video, added), supports_.num_words(video));
      const int64_t size = sizes_[added * num_videos_ + video];
      const double ratio = overlap(common, prefix.num_any[video] + size - in_both);
      total += ratio;
      sum += ratio - bounds_[video * kCountGroup + member];
      if (sum < least_sum) return -1;
    }
    return total;
  }

  const SupportSet& supports_;
  const std::vector<int64_t>& sizes_;
  const Branches& branches_;
  const double least_;
  const int64_t num_videos_;
  const double margin_;
  const bool rows_are_short_;
  std::vector<double> bounds_;    // of the ratios, [V, kCountGroup]
  std::vector<int64_t> commons_;  // intersections, as far as they are known, [V, kCountGroup]
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
