// SPDX-License-Identifier: MIT
// The kernels of cris_sample and cris_accumulate against the core, bit for bit.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "core/cris_accumulate.h"
#include "core/cris_sample.h"
#include "cuda/cris.cuh"
#include "cuda/finite.cuh"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

void expect_masks_of_the_core(int64_t num_units, double ratio, MaskDesign design, int64_t start,
                              int64_t num_masks, int64_t at_once) {
  const uint64_t seed = 0x9E3779B97F4A7C15;
  const int64_t removed = removed_of(num_units, ratio), size = num_masks * num_units;
  const auto expected = std::make_unique<bool[]>(size), found = std::make_unique<bool[]>(size);
  cris_sample(num_units, removed, seed, design, start, num_masks, serial_for, expected.get());
  const int64_t first = start / block_length(design);
  const int64_t end = (start + num_masks - 1) / block_length(design) + 1;
  std::vector<uint32_t> units(at_once * num_units);
  std::vector<int64_t> removals(at_once * num_units);
  for (int64_t block = first; block < end; block += at_once) {
    const cuda::MaskBlocks blocks{num_units, removed, start, num_masks,
                                  seed,      design,  block, std::min(at_once, end - block)};
    cuda::launch_draw_blocks(blocks, units.data(),
                             design == MaskDesign::kBalanced ? removals.data() : nullptr,
                             found.get(), kStream);
  }
  for (int64_t i = 0; i < size; ++i) ASSERT_EQ(found[i], expected[i]) << i;
}

TEST(CrisSampleKernel, EqualsTheCore) {
  for (const auto design : {MaskDesign::kSimple, MaskDesign::kAntithetic, MaskDesign::kBalanced}) {
    expect_masks_of_the_core(2, 0.5, design, 0, 1, 100);
    expect_masks_of_the_core(37, 0.3, design, 7, 45, 100);
    expect_masks_of_the_core(11, 0.8, design, (int64_t{1} << 62) - 50, 50, 2);
  }
}

struct Sums {
  std::vector<int64_t> count;
  std::vector<double> total, total_sq;

  bool operator==(const Sums&) const = default;
};

struct Masks {
  std::unique_ptr<bool[]> keep, present;
  std::vector<double> drop;
};

Masks random_masks(int64_t num_masks, int64_t num_units, std::mt19937& random) {
  Masks masks{std::make_unique<bool[]>(num_masks * num_units), std::make_unique<bool[]>(num_units),
              std::vector<double>(num_masks)};
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < num_masks * num_units; ++i) masks.keep[i] = random() % 3 > 0;
  for (int64_t u = 0; u < num_units; ++u) masks.present[u] = random() % 4 > 0;
  for (double& drop : masks.drop) drop = normal(random);
  if (num_masks > 2) masks.drop[1] = std::numeric_limits<double>::max();  // its square is infinite
  return masks;
}

TEST(CrisAccumulateKernel, EqualsTheCore) {
  std::mt19937 random(4);
  for (const auto& [num_masks, num_units] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {0, 5}, {3, 0}, {50, 33}, {7, 300}}) {
    const Masks masks = random_masks(num_masks, num_units, random);
    for (const bool* present :
         {static_cast<const bool*>(nullptr), static_cast<const bool*>(masks.present.get())}) {
      Sums expected{std::vector<int64_t>(2 * num_units, 5),
                    std::vector<double>(2 * num_units, -0.0),
                    std::vector<double>(2 * num_units, 0.3)};
      Sums found = expected;
      const int64_t none = 0;
      cris_accumulate(masks.keep.get(), masks.drop.data(), present, num_masks, num_units,
                      serial_for, expected.count.data(), expected.total.data(),
                      expected.total_sq.data());
      cuda::launch_accumulate(masks.keep.get(), masks.drop.data(), present, num_masks, num_units,
                              &none, found.count.data(), found.total.data(), found.total_sq.data(),
                              kStream);
      EXPECT_EQ(found, expected);
    }
  }
}

TEST(CrisAccumulateKernel, AddsNothingWhereADropIsNotFinite) {
  const bool keep[2] = {true, false};
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    std::vector<double> drop(300, 1.0), total(2), total_sq(2);
    std::vector<int64_t> count(2);
    int64_t not_finite = 0;
    cuda::find_non_finite(drop.data(), 300, &not_finite, kStream);
    EXPECT_EQ(not_finite, 0);
    drop[299] = bad;
    cuda::find_non_finite(drop.data(), 300, &not_finite, kStream);
    EXPECT_EQ(not_finite, 1);
    cuda::launch_accumulate(keep, drop.data(), nullptr, 2, 1, &not_finite, count.data(),
                            total.data(), total_sq.data(), kStream);
    EXPECT_EQ(count, (std::vector<int64_t>{0, 0}));
    EXPECT_EQ(total, (std::vector<double>{0, 0}));
  }
}

}  // namespace
}  // namespace vtcd
