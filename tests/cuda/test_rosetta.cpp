// SPDX-License-Identifier: MIT
// The kernels of the Rosetta operators against the core, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "core/rosetta/scorer.h"
#include "cuda/rosetta_ratios.cuh"
#include "cuda/rosetta_scorer.h"
#include "cuda/rosetta_search.cu"
#include "supports.h"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

struct Ratios {
  std::vector<uint64_t> bits;  // of the ratios: NaN is equal to NaN
  int64_t fault;
};

Ratios ratios_of(const SupportSet& set, const std::vector<int32_t>& tuples) {
  const int64_t count = static_cast<int64_t>(tuples.size()) / set.num_models();
  std::vector<int32_t> members(tuples.size());
  std::vector<double> ratios(count * set.num_videos());
  int64_t fault = 0;
  cuda::launch_rosetta_ratios(set.rows(),
                              {tuples.data(), set.models.data(), count, set.num_models()},
                              members.data(), ratios.data(), &fault, kStream);
  Ratios found{{}, fault};
  for (const double ratio : ratios) found.bits.push_back(std::bit_cast<uint64_t>(ratio));
  return found;
}

std::vector<int32_t> random_tuples(const SupportSet& set, int64_t count) {
  std::mt19937 random(5);
  std::vector<int32_t> tuples;
  while (static_cast<int64_t>(tuples.size()) < count * set.num_models()) {
    const size_t begin = tuples.size();
    bool some = false;
    for (int64_t m = 0; m < set.num_models(); ++m) {
      const int64_t concepts = set.models[m + 1] - set.models[m];
      tuples.push_back(static_cast<int32_t>(random() % (concepts + 1)) - 1);
      some |= tuples.back() >= 0;
    }
    if (!some) tuples.resize(begin);
  }
  return tuples;
}

