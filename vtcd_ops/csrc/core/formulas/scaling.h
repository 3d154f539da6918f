// SPDX-License-Identifier: MIT
// Points about an origin among them, scaled by a power of two, which is exact, to magnitudes below
// 1: their squares neither overflow nor vanish, and a common offset costs no digits.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// Points whose median is the origin.
constexpr int64_t kMedianSample = 31;
// Above this exponent a difference of two numbers may overflow.
constexpr int kLargestSafeExponent = 1020;

// The i-th of those points, of count of num_points.
VTCD_HOST_DEVICE inline int64_t median_sample(int64_t i, int64_t count, int64_t num_points) {
  return i * num_points / count;
}

// e with 2^(e - 1) <= largest < 2^e; 0 for 0.
VTCD_HOST_DEVICE inline int exponent_above(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return exponent;
}

// By how many powers of two numbers are made smaller before they are subtracted or added.
VTCD_HOST_DEVICE inline int headroom_of(int exponent) {
  return exponent > kLargestSafeExponent ? 2 : 0;
}

// 2^exponent in two factors: one alone may lie beyond a double's own exponents.
struct PowerOfTwo {
  double first, second;  // second is 1 but for extreme exponents

  VTCD_HOST_DEVICE static PowerOfTwo of(int exponent) {
    if (exponent >= -1000 && exponent <= 1000) return {std::ldexp(1.0, exponent), 1.0};
    return {std::ldexp(1.0, exponent / 2), std::ldexp(1.0, exponent - exponent / 2)};
  }
  VTCD_HOST_DEVICE double times(double value) const { return value * first * second; }
};

// value = centred * 2^exponent + origin, for one channel.
struct Centring {
  double shrink;     // 2^-headroom
  PowerOfTwo scale;  // 2^-(exponent - headroom)
  int exponent;

  VTCD_HOST_DEVICE double difference(double value, double origin) const {
    return value * shrink - origin * shrink;
  }
  VTCD_HOST_DEVICE double centred(double value, double origin) const {
    return scale.times(difference(value, origin));
  }
};

// The original value of a centred one.
VTCD_HOST_DEVICE inline double restored(double centred, double origin, int exponent) {
  const int headroom = headroom_of(exponent);
  const double sum =
      PowerOfTwo::of(exponent - headroom).times(centred) + origin * std::ldexp(1.0, -headroom);
  return sum * std::ldexp(1.0, headroom);
}

}  // namespace vtcd
