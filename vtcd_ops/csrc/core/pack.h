// SPDX-License-Identifier: MIT
// As many doubles as one register of the instruction set holds. All operations on a Pack are per
// element, so what is computed does not depend on its width.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "core/formulas/ordered_sum.h"

namespace vtcd {

#if defined(__AVX512F__)
inline constexpr int kPackSize = 8;
#elif defined(__AVX2__)
inline constexpr int kPackSize = 4;
#else
inline constexpr int kPackSize = 2;
#endif

// Rows that packs run over are padded to a multiple of this, whatever the instruction set.
inline constexpr int64_t kRowAlignment = 8;

typedef double Pack __attribute__((vector_size(kPackSize * sizeof(double))));
typedef int64_t IndexPack __attribute__((vector_size(kPackSize * sizeof(int64_t))));

// The same register as floats, and as integers of their size.
inline constexpr int kFloatPackSize = 2 * kPackSize;
inline constexpr int64_t kFloatRowAlignment = 2 * kRowAlignment;
typedef float FloatPack __attribute__((vector_size(kFloatPackSize * sizeof(float))));
typedef int32_t IntPack __attribute__((vector_size(kFloatPackSize * sizeof(int32_t))));

inline int64_t padded(int64_t size) {
  return (size + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

inline int64_t padded_floats(int64_t size) {
  return (size + kFloatRowAlignment - 1) / kFloatRowAlignment * kFloatRowAlignment;
}

inline Pack load(const double* from) {
  Pack pack;
  std::memcpy(&pack, from, sizeof pack);
  return pack;
}

inline FloatPack load(const float* from) {
  FloatPack pack;
  std::memcpy(&pack, from, sizeof pack);
  return pack;
}

inline void store(double* to, const Pack& pack) { std::memcpy(to, &pack, sizeof pack); }
inline void store(float* to, const FloatPack& pack) { std::memcpy(to, &pack, sizeof pack); }

// Sums run in the lanes of core/formulas/ordered_sum.h whatever the instruction set, which are
// added in one order: the result is the same everywhere.
static_assert(kRowAlignment == kSumLanes);
inline constexpr int kRowPacks = static_cast<int>(kRowAlignment) / kPackSize;

inline double sum_in_order(const Pack (&partial)[kRowPacks]) {
  double s[kRowAlignment];
  for (int p = 0; p < kRowPacks; ++p) store(s + p * kPackSize, partial[p]);
  return sum_of_lanes(s);
}

inline FloatPack broadcast(float value) { return value - FloatPack{}; }
inline IntPack broadcast(int32_t value) { return value - IntPack{}; }

inline FloatPack minimum(const FloatPack& a, const FloatPack& b) { return a < b ? a : b; }
inline FloatPack absolute(const FloatPack& a) { return a < 0 ? -a : a; }

inline Pack lerp(const Pack& a, const Pack& b, double weight) { return a + weight * (b - a); }
inline FloatPack lerp(const FloatPack& a, const FloatPack& b, float weight) {
  return a + weight * (b - a);
}

// 0, 1, 2, ...
inline IntPack iota() {
  IntPack pack;
  for (int lane = 0; lane < kFloatPackSize; ++lane) pack[lane] = lane;
  return pack;
}

// a * b + c, rounded once where the instruction set can: for bounds alone, whose use does not
// depend on the rounding.
inline FloatPack multiply_add(const FloatPack& a, const FloatPack& b, const FloatPack& c) {
#if defined(__AVX512F__)
  return reinterpret_cast<FloatPack>(_mm512_fmadd_ps(
      reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__FMA__)
  return reinterpret_cast<FloatPack>(_mm256_fmadd_ps(
      reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
  return a * b + c;
#endif
}

// Half the lanes of a comparison.
typedef int32_t HalfIntPack __attribute__((vector_size(sizeof(IntPack) / 2)));

inline HalfIntPack low_half(const IntPack& pack) {
  HalfIntPack half;
  std::memcpy(&half, &pack, sizeof half);
  return half;
}

inline HalfIntPack high_half(const IntPack& pack) {
  HalfIntPack half;
  std::memcpy(&half, reinterpret_cast<const char*>(&pack) + sizeof half, sizeof half);
  return half;
}

inline bool any(const HalfIntPack& pack) {
  const HalfIntPack none = {};
  return std::memcmp(&pack, &none, sizeof pack) != 0;
}

// Whether a lane is not 0.
inline bool any(const IntPack& pack) {
#if defined(__AVX512F__)
  const __m512i lanes = reinterpret_cast<__m512i>(pack);
  return _mm512_test_epi32_mask(lanes, lanes) != 0;
#else
  const IntPack none = {};
  return std::memcmp(&pack, &none, sizeof pack) != 0;
#endif
}

// Whether a lane of a comparison holds.
inline bool any(const IndexPack& pack) {
#if defined(__AVX512F__)
  return _mm512_movepi64_mask(reinterpret_cast<__m512i>(pack)) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_pd(reinterpret_cast<__m256d>(pack)) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_pd(reinterpret_cast<__m128d>(pack)) != 0;
#else
  int64_t some = 0;
  for (int lane = 0; lane < kPackSize; ++lane) some |= pack[lane];
  return some != 0;
#endif
}

}  // namespace vtcd
