// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "core/cris_accumulate.h"
#include "core/cris_sample.h"
#include "threads.h"

namespace vtcd {
namespace {

constexpr MaskDesign kDesigns[] = {MaskDesign::kSimple, MaskDesign::kAntithetic,
                                   MaskDesign::kBalanced};

// Masks start, start + 1, ... as bytes, [M, U].
std::vector<char> sample(int64_t num_units, int64_t num_removed, MaskDesign design, int64_t start,
                         int64_t num_masks, const ParallelFor& parallel_for) {
  const auto keep = std::make_unique<bool[]>(num_masks * num_units);
  cris_sample(num_units, num_removed, 42, design, start, num_masks, parallel_for, keep.get());
  return {keep.get(), keep.get() + num_masks * num_units};
}

TEST(CrisSample, RoundsTheNumberRemoved) {
  EXPECT_EQ(removed_of(10, 0.25), 3);
  EXPECT_EQ(removed_of(10, 0.5), 5);
  EXPECT_EQ(removed_of(10, 0.001), 1);
  EXPECT_EQ(removed_of(10, 0.999), 9);
  EXPECT_EQ(removed_of(2, 0.5), 1);
}

TEST(CrisSample, EveryMaskRemovesTheSameNumber) {
  for (const MaskDesign design : kDesigns)
    for (const int64_t removed : {1, 6, 12}) {
      const std::vector<char> keep = sample(13, removed, design, 0, 45, serial_for);
      for (int64_t m = 0; m < 45; ++m)
        EXPECT_EQ(std::count(&keep[m * 13], &keep[m * 13] + 13, 0), removed);
    }
}

TEST(CrisSample, AMaskDependsOnNothingElse) {
  for (const MaskDesign design : kDesigns) {
    const std::vector<char> whole = sample(900, 300, design, 0, 100, serial_for);
    for (const int64_t start : {0, 1, 39, 99}) {
      const std::vector<char> part = sample(900, 300, design, start, 100 - start, threaded_for(3));
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + start * 900));
    }
  }
}

TEST(CrisSample, BlocksKeepWhatTheyPromise) {
  const std::vector<char> pairs = sample(11, 4, MaskDesign::kAntithetic, 0, 20, serial_for);
  for (int64_t pair = 0; pair < 10; ++pair)
    for (int64_t u = 0; u < 11; ++u)
      EXPECT_TRUE(pairs[(2 * pair) * 11 + u] || pairs[(2 * pair + 1) * 11 + u]);
  const std::vector<char> blocks = sample(11, 4, MaskDesign::kBalanced, 0, 60, serial_for);
  for (int64_t block = 0; block < 3; ++block) {
    std::vector<int64_t> counts(11);
    for (int64_t i = 0; i < kBalancedBlock * 11; ++i)
      counts[i % 11] += !blocks[block * kBalancedBlock * 11 + i];
    const auto [low, high] = std::minmax_element(counts.begin(), counts.end());
    EXPECT_LE(*high - *low, 1);
  }
}

TEST(CrisAccumulate, AddsInTheOrderOfTheMasks) {
  constexpr int64_t kUnitCount = 1000, kMaskCount = 70;
  const std::vector<char> bytes =
      sample(kUnitCount, 300, MaskDesign::kSimple, 0, kMaskCount, serial_for);
  const auto keep = std::make_unique<bool[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), keep.get());
  const auto present = std::make_unique<bool[]>(kUnitCount);
  for (int64_t u = 0; u < kUnitCount; ++u) present[u] = u % 3 != 0;
  std::vector<double> drop(kMaskCount), total(2 * kUnitCount), square(2 * kUnitCount);
  for (int64_t m = 0; m < kMaskCount; ++m) drop[m] = 1.0 / static_cast<double>(m + 3);
  std::vector<int64_t> count(2 * kUnitCount);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 31}, {31, 70}})
    cris_accumulate(keep.get() + begin * kUnitCount, drop.data() + begin, present.get(),
                    end - begin, kUnitCount, threaded_for(3), count.data(), total.data(),
                    square.data());
  for (int64_t u = 0; u < kUnitCount; ++u) {
    double sums[2] = {}, squares[2] = {};
    int64_t counts[2] = {};
    for (int64_t m = 0; m < kMaskCount && present[u]; ++m) {
      const int row = keep[m * kUnitCount + u];
      sums[row] += drop[m];
      squares[row] += drop[m] * drop[m];
      ++counts[row];
    }
    for (int64_t row = 0; row < 2; ++row) {
      EXPECT_EQ(total[row * kUnitCount + u], sums[row]);
      EXPECT_EQ(square[row * kUnitCount + u], squares[row]);
      EXPECT_EQ(count[row * kUnitCount + u], counts[row]);
    }
  }
}

}  // namespace
}  // namespace vtcd
