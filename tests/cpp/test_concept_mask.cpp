// SPDX-License-Identifier: MIT
#include "core/concept_mask.h"

#include <gtest/gtest.h>

#include <vector>

#include "threads.h"

namespace vtcd {
namespace {

// 2 samples, 3 heads, 40 tokens of which 2 are prefix, 5 channels, 4 units.
struct Example {
  Example() {
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i * 37 % 101) - 50;
    for (size_t i = 0; i < assign.size(); ++i) assign[i] = static_cast<int32_t>(i * 7 % 5) - 1;
    for (size_t i = 0; i < keep.size(); ++i) keep[i] = static_cast<double>(i * 3 % 8) / 4;
  }

  MaskedTokens tokens() const { return {2, 3, 40, 5, 2, assign.data(), false, 4}; }

  // What token n of head a is multiplied by.
  double factor(int64_t b, int64_t a, int64_t n) const {
    if (n < 2) return 1;
    const int32_t unit = assign[(b * 3 + a) * 38 + n - 2];
    return unit < 0 ? 1 : keep[b * 4 + unit];
  }

  std::vector<double> x = std::vector<double>(2 * 3 * 40 * 5);
  std::vector<int32_t> assign = std::vector<int32_t>(2 * 3 * 38);
  std::vector<double> keep = std::vector<double>(2 * 4);
};

constexpr FeatureStrides kContiguous = {600, 200, 5, 1};      // [B, A, N, C]
constexpr FeatureStrides kTransposed = {600, 5, 15, 1};       // [B, N, A, C]
constexpr FeatureStrides kChannelsApart = {600, 200, 1, 40};  // [B, A, C, N]

int64_t at(const FeatureStrides& strides, int64_t b, int64_t a, int64_t n, int64_t c) {
  return b * strides.batch + a * strides.head + n * strides.token + c * strides.channel;
}

TEST(ConceptMask, MultipliesInEveryLayout) {
  const Example example;
  for (const FeatureStrides& from : {kContiguous, kTransposed, kChannelsApart}) {
    for (const FeatureStrides& to : {kContiguous, kTransposed, kChannelsApart}) {
      std::vector<double> out(example.x.size(), -7);
      concept_mask(example.tokens(), example.x.data(), from, example.keep.data(), threaded_for(3),
                   out.data(), to);
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t a = 0; a < 3; ++a)
          for (int64_t n = 0; n < 40; ++n)
            for (int64_t c = 0; c < 5; ++c)
              EXPECT_EQ(out[at(to, b, a, n, c)],
                        example.x[at(from, b, a, n, c)] * example.factor(b, a, n));
    }
  }
}

TEST(ConceptMask, ABoolTableSelects) {
  const std::vector<uint32_t> x = {7, 8, 9};
  const std::vector<int32_t> assign = {0, -1, 1};
  const bool keep[] = {false, true};
  std::vector<uint32_t> out(3, 1);
  const MaskedTokens tokens = {1, 1, 3, 1, 0, assign.data(), true, 2};
  concept_mask(tokens, x.data(), {3, 3, 1, 1}, keep, serial_for, out.data(), {3, 3, 1, 1});
  EXPECT_EQ(out, (std::vector<uint32_t>{0, 8, 9}));
}

TEST(ConceptMask, BackwardIsTheTransposeInBoth) {
  const Example example;
  std::vector<double> grad(example.x.size());
  for (size_t i = 0; i < grad.size(); ++i) grad[i] = static_cast<double>(i * 53 % 89) - 44;
  std::vector<double> serial, grad_x(grad.size()), grad_keep(example.keep.size());
  for (const int64_t threads : {1, 3}) {
    concept_mask_backward(example.tokens(), grad.data(), kContiguous, example.x.data(), kContiguous,
                          example.keep.data(), threaded_for(threads), grad_x.data(), kContiguous,
                          grad_keep.data());
    if (threads == 1) serial = grad_keep;
  }
  EXPECT_EQ(grad_keep, serial);
  std::vector<double> expected(example.keep.size());
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t a = 0; a < 3; ++a)
      for (int64_t n = 0; n < 40; ++n)
        for (int64_t c = 0; c < 5; ++c) {
          const int64_t i = at(kContiguous, b, a, n, c);
          EXPECT_EQ(grad_x[i], grad[i] * example.factor(b, a, n));
          const int32_t unit = n < 2 ? -1 : example.assign[(b * 3 + a) * 38 + n - 2];
          if (unit >= 0) expected[b * 4 + unit] += grad[i] * example.x[i];
        }
  EXPECT_EQ(grad_keep, expected);  // integers: exact in any order
}

}  // namespace
}  // namespace vtcd
