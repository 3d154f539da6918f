// SPDX-License-Identifier: MIT
// Population counts of whole rows. CPUs with the AVX-512 instruction for it (VPOPCNTDQ, not part of
// x86-64-v4, so asked for at run time) use it; everywhere else bits are added up in parallel within
// the lanes of a register of whatever width the instruction set has.
#include "core/rosetta/bitcount.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "core/pack.h"

namespace vtcd {
namespace {

typedef uint64_t WordPack __attribute__((vector_size(kPackSize * sizeof(uint64_t))));

// A byte holds the counts of so many packs before it overflows: 31 * 8 < 256.
constexpr int64_t kPacksPerFold = 31;

// Up to kPackSize words; those from `count` on are 0.
inline WordPack load_words(const uint64_t* from, int64_t count) {
  WordPack pack{};
  std::memcpy(&pack, from, static_cast<size_t>(std::min<int64_t>(count, kPackSize)) * 8);
  return pack;
}

inline WordPack load_words(const uint64_t* from) {
  WordPack pack;
  std::memcpy(&pack, from, sizeof pack);
  return pack;
}

// For each byte the number of its bits.
inline WordPack byte_counts(WordPack x) {
  x -= (x >> 1) & 0x5555555555555555;
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  return (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
}

// Adds up all bytes of a pack.
inline int64_t fold(WordPack bytes) {
  const WordPack pairs = (bytes & 0x00ff00ff00ff00ff) + ((bytes >> 8) & 0x00ff00ff00ff00ff);
  int64_t sum = 0;
  for (int lane = 0; lane < kPackSize; ++lane) {
    sum += static_cast<int64_t>((pairs[lane] * 0x0001000100010001) >> 48);
  }
  return sum;
}

int64_t count_common_portable(const uint64_t* a, const uint64_t* b, int64_t num_words) {
  const int64_t whole = num_words / kPackSize * kPackSize;
  int64_t sum = 0;
  for (int64_t first = 0; first < whole; first += kPacksPerFold * kPackSize) {
    const int64_t last = std::min(whole, first + kPacksPerFold * kPackSize);
    WordPack bytes{};
    for (int64_t i = first; i < last; i += kPackSize) {
      bytes += byte_counts(load_words(a + i) & load_words(b + i));
    }
    sum += fold(bytes);
  }
  const int64_t rest = num_words - whole;
  if (rest == 0) return sum;
  return sum + fold(byte_counts(load_words(a + whole, rest) & load_words(b + whole, rest)));
}

JointCount count_joint_portable(const uint64_t* const* rows, int64_t num_rows, int64_t num_words) {
  JointCount sums{0, 0};
  for (int64_t first = 0; first < num_words; first += kPacksPerFold * kPackSize) {
    const int64_t last = std::min(num_words, first + kPacksPerFold * kPackSize);
    WordPack common_bytes{}, any_bytes{};
    for (int64_t i = first; i < last; i += kPackSize) {
      WordPack common = load_words(rows[0] + i, last - i), any = common;
      for (int64_t row = 1; row < num_rows; ++row) {
        const WordPack words = load_words(rows[row] + i, last - i);
        common &= words;
        any |= words;
      }
      common_bytes += byte_counts(common);
      any_bytes += byte_counts(any);
    }
    sums.common += fold(common_bytes);
    sums.any += fold(any_bytes);
  }
  return sums;
}

#if defined(__AVX512F__)
const bool kHasCountInstruction = __builtin_cpu_supports("avx512vpopcntdq");

// Not _mm512_reduce_add_epi64, which gcc 12 warns of.
inline int64_t lane_sum(__m512i counts) {
  const WordPack lanes = reinterpret_cast<WordPack>(counts);
  uint64_t sum = 0;
  for (int lane = 0; lane < kPackSize; ++lane) sum += lanes[lane];
  return static_cast<int64_t>(sum);
}

inline __mmask8 lanes(int64_t count) {
  return count >= 8 ? __mmask8{0xff} : static_cast<__mmask8>((1U << count) - 1);
}

// The counts in 8 lanes.
__attribute__((target("avx512vpopcntdq"))) inline __m512i common_lanes(const uint64_t* a,
                                                                       const uint64_t* b,
                                                                       int64_t num_words) {
  __m512i sum = _mm512_setzero_si512();
  const int64_t whole = num_words / 8 * 8;
  for (int64_t i = 0; i < whole; i += 8) {
    const __m512i words = _mm512_and_si512(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
    sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(words));
  }
  if (whole < num_words) {
    const __mmask8 mask = lanes(num_words - whole);
    const __m512i words = _mm512_and_si512(_mm512_maskz_loadu_epi64(mask, a + whole),
                                           _mm512_maskz_loadu_epi64(mask, b + whole));
    sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(words));
  }
  return sum;
}

__attribute__((target("avx512vpopcntdq"))) int64_t count_common_instruction(const uint64_t* a,
                                                                            const uint64_t* b,
                                                                            int64_t num_words) {
  return lane_sum(common_lanes(a, b, num_words));
}

// Lane i of the result is the sum of the lanes of counts[i]: three rounds, each of which adds the
// halves of two registers and so leaves half as many of them.
inline WordPack lane_sums(const WordPack (&counts)[8]) {
  WordPack pairs[4], quads[2];
  for (int i = 0; i < 4; ++i) {
    const WordPack a = counts[2 * i], b = counts[2 * i + 1];
    pairs[i] = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
               __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 2; ++i) {
    const WordPack a = pairs[2 * i], b = pairs[2 * i + 1];
    quads[i] = __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13) +
               __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15);
  }
  return __builtin_shufflevector(quads[0], quads[1], 0, 1, 4, 5, 8, 9, 12, 13) +
         __builtin_shufflevector(quads[0], quads[1], 2, 3, 6, 7, 10, 11, 14, 15);
}

