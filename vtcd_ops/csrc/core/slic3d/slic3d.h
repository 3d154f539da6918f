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
  kNotFinite,  // a NaN or an infinity among the features, or their range overflows
};

// Where the time of a call goes, in seconds.
struct Slic3dTimes {
  double range = 0;       // extremes of the interpolated features
  double rescaling = 0;   // tokens to the layouts and units of the rounds
  double seeds = 0;       // seeds and the first round
  double assignment = 0;  // scores, labels, and what each cell's voxels add up to
  double update = 0;      // sums over the cells, clusters' new centres and positions
  double connectivity = 0;
};

// Labels one volume.
//
//   features    [C, t, h, w]
//   labels      [T, H, W], out, from 0; undefined where the status is not kOk
//   times       null, or where to add what the call took
//
// The labels do not depend on how parallel_for splits its range.
template <typename Scalar>
Slic3dStatus slic3d(const Scalar* features, int64_t num_channels, Shape3 grid, Shape3 size,
                    const Slic3dOptions& options, const ParallelFor& parallel_for, int32_t* labels,
                    Slic3dTimes* times = nullptr);

}  // namespace vtcd
