// SPDX-License-Identifier: MIT
// The kernels of concept_mask against the core, bit for bit.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "core/concept_mask.h"
#include "cuda/concept_mask.cuh"
#include "mask_problems.h"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

template <typename Scalar, typename Factor>
void expect_equal_to_core(const MaskProblem& problem, bool transposed) {
  std::mt19937 random(7);
  const std::vector<int32_t> units = random_units(problem, random);
  const MaskedTokens tokens = tokens_of(problem, units);
  std::vector<Scalar> x(problem.size()), expected(problem.size()), found(problem.size());
  for (Scalar& value : x) value = static_cast<Scalar>(random());
  std::vector<char> table(problem.batch * problem.num_units * sizeof(Factor));
  auto* keep = reinterpret_cast<Factor*>(table.data());
  for (int64_t i = 0; i < problem.batch * problem.num_units; ++i)
    keep[i] = static_cast<Factor>(random() % 3 / 2.0);
  const FeatureStrides layout = strides(problem, transposed);
  concept_mask(tokens, x.data(), layout, keep, serial_for, expected.data(), layout);
  std::array<int64_t, 2> outside{};
  cuda::concept_mask(tokens, x.data(), layout, keep, found.data(), layout, outside.data(), kStream);
  EXPECT_EQ(found, expected);
  EXPECT_LE(outside[1], problem.num_units);
}

// A transposed problem has a block for every token, so only short ones are.
TEST(ConceptMaskKernel, EqualsTheCore) {
  const std::vector<MaskProblem> problems{
      {1, 1, 1, 1, 0, 1, false}, {2, 3, 5, 7, 1, 4, false},    {2, 2, 9, 64, 0, 9, true},
      {3, 2, 6, 12, 2, 5, true}, {1, 2, 300, 16, 5, 3, false}, {2, 2, 3, 8, 3, 2, false},
  };
  for (const MaskProblem& problem : problems) {
    for (const bool transposed : {false, true}) {
      if (transposed && problem.num_tokens > 9) continue;
      expect_equal_to_core<uint16_t, bool>(problem, transposed);
      expect_equal_to_core<float, float>(problem, transposed);
#if !defined(__SANITIZE_THREAD__)  // the same code, thirty times as slow
      expect_equal_to_core<uint32_t, bool>(problem, transposed);
      expect_equal_to_core<uint64_t, bool>(problem, transposed);
      expect_equal_to_core<double, double>(problem, transposed);
#endif
    }
  }
}

TEST(ConceptMaskKernel, TakesEmptyInput) {
  const std::vector<int32_t> units;
  const FeatureStrides none{0, 0, 0, 1};
  std::array<int64_t, 2> outside{};
  const MaskedTokens tokens{0, 2, 3, 4, 0, units.data(), false, 2};
  cuda::concept_mask<float, float>(tokens, nullptr, none, nullptr, nullptr, none, outside.data(),
                                   kStream);
  EXPECT_EQ(outside, (std::array<int64_t, 2>{0, 0}));
}

TEST(ConceptMaskKernel, ReportsUnitsOutsideAndLeavesTheirTokens) {
  const std::vector<int32_t> units{0, 5, -7, -1};
  const MaskedTokens tokens{1, 1, 4, 1, 0, units.data(), false, 2};
  const FeatureStrides layout{4, 4, 1, 1};
  const std::vector<float> x{1, 2, 3, 4}, keep{0.5f, 0.25f};
  std::vector<float> out(4);
  std::array<int64_t, 2> outside{};
  cuda::concept_mask(tokens, x.data(), layout, keep.data(), out.data(), layout, outside.data(),
                     kStream);
  EXPECT_EQ(out, (std::vector<float>{0.5f, 2, 3, 4}));
  EXPECT_EQ(outside, (std::array<int64_t, 2>{7, 6}));
}

TEST(ConceptMaskKernel, FindsRowsOfMorePacksThan32BitsCount) {
  for (const uint32_t packs_a_row : {1u, 3u, 64u, 0xFFFFFFFFu}) {
    for (const int64_t pack :
         {int64_t{0}, int64_t{0xFFFFFFFF}, int64_t{0x100000000}, int64_t{0x7FFFFFFFFFF}})
      EXPECT_EQ(cuda::row_of_pack(pack, packs_a_row), pack / int64_t{packs_a_row});
  }
}

}  // namespace
}  // namespace vtcd
