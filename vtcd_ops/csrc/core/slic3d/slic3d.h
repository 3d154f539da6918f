// SPDX-License-Identifier: MIT
// Supervoxels (SLIC) of token features interpolated to a volume, without making that volume.
#pragma once

#include <array>
#include <cstdint>

#include "core/interpolation.h"
#include "core/parallel.h"

namespace vtcd {

struct Slic3dOptions {
  int64_t num_segments = 12;
  double compactness = 0.1;
  int64_t max_num_iter = 10;
  std::array<double, 3> spacing = {1, 1, 1};
  bool enforce_connectivity = true;
  double min_size_factor = 0.5;
  double max_size_factor = 3.0;
  Interpolation interpolation = Interpolation::kTrilinear;
};

enum class Slic3dStatus {
  kOk,
  kNotFinite,  // a NaN or an infinity among the features
};

// Labels one volume.
//
//   features    [C, t, h, w]
//   labels      [T, H, W], out, from 0; undefined where the status is not kOk
//
// The labels do not depend on how parallel_for splits its range.
template <typename Scalar>
Slic3dStatus slic3d(const Scalar* features, int64_t num_channels, Shape3 grid, Shape3 size,
                    const Slic3dOptions& options, const ParallelFor& parallel_for, int32_t* labels);

}  // namespace vtcd
