// SPDX-License-Identifier: MIT
// As many doubles as one register of the instruction set holds. All operations on a Pack are per
// element, so what is computed does not depend on its width.
#pragma once

#include <cstdint>
#include <cstring>

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
typedef int32_t LabelPack __attribute__((vector_size(kPackSize * sizeof(int32_t))));

inline int64_t padded(int64_t size) {
  return (size + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

inline Pack load(const double* from) {
  Pack pack;
  std::memcpy(&pack, from, sizeof pack);
  return pack;
}

inline void store(double* to, const Pack& pack) { std::memcpy(to, &pack, sizeof pack); }

inline Pack broadcast(double value) { return value - Pack{}; }

inline Pack minimum(const Pack& a, const Pack& b) { return a < b ? a : b; }

inline Pack lerp(const Pack& a, const Pack& b, double weight) { return a + weight * (b - a); }

// 0, 1, 2, ...
inline Pack iota() {
  Pack pack;
  for (int lane = 0; lane < kPackSize; ++lane) pack[lane] = lane;
  return pack;
}

}  // namespace vtcd
