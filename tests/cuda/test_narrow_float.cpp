// SPDX-License-Identifier: MIT
// Conversions of half and bfloat16 against the compiler's own half and against distances.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/formulas/narrow_float.h"

namespace vtcd {
namespace {

uint16_t bits_of_half(_Float16 value) {
  uint16_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Numbers of every size, those around every half, and those between two of them.
std::vector<float> numbers() {
  std::vector<float> result{0.0f,
                            -0.0f,
                            std::numeric_limits<float>::infinity(),
                            65519.996f,
                            65520.0f,
                            0x1p-25f,
                            0x1.000002p-25f,
                            0x1p-24f,
                            0x1.8p-24f,
                            std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::denorm_min()};
  std::mt19937 random(3);
  for (int i = 0; i < 200000; ++i) {
    const float any = float_of(static_cast<uint32_t>(random()));
    if (!std::isnan(any)) result.push_back(any);
  }
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const float half = to_number(Half{static_cast<uint16_t>(bits)});
    const float next = to_number(Half{static_cast<uint16_t>(bits + 1)});
    const float between = half + (next - half) / 2;
    for (const float value : {half, between, std::nextafter(between, 0.0f),
                              std::nextafter(between, std::numeric_limits<float>::infinity())}) {
      result.push_back(value);
      result.push_back(-value);
    }
  }
  return result;
}

TEST(NarrowFloat, EveryHalfIsThatOfTheCompiler) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto narrow = static_cast<uint16_t>(bits);
    _Float16 half = 0;
    std::memcpy(&half, &narrow, sizeof(half));
    const auto expected = static_cast<float>(half);
    const float found = to_number(Half{narrow});
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(found)) << bits;
    } else {
      EXPECT_EQ(bits_of(found), bits_of(expected)) << bits;
      EXPECT_EQ(round_to<Half>(found).bits, narrow);
    }
  }
}

TEST(NarrowFloat, RoundsToTheHalfOfTheCompiler) {
  for (const float number : numbers())
    ASSERT_EQ(round_to<Half>(number).bits, bits_of_half(static_cast<_Float16>(number))) << number;
  EXPECT_EQ(round_to<Half>(std::nanf("")).bits & 0x7FFF, 0x7E00);
}

TEST(NarrowFloat, RoundsToTheNearestBFloat16) {
  for (const float number : numbers()) {
    const BFloat16 found = round_to<BFloat16>(number);
    const uint32_t below = bits_of(number) & 0xFFFF0000, rest = bits_of(number) & 0xFFFF;
    if (rest == 0) {
      ASSERT_EQ(bits_of(to_number(found)), bits_of(number));
      continue;
    }
    // The neighbour away from 0; infinity stands for the next power of 2, as IEEE 754 has it.
    const double low = std::fabs(float_of(below)),
                 high =
                     low + std::ldexp(1.0, std::max(static_cast<int>(below >> 23 & 0xFF), 1) - 134);
    const double exact = std::fabs(number);
    const bool tie_goes_up = (below >> 16 & 1) == 1;
    const bool up = exact - low > high - exact || (exact - low == high - exact && tie_goes_up);
    ASSERT_EQ(static_cast<uint32_t>(found.bits), (below >> 16) + (up ? 1 : 0)) << number;
  }
  EXPECT_TRUE(std::isnan(to_number(round_to<BFloat16>(std::nanf("")))));
}

}  // namespace
}  // namespace vtcd
