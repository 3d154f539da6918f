// SPDX-License-Identifier: MIT
#include "core/rosetta/rosetta.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <map>
#include <vector>

#include "core/formulas/philox.h"
#include "core/rosetta/bitcount.h"
#include "core/rosetta/candidates.h"
#include "threads.h"

namespace vtcd {
namespace {

struct Case {
  std::vector<uint64_t> words;
  SupportSet set;
};

// Noisy copies of two objects; some supports are empty, and so are all in the last video.
Case make_case(const std::vector<int64_t>& models, const std::vector<int64_t>& num_words) {
  PhiloxStream random(PhiloxDomain::kTests, 11, 0);
  Case made;
  made.set.models = models;
  made.set.videos = {0};
  const auto word = [&] { return uint64_t{random.next()} << 32 | random.next(); };
  for (const int64_t count : num_words) {
    made.set.videos.push_back(made.set.videos.back() + count);
    std::vector<uint64_t> objects(2 * count);
    for (uint64_t& bits : objects) bits = word();
    const bool last = static_cast<int64_t>(made.set.videos.size()) > std::ssize(num_words);
    for (int64_t i = 0; i < models.back(); ++i) {
      const bool empty = last || random.uniform() < 0.2;
      for (int64_t k = 0; k < count; ++k) {
        const uint64_t noise = word() & word() & word();
        made.words.push_back(empty ? 0 : objects[(i % 2) * count + k] ^ noise);
      }
    }
  }
  made.set.words = made.words.data();
  return made;
}

double score(const SupportSet& set, const std::vector<int32_t>& tuple) {
  double total = 0, counted = 0;
  for (int64_t video = 0; video < set.num_videos(); ++video) {
    int64_t common = 0, any = 0;
    for (int64_t k = 0; k < set.num_words(video); ++k) {
      uint64_t all = ~uint64_t{0}, some = 0;
      for (const int32_t member : tuple) {
        all &= set.row(video, member)[k];
        some |= set.row(video, member)[k];
      }
      common += std::popcount(all);
      any += std::popcount(some);
    }
    if (any == 0) continue;
    total += static_cast<double>(common) / static_cast<double>(any);
    counted += 1;
  }
  return counted > 0 ? total / counted : 0.0;
}

using Scores = std::map<std::vector<int32_t>, double>;

// Scores of all tuples from model `model` on that extend `tuple`.
void score_all(const SupportSet& set, size_t model, std::vector<int32_t>& tuple, Scores& scores) {
  if (tuple.size() >= 2) scores[tuple] = score(set, tuple);
  for (size_t next = model; next + 1 < set.models.size(); ++next) {
    for (int64_t i = set.models[next]; i < set.models[next + 1]; ++i) {
      tuple.push_back(static_cast<int32_t>(i));
      score_all(set, next + 1, tuple, scores);
      tuple.pop_back();
    }
  }
}

Scores score_all(const SupportSet& set) {
  Scores scores;
  std::vector<int32_t> tuple;
  score_all(set, 0, tuple, scores);
  return scores;
}

Scores as_map(const RosettaResult& result) {
  Scores scores;
  for (const TupleList& list : result.orders) {
    for (int64_t i = 0; i < list.size(); ++i) {
      scores[{list.tuple(i), list.tuple(i) + list.order}] = list.scores[i];
    }
  }
  return scores;
}

RosettaOptions options(double least, int64_t max_order, int64_t top = 0,
                       int64_t max_tuples = 1000000) {
  return {least, max_order, top, max_tuples};
}

TEST(BitCount, EveryLengthAgainstWordByWord) {
  PhiloxStream random(PhiloxDomain::kTests, 3, 0);
  for (int64_t count = 0; count < 600; count += count < 40 ? 1 : 37) {
    std::vector<std::vector<uint64_t>> rows(5, std::vector<uint64_t>(count));
    std::vector<const uint64_t*> pointers;
    for (auto& row : rows) {
      for (uint64_t& bits : row) bits = uint64_t{random.next()} << 32 | random.next();
      pointers.push_back(row.data());
    }
    if (count > 0) rows[0][count - 1] = rows[1][count - 1] = ~uint64_t{0};
    int64_t common = 0, all = 0, any = 0;
    for (int64_t k = 0; k < count; ++k) {
      common += std::popcount(rows[0][k] & rows[1][k]);
      all += std::popcount(rows[0][k] & rows[1][k] & rows[2][k] & rows[3][k] & rows[4][k]);
      any += std::popcount(rows[0][k] | rows[1][k] | rows[2][k] | rows[3][k] | rows[4][k]);
    }
    EXPECT_EQ(count_common(rows[0].data(), rows[1].data(), count), common);
    const uint64_t* group[kCountGroup];
    int64_t of_group[kCountGroup];
    for (int i = 0; i < kCountGroup; ++i) group[i] = pointers[(i * i + 1) % 5];
    count_common(rows[0].data(), group, count, of_group);
    for (int i = 0; i < kCountGroup; ++i)
      EXPECT_EQ(of_group[i], count_common(rows[0].data(), group[i], count)) << "row " << i;
    const JointCount joint = count_joint(pointers.data(), 5, count);
    EXPECT_EQ(joint.common, all);
    EXPECT_EQ(joint.any, any);
  }
}

TEST(BitCount, FullRowsDoNotOverflow) {
  const std::vector<uint64_t> full(1000, ~uint64_t{0});
  const uint64_t* rows[] = {full.data(), full.data()};
  EXPECT_EQ(count_common(full.data(), full.data(), 1000), 64000);
  EXPECT_EQ(count_joint(rows, 2, 1000).any, 64000);
}

TEST(Rosetta, FindsWhatTryingEveryTupleFinds) {
  const Case made = make_case({0, 4, 7, 7, 11}, {3, 1, 0, 20, 2});
  const Scores every = score_all(made.set);
  for (const double least : {0.01, 0.15, 0.3, 0.6}) {
    Scores expected;
    std::copy_if(every.begin(), every.end(), std::inserter(expected, expected.end()),
                 [&](const auto& entry) { return entry.second >= least; });
    EXPECT_EQ(as_map(find_rosetta(made.set, options(least, 4), serial_for)), expected);
  }
}

TEST(Rosetta, BestFirst) {
  const Case made = make_case({0, 5, 10, 15}, {8, 3, 1});
  const RosettaResult result = find_rosetta(made.set, options(0.01, 3), serial_for);
  ASSERT_EQ(result.orders.size(), 2U);
  for (const TupleList& list : result.orders) {
    EXPECT_GT(list.size(), 10);
    EXPECT_TRUE(std::is_sorted(list.scores.rbegin(), list.scores.rend()));
  }
}

TEST(Rosetta, TopIsTheBeginningOfAll) {
  const Case made = make_case({0, 5, 10, 15}, {8, 3, 1});
  const RosettaResult all = find_rosetta(made.set, options(0.0, 3), serial_for);
  const RosettaResult top = find_rosetta(made.set, options(0.0, 3, 7), serial_for);
  ASSERT_EQ(top.orders.size(), 2U);
  for (size_t order = 0; order < 2; ++order) {
    ASSERT_EQ(top.orders[order].size(), 7);
    for (int64_t i = 0; i < 7; ++i) {
      EXPECT_EQ(top.orders[order].scores[i], all.orders[order].scores[i]);
    }
  }
}

TEST(Rosetta, TopOfEqualScoresIsTheFirst) {
  std::vector<uint64_t> words(4 * 60, ~uint64_t{0});
  const SupportSet set{words.data(), {0, 1}, {0, 60, 120, 180, 240}};
  const RosettaResult top = find_rosetta(set, options(0.0, 4, 10), serial_for);
  ASSERT_EQ(top.orders.size(), 3U);
  EXPECT_EQ(top.incomplete_order, 0);
  for (const TupleList& list : top.orders) {
    ASSERT_EQ(list.size(), 10);
    for (int64_t i = 0; i < 10; ++i) {
      std::vector<int32_t> expected{0, 60, 120, 180};
      expected.resize(list.order);
      expected.back() += static_cast<int32_t>(i);
      EXPECT_EQ(std::vector<int32_t>(list.tuple(i), list.tuple(i) + list.order), expected);
      EXPECT_EQ(list.scores[i], 1.0);
    }
  }
}

TEST(Rosetta, TopDoesNotDependOnThreadsNorOnPairsThatAreLeftOut) {
  const Case made = make_case({0, 20, 45, 60, 80}, {9, 4, 1});
  const RosettaResult all = find_rosetta(made.set, options(0.0, 4, 25), serial_for);
  EXPECT_EQ(all.incomplete_order, 0);
  // so few pairs may be held that the good ones alone remain
  for (const int64_t most : {200, 1000}) {
    const RosettaResult found =
        find_rosetta(made.set, options(0.0, 4, 25, most), threaded_for(most == 200 ? 2 : 3));
    const int64_t complete = found.incomplete_order == 0 ? 5 : found.incomplete_order;
    for (int64_t order = 2; order < complete; ++order) {
      EXPECT_EQ(found.orders[order - 2].members, all.orders[order - 2].members);
      EXPECT_EQ(found.orders[order - 2].scores, all.orders[order - 2].scores);
    }
    EXPECT_GE(complete, 3);
  }
}

TEST(Rosetta, TopGivesUpWhereTooManyWouldBeTried) {
  // halves of the voxels, at random: no bound tells which four overlap most
  PhiloxStream random(PhiloxDomain::kTests, 5, 0);
  std::vector<uint64_t> words(4 * 40);
  for (uint64_t& bits : words) bits = uint64_t{random.next()} << 32 | random.next();
  const SupportSet set{words.data(), {0, 1}, {0, 40, 80, 120, 160}};
  const RosettaResult few = find_rosetta(set, options(0.0, 4, 3, 60), serial_for);
  EXPECT_GE(few.incomplete_order, 3);
  const RosettaResult enough = find_rosetta(set, options(0.0, 4, 3, 100000), serial_for);
  EXPECT_EQ(enough.incomplete_order, 0);
}

TEST(Rosetta, SaysFromWhichScoreOnTheyAreNotTooMany) {
  const Case made = make_case({0, 5, 10, 15}, {8, 3, 1});
  std::vector<double> every;
  for (const auto& [tuple, value] : score_all(made.set)) every.push_back(value);
  std::sort(every.rbegin(), every.rend());
  for (const int64_t most : {1, 10, 60}) {
    const RosettaResult result = find_rosetta(made.set, options(0.01, 3, 0, most), serial_for);
    EXPECT_EQ(std::ssize(as_map(result)), most);
    EXPECT_GT(result.complete_from, every[most]);
    EXPECT_LE(result.complete_from, every[most - 1]);
  }
}

TEST(Rosetta, JoinKeepsOnlyTuplesAllOfWhosePartsAreThere) {
  const std::vector<int64_t> models{0, 2, 4, 6};
  const TupleList pairs{2, {0, 2, 0, 3, 0, 4, 1, 3, 1, 5, 2, 4, 3, 5}, std::vector<double>(7, 0.5)};
  std::vector<int32_t> joined;
  joined_candidates(pairs, models, 1, [&](const std::vector<int32_t>& slice) {
    joined.insert(joined.end(), slice.begin(), slice.end());
    return true;
  });
  EXPECT_EQ(joined, (std::vector<int32_t>{0, 2, 4, 1, 3, 5}));
}

TEST(Rosetta, ThreadsDoNotChangeABit) {
  const Case made = make_case({0, 40, 90, 120}, {9, 4, 1});
  const RosettaResult alone = find_rosetta(made.set, options(0.1, 3), serial_for);
  const std::vector<int32_t> members{0, 40, -1, 1, -1, 95};
  std::vector<double> ratios(2 * 3);
  tuple_ratios(made.set, members.data(), 2, 3, ratios.data(), serial_for);
  for (const int num_threads : {2, 3}) {
    const RosettaResult found = find_rosetta(made.set, options(0.1, 3), threaded_for(num_threads));
    for (size_t order = 0; order < 2; ++order) {
      EXPECT_EQ(found.orders[order].members, alone.orders[order].members);
      EXPECT_EQ(found.orders[order].scores, alone.orders[order].scores);
    }
    std::vector<double> again(2 * 3);
    tuple_ratios(made.set, members.data(), 2, 3, again.data(), threaded_for(num_threads));
    for (size_t i = 0; i < ratios.size(); ++i) {
      EXPECT_TRUE(again[i] == ratios[i] || (std::isnan(again[i]) && std::isnan(ratios[i])));
    }
  }
}

TEST(Rosetta, NoVideosNoModelsNoConcepts) {
  const Case no_videos = make_case({0, 2, 4}, {});
  EXPECT_TRUE(as_map(find_rosetta(no_videos.set, options(0.1, 2), serial_for)).empty());
  const Case no_concepts = make_case({0, 0, 0}, {2, 1});
  EXPECT_TRUE(as_map(find_rosetta(no_concepts.set, options(0.1, 2), serial_for)).empty());
  const Case no_models = make_case({0}, {2, 1});
  EXPECT_TRUE(as_map(find_rosetta(no_models.set, options(0.1, 2), serial_for)).empty());
}

}  // namespace
}  // namespace vtcd
