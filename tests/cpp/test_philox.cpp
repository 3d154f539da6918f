// SPDX-License-Identifier: MIT
#include "core/formulas/philox.h"

#include <gtest/gtest.h>

namespace vtcd {
namespace {

// Known answers of the Random123 library (kat_vectors, philox4x32 with 10 rounds).
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, StreamIsTheWordsOfConsecutiveCounters) {
  const uint64_t seed = 0x123456789abcdef0;
  PhiloxStream stream(PhiloxDomain::kKMeans, seed, 0x900000007);
  for (uint32_t block = 0; block < 3; ++block) {
    const PhiloxCounter words = philox4x32({block, 1 << 24, 7, 9}, {0x9abcdef0, 0x12345678});
    for (const uint32_t word : words) EXPECT_EQ(stream.next(), word);
  }
}

TEST(Random, DomainsSeedsAndIndicesDiffer) {
  const PhiloxDomain masks = PhiloxDomain::kMasks, kmeans = PhiloxDomain::kKMeans;
  const uint32_t first = PhiloxStream(masks, 1, 2).next();
  EXPECT_NE(PhiloxStream(kmeans, 1, 2).next(), first);
  EXPECT_NE(PhiloxStream(masks, 2, 2).next(), first);
  EXPECT_NE(PhiloxStream(masks, 1, 3).next(), first);
  EXPECT_NE(PhiloxStream(masks, 1, uint64_t{2} << 32).next(), first);
}

// Once restart 0 of k-means drew the numbers of the second block of masks of the same seed.
TEST(Random, DomainsShareNoCounter) {
  for (uint64_t index = 0; index < 8; ++index) {
    PhiloxStream clusters(PhiloxDomain::kKMeans, 5, 0);
    const uint32_t word = clusters.next();
    PhiloxStream masks(PhiloxDomain::kMasks, 5, index);
    for (int i = 0; i < 64; ++i) EXPECT_NE(masks.next(), word);
  }
}

TEST(Random, UniformLiesInTheUnitIntervalWithItsMoments) {
  PhiloxStream stream(PhiloxDomain::kTests, 5, 0);
  double sum = 0, sum_of_squares = 0;
  const int count = 100000;
  for (int i = 0; i < count; ++i) {
    const double value = stream.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    sum_of_squares += value * value;
  }
  EXPECT_NEAR(sum / count, 1.0 / 2, 0.005);  // five standard errors
  EXPECT_NEAR(sum_of_squares / count, 1.0 / 3, 0.005);
}

}  // namespace
}  // namespace vtcd