void expect_ratios_of_the_core(const SupportSet& set, int64_t count) {
  const std::vector<int32_t> tuples = random_tuples(set, count);
  std::vector<int32_t> members = tuples;
  for (size_t i = 0; i < members.size(); ++i)
    if (members[i] >= 0) members[i] += static_cast<int32_t>(set.models[i % set.num_models()]);
  std::vector<double> expected(count * set.num_videos());
  tuple_ratios(set, members.data(), count, set.num_models(), expected.data(), serial_for);
  const Ratios found = ratios_of(set, tuples);
  EXPECT_EQ(found.fault, 0);
  ASSERT_EQ(found.bits.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(found.bits[i], std::bit_cast<uint64_t>(expected[i])) << i;
}

TEST(RosettaRatiosKernel, EqualsTheCore) {
  expect_ratios_of_the_core(make_supports({0, 3, 5}, {1, 2, 1}).set, 1);
  expect_ratios_of_the_core(make_supports({0, 4, 4, 7, 9}, {31, 0, 33, 130, 1}).set, 19);
  expect_ratios_of_the_core(make_supports({0, 2}, {127, 3}).set, 3);
  expect_ratios_of_the_core(make_supports({0, 3, 5}, {}).set, 4);
  expect_ratios_of_the_core(make_supports({0, 3, 5}, {4}).set, 0);
}

TEST(RosettaRatiosKernel, ReportsTheFirstFault) {
  for (const std::vector<int64_t>& num_words : {std::vector<int64_t>{3, 1}, {}}) {
    const MadeSupports made = make_supports({0, 3, 5}, num_words);
    // places: two members of a row, then the row
    EXPECT_EQ(ratios_of(made.set, {0, 1, -1, 0, 2, -1}).fault, 0);
    EXPECT_EQ(ratios_of(made.set, {0, 1, 0, 2, -2, 0}).fault, 9 - 4);
    EXPECT_EQ(ratios_of(made.set, {3, 1, 0, 2, -2, 0}).fault, 9 - 0);
    EXPECT_EQ(ratios_of(made.set, {0, 1, -1, -1, 7, 0}).fault, 9 - 5);
    EXPECT_EQ(ratios_of(made.set, {0, 1, 0, 1, INT32_MIN, INT32_MAX}).fault, 9 - 6);
  }
}

// Memory of the host in the place of the device's; what is asked for again is another piece, so
// that a pointer that is used too long is found.
cuda::DeviceMemory host_memory() {
  return [pieces = std::make_shared<std::map<int, std::vector<std::max_align_t>>>()](int number,
                                                                                     size_t bytes) {
    std::vector<std::max_align_t>& piece = (*pieces)[number];
    piece = std::vector<std::max_align_t>(bytes / sizeof(std::max_align_t) + 1);
    return static_cast<void*>(piece.data());
  };
}

using Scored = std::map<std::vector<int32_t>, uint64_t>;  // bits of the scores

Scored as_map(const TupleList& list) {
  Scored scored;
  for (int64_t i = 0; i < list.size(); ++i)
    scored[{list.tuple(i), list.tuple(i) + list.order}] = std::bit_cast<uint64_t>(list.scores[i]);
  EXPECT_EQ(std::ssize(scored), list.size());
  return scored;
}

// Concepts that do not fill a tile, and those that fill several; videos of many lengths.
std::vector<MadeSupports> some_supports() {
  std::vector<MadeSupports> made;
  made.push_back(make_supports({0, 1, 2}, {1, 1}));
  made.push_back(make_supports({0, 4, 4, 7, 9}, {31, 0, 33, 2, 130, 1}));
  made.push_back(make_supports({0, 33, 67}, {5, 64, 1}));
  return made;
}

TEST(RosettaSearchKernel, PairsEqualTheCore) {
  for (const MadeSupports& made : some_supports()) {
    HostScorer core(made.set, serial_for);
    cuda::DeviceScorer scorer(made.set, host_memory(), kStream);
    const int64_t last = made.set.num_concepts();
    for (const double least : {1e-9, 0.15}) {
      const int64_t begin = least < 0.1 ? 0 : 1;
      EXPECT_EQ(as_map(scorer.score_pairs(begin, last - 1, least)),
                as_map(core.score_pairs(begin, last - 1, least)));
    }
  }
}

TEST(RosettaSearchKernel, TilesGoOnToTheEndWhereManyPairsAreLeft) {
  const MadeSupports made = make_supports({0, 33, 66}, {3, 2, 2});
  HostScorer core(made.set, serial_for);
  cuda::DeviceScorer scorer(made.set, host_memory(), kStream);
  const TupleList found = scorer.score_pairs(0, 33, 1e-9);
  EXPECT_GT(found.size(), 2 * cuda::kFewPairs);
  EXPECT_EQ(as_map(found), as_map(core.score_pairs(0, 33, 1e-9)));
}

TEST(RosettaSearchKernel, TuplesEqualTheCore) {
  const MadeSupports made = make_supports({0, 4, 7, 9, 12}, {31, 0, 33, 2, 130, 1});
  HostScorer core(made.set, serial_for);
  cuda::DeviceScorer scorer(made.set, host_memory(), kStream);
  std::vector<int32_t> triples, quadruples;
  for (int32_t a = 0; a < 4; ++a)
    for (int32_t b = 4; b < 7; ++b)
      for (int32_t c = 7; c < 9; ++c) {
        triples.insert(triples.end(), {a, b, c});
        quadruples.insert(quadruples.end(), {a, b, c, 9 + a % 3});
      }
  for (const double least : {1e-9, 0.2}) {
    EXPECT_EQ(as_map(scorer.score_tuples(triples, 3, least)),
              as_map(core.score_tuples(triples, 3, least)));
    EXPECT_EQ(as_map(scorer.score_tuples(quadruples, 4, least)),
              as_map(core.score_tuples(quadruples, 4, least)));
  }
}

TEST(RosettaSearchKernel, ExtensionsEqualTheCore) {
  const MadeSupports made = make_supports({0, 4, 7, 12}, {31, 0, 33, 2, 130, 1});
  HostScorer core(made.set, serial_for);
  cuda::DeviceScorer scorer(made.set, host_memory(), kStream);
  Branches branches{2, {}, {}, {}, {0}, {}};
  for (int32_t c = 7; c < 12; ++c) branches.extensions.push_back({c, c == 9 ? 0.05 : 0.9});
  for (int32_t a = 0; a < 4; ++a)
    for (int32_t b = 4; b < 7; ++b) {
      const int32_t pair[] = {a, b};
      branches.add(pair, a == 2 ? 0.2 : 0.8, a % 3, b == 5 ? a % 3 : 5);  // some have none
    }
  for (const double least : {1e-9, 0.2})
    EXPECT_EQ(scorer.score_extensions(branches, least), core.score_extensions(branches, least));
}

TEST(RosettaSearchKernel, TheSearchFindsWhatTheCoreFinds) {
  const MadeSupports made = make_supports({0, 3, 3, 5, 7}, {31, 0, 33, 2, 1});
  for (const RosettaOptions& options :
       {RosettaOptions{0.1, 4, 0, 1000}, RosettaOptions{0.0, 4, 7, 1000},
        RosettaOptions{0.0, 3, 0, 10}}) {
    cuda::DeviceScorer scorer(made.set, host_memory(), kStream);
    const RosettaResult found = find_rosetta(scorer, made.set.models, options);
    const RosettaResult expected = find_rosetta(made.set, options, serial_for);
    ASSERT_EQ(found.orders.size(), expected.orders.size());
    for (size_t i = 0; i < found.orders.size(); ++i) {
      EXPECT_EQ(found.orders[i].members, expected.orders[i].members);
      EXPECT_EQ(found.orders[i].scores, expected.orders[i].scores);
    }
    EXPECT_EQ(found.complete_from, expected.complete_from);
    EXPECT_EQ(found.incomplete_order, expected.incomplete_order);
  }
}

}  // namespace
}  // namespace vtcd
