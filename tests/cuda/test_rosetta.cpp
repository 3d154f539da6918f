// SPDX-License-Identifier: MIT
// The kernels of the Rosetta operators against the core, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "cuda/rosetta_ratios.cuh"
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

}  // namespace
}  // namespace vtcd
