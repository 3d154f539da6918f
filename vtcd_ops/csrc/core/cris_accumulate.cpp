// SPDX-License-Identifier: MIT
#include "core/cris_accumulate.h"

#include <algorithm>

#include "core/formulas/cris_sums.h"

namespace vtcd {
namespace {

constexpr int64_t kUnits = 256;  // whose sums are held in the first-level cache

// The sums of at most kUnits units, removed and kept.
struct Sums {
  double kept[kUnits];  // an integer below 2^53
  double total[2][kUnits];
  double total_sq[2][kUnits];
};

// Adds one mask. Any byte but 0 keeps: a tensor of bool may be a view of others.
void add(const unsigned char* keep, double drop, int64_t num_units, Sums& sums) {
  const double square = drop * drop;
#pragma omp simd
  for (int64_t u = 0; u < num_units; ++u) {
    const bool kept = keep[u] != 0;
    sums.kept[u] += kept ? 1.0 : 0.0;
    sums.total[0][u] = add_where(!kept, drop, sums.total[0][u]);
    sums.total[1][u] = add_where(kept, drop, sums.total[1][u]);
    sums.total_sq[0][u] = add_where(!kept, square, sums.total_sq[0][u]);
    sums.total_sq[1][u] = add_where(kept, square, sums.total_sq[1][u]);
  }
}

}  // namespace

void cris_accumulate(const bool* keep, const double* drop, const bool* present, int64_t num_masks,
                     int64_t num_units, const ParallelFor& parallel_for, int64_t* count,
                     double* total, double* total_sq) {
  const int64_t num_chunks = (num_units + kUnits - 1) / kUnits;
  const int64_t grain =
      std::max<int64_t>(1, (1 << 16) / (kUnits * std::max<int64_t>(num_masks, 1)));
  const auto* keeps = reinterpret_cast<const unsigned char*>(keep);
  const auto* occurs = reinterpret_cast<const unsigned char*>(present);
  parallel_for(0, num_chunks, grain, [&](int64_t begin, int64_t end) {
    Sums sums;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kUnits, units = std::min(kUnits, num_units - first);
      std::fill_n(sums.kept, units, 0.0);
      for (int64_t row = 0; row < 2; ++row) {
        std::copy_n(total + row * num_units + first, units, sums.total[row]);
        std::copy_n(total_sq + row * num_units + first, units, sums.total_sq[row]);
      }
      for (int64_t m = 0; m < num_masks; ++m)
        add(keeps + m * num_units + first, drop[m], units, sums);
      for (int64_t u = 0; u < units; ++u) {
        const int64_t unit = first + u;
        if (occurs != nullptr && occurs[unit] == 0) continue;
        const auto kept = static_cast<int64_t>(sums.kept[u]);
        count[unit] += num_masks - kept;
        count[num_units + unit] += kept;
        for (int64_t row = 0; row < 2; ++row) {
          total[row * num_units + unit] = sums.total[row][u];
          total_sq[row * num_units + unit] = sums.total_sq[row][u];
        }
      }
    }
  });
}

}  // namespace vtcd
