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
inline FloatPack maximum(const FloatPack& a, const FloatPack& b) { return a < b ? b : a; }
inline FloatPack absolute(const FloatPack& a) { return a < 0 ? -a : a; }

inline Pack lerp(const Pack& a, const Pack& b, double weight) { return a + weight * (b - a); }

// 0, 1, 2, ...
inline IntPack iota() {
  IntPack pack;
  for (int lane = 0; lane < kFloatPackSize; ++lane) pack[lane] = lane;
  return pack;
}

// Without what is behind the point, for numbers from 0 to 2^31.
inline FloatPack whole(const FloatPack& a) {
  return __builtin_convertvector(__builtin_convertvector(a, IntPack), FloatPack);
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

// Bit i is whether a[i] != b[i], for i below count, which is at most 64.
inline uint64_t differing(const int32_t* a, const int32_t* b, int64_t count) {
  uint64_t bits = 0;
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i < count; i += 16) {
    const auto mask = static_cast<__mmask16>(count - i < 16 ? (1 << (count - i)) - 1 : 0xffff);
    const __m512i of_a = _mm512_maskz_loadu_epi32(mask, a + i);
    const __m512i of_b = _mm512_maskz_loadu_epi32(mask, b + i);
    bits |= static_cast<uint64_t>(_mm512_mask_cmpneq_epi32_mask(mask, of_a, of_b)) << i;
  }
#elif defined(__AVX2__)
  for (; i + 8 <= count; i += 8) {
    const __m256i same =
        _mm256_cmpeq_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i)),
                           _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i)));
    bits |= static_cast<uint64_t>(~_mm256_movemask_ps(_mm256_castsi256_ps(same)) & 0xff) << i;
  }
#elif defined(__SSE2__)
  for (; i + 4 <= count; i += 4) {
    const __m128i same = _mm_cmpeq_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)),
                                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    bits |= static_cast<uint64_t>(~_mm_movemask_ps(_mm_castsi128_ps(same)) & 0xf) << i;
  }
#endif
  for (; i < count; ++i) bits |= static_cast<uint64_t>(a[i] != b[i]) << i;
  return bits;
}

// The first `count` lanes, or all where there are no more.
inline void store_some(int32_t* to, const IntPack& pack, int64_t count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<__mmask16>(count < 16 ? (1 << count) - 1 : 0xffff);
  _mm512_mask_storeu_epi32(to, mask, reinterpret_cast<__m512i>(pack));
#elif defined(__AVX2__)
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
  _mm256_maskstore_epi32(to, mask, reinterpret_cast<__m256i>(pack));
#else
  for (int lane = 0; lane < kFloatPackSize && lane < count; ++lane) to[lane] = pack[lane];
#endif
}

// Whether each of eight numbers is larger than the other by more than `margin`.
inline bool all_larger(const float* a, const float* b, float margin) {
#if defined(__AVX__)
  const __m256 difference = _mm256_sub_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b));
  return _mm256_movemask_ps(_mm256_cmp_ps(difference, _mm256_set1_ps(margin), _CMP_GT_OQ)) == 0xff;
#else
  bool all = true;
  for (int i = 0; i < 8; ++i) all &= a[i] - b[i] > margin;
  return all;
#endif
}

// Four lanes, and the sum of all such parts of a pack.
typedef float FloatQuad __attribute__((vector_size(16)));

inline FloatQuad sum_of_quads(const FloatPack& pack) {
  FloatQuad quads[kFloatPackSize / 4];
  std::memcpy(quads, &pack, sizeof pack);
  for (int step = kFloatPackSize / 8; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) quads[i] += quads[i + step];
  return quads[0];
}

// The sum of the lanes of each of four packs. Which order they are added in is not said: for
// numbers whose sums are exact.
inline FloatQuad sums_of_lanes(const FloatPack (&packs)[4]) {
  const FloatQuad a = sum_of_quads(packs[0]), b = sum_of_quads(packs[1]),
                  c = sum_of_quads(packs[2]), d = sum_of_quads(packs[3]);
#ifdef __SSE2__
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
  return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
#else
  return FloatQuad{a[0] + a[1] + a[2] + a[3], b[0] + b[1] + b[2] + b[3], c[0] + c[1] + c[2] + c[3],
                   d[0] + d[1] + d[2] + d[3]};
#endif
}

// Between a and b, for bounds too.
inline FloatPack lerp(const FloatPack& a, const FloatPack& b, const FloatPack& weight) {
  return multiply_add(weight, b - a, a);
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
