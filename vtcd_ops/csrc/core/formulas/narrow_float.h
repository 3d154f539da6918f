// SPDX-License-Identifier: MIT
// Numbers of 16 bits as CPU and GPU share them: they are computed with as float32 and rounded back
// to the nearest, a tie to the even one, which gives the bits that torch's conversions give.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/formulas/host_device.h"

namespace vtcd {

struct Half {  // IEEE binary16
  uint16_t bits;
};
struct BFloat16 {  // the upper half of a float32
  uint16_t bits;
};

// The type that numbers of a dtype are computed in.
template <typename Scalar>
struct NumberOf {
  using Type = Scalar;
};
template <>
struct NumberOf<Half> {
  using Type = float;
};
template <>
struct NumberOf<BFloat16> {
  using Type = float;
};
template <typename Scalar>
using Number = typename NumberOf<Scalar>::Type;

VTCD_HOST_DEVICE inline uint32_t bits_of(float value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

VTCD_HOST_DEVICE inline float float_of(uint32_t bits) {
  float value = 0;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

VTCD_HOST_DEVICE inline float to_number(float value) { return value; }
VTCD_HOST_DEVICE inline double to_number(double value) { return value; }

VTCD_HOST_DEVICE inline float to_number(BFloat16 value) {
  return float_of(static_cast<uint32_t>(value.bits) << 16);
}

VTCD_HOST_DEVICE inline float to_number(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t magnitude = value.bits & 0x7FFF;
  // The exponent's bias is 15 there, 127 here: too large by 224 - 112, taken back by a product
  // that leaves infinity and NaN. Below 2^-14 there is no leading 1: one is lent by 0.5.
  const float normal = float_of((magnitude << 13) + (224u << 23)) * 0x1p-112f;
  const float subnormal = float_of(magnitude | (126u << 23)) - 0.5f;
  return float_of(sign | bits_of(magnitude < 0x0400 ? subnormal : normal));
}

template <typename Scalar>
VTCD_HOST_DEVICE inline Scalar round_to(Number<Scalar> number) {
  return number;
}

template <>
VTCD_HOST_DEVICE inline BFloat16 round_to<BFloat16>(float number) {
  const uint32_t bits = bits_of(number);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return {0x7FC0};  // NaN
  return {static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

template <>
VTCD_HOST_DEVICE inline Half round_to<Half>(float number) {
  const uint32_t bits = bits_of(number), magnitude = bits & 0x7FFFFFFF;
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  if (magnitude > 0x7F800000) return {static_cast<uint16_t>(sign | 0x7E00)};  // NaN
  // From 65520, which is halfway between the largest number and 2^16, all is infinite.
  if (magnitude >= 0x477FF000) return {static_cast<uint16_t>(sign | 0x7C00)};
  if (magnitude < 0x38800000) {  // below 2^-14: a multiple of 2^-24, which adding 0.5 rounds to
    const uint32_t units = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    return {static_cast<uint16_t>(sign | units)};
  }
  const uint32_t rounded = magnitude + 0x0FFF + ((magnitude >> 13) & 1);
  return {static_cast<uint16_t>(sign | ((rounded - (112u << 23)) >> 13))};
}

}  // namespace vtcd