__attribute__((target("avx512vpopcntdq"))) void count_group_instruction(
    const uint64_t* a, const uint64_t* const (&rows)[kCountGroup], int64_t num_words,
    int64_t (&counts)[kCountGroup]) {
  WordPack sums[kCountGroup];
  for (int row = 0; row < kCountGroup; ++row)
    sums[row] = reinterpret_cast<WordPack>(common_lanes(a, rows[row], num_words));
  const WordPack found = lane_sums(sums);
  std::memcpy(counts, &found, sizeof found);
}

__attribute__((target("avx512vpopcntdq"))) JointCount
count_joint_instruction(const uint64_t* const* rows, int64_t num_rows, int64_t num_words) {
  __m512i common_sum = _mm512_setzero_si512(), any_sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < num_words; i += 8) {
    const __mmask8 mask = lanes(num_words - i);
    __m512i common = _mm512_maskz_loadu_epi64(mask, rows[0] + i), any = common;
    for (int64_t row = 1; row < num_rows; ++row) {
      const __m512i words = _mm512_maskz_loadu_epi64(mask, rows[row] + i);
      common = _mm512_and_si512(common, words);
      any = _mm512_or_si512(any, words);
    }
    common_sum = _mm512_add_epi64(common_sum, _mm512_popcnt_epi64(common));
    any_sum = _mm512_add_epi64(any_sum, _mm512_popcnt_epi64(any));
  }
  return {lane_sum(common_sum), lane_sum(any_sum)};
}
#endif

}  // namespace

int64_t count_common(const uint64_t* a, const uint64_t* b, int64_t num_words) {
#if defined(__AVX512F__)
  if (kHasCountInstruction) return count_common_instruction(a, b, num_words);
#endif
  return count_common_portable(a, b, num_words);
}

void count_common(const uint64_t* a, const uint64_t* const (&rows)[kCountGroup], int64_t num_words,
                  int64_t (&counts)[kCountGroup]) {
#if defined(__AVX512F__)
  if (kHasCountInstruction) return count_group_instruction(a, rows, num_words, counts);
#endif
  for (int row = 0; row < kCountGroup; ++row)
    counts[row] = count_common_portable(a, rows[row], num_words);
}

JointCount count_joint(const uint64_t* const* rows, int64_t num_rows, int64_t num_words) {
#if defined(__AVX512F__)
  if (kHasCountInstruction) return count_joint_instruction(rows, num_rows, num_words);
#endif
  return count_joint_portable(rows, num_rows, num_words);
}

}  // namespace vtcd
