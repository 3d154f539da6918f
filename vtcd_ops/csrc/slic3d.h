// SPDX-License-Identifier: MIT
// What the CPU and the CUDA binding of slic3d share: the checks of its arguments.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/slic3d/slic3d.h"
#include "volume.h"

namespace vtcd {

// Squares of offsets in space stay within the range of float64.
inline constexpr double kLeastSpacing = 1e-100, kLargestSpacing = 1e100;

inline Shape3 check_slic3d_size(const std::vector<int64_t>& size) {
  check_positive_triple("slic3d", "size", "T, H, W", size);
  int64_t voxels = 1;
  for (const int64_t length : size) {
    VTCD_CHECK(length <= std::numeric_limits<int32_t>::max() / voxels,
               "slic3d: size expected fewer than 2^31 voxels, got ", list_text(size));
    voxels *= length;
  }
  return {size[0], size[1], size[2]};
}

inline Slic3dOptions check_slic3d_options(int64_t n_segments, double compactness,
                                          int64_t max_num_iter, const std::vector<double>& spacing,
                                          bool enforce_connectivity, double min_size_factor,
                                          double max_size_factor,
                                          const std::string& interpolation) {
  VTCD_CHECK(n_segments >= 1, "slic3d: n_segments expected at least 1, got ", n_segments);
  VTCD_CHECK(compactness > 0 && std::isfinite(compactness),
             "slic3d: compactness expected finite and above 0, got ", compactness);
  check_repeats("slic3d", "max_num_iter", max_num_iter);
  const bool moderate = std::all_of(spacing.begin(), spacing.end(), [](double length) {
    return length >= kLeastSpacing && length <= kLargestSpacing;
  });
  VTCD_CHECK(spacing.size() == 3 && moderate, "slic3d: spacing expected 3 numbers from ",
             kLeastSpacing, " to ", kLargestSpacing, ", got ", list_text(spacing));
  VTCD_CHECK(min_size_factor >= 0 && std::isfinite(min_size_factor),
             "slic3d: min_size_factor expected finite and at least 0, got ", min_size_factor);
  VTCD_CHECK(max_size_factor > 0 && std::isfinite(max_size_factor),
             "slic3d: max_size_factor expected finite and above 0, got ", max_size_factor);
  return {n_segments,           compactness,
          max_num_iter,         {spacing[0], spacing[1], spacing[2]},
          enforce_connectivity, min_size_factor,
          max_size_factor,      check_interpolation("slic3d", interpolation)};
}

inline void check_finite(bool finite) {
  VTCD_CHECK(finite, "slic3d: features expected finite numbers, got NaN or infinity");
}

}  // namespace vtcd
