// SPDX-License-Identifier: MIT
// Where SLIC's clusters start, and the first round, which only the seeds decide.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/slic3d/clusters.h"

namespace vtcd {

// Regularly spaced indices of one axis: start, start + step, ... below the axis' size.
struct RegularAxis {
  int64_t start, step;
};

// About `num_points` points spread over a box, as scikit-image's regular_grid; axes t, h, w.
std::array<RegularAxis, 3> regular_grid(Shape3 size, int64_t num_points);

// The seeds of SLIC: a regular grid, cluster k = (z * num_y + y) * num_x + x.
struct Seeds {
  Seeds(Shape3 size, int64_t num_segments);

  int64_t count() const;
  // A cluster at each seed.
  std::vector<Cluster> clusters(Shape3 size) const;
  // Gives each voxel to its nearest seed.
  //
  //   labels    [T, H, W], out
  void write_labels(Shape3 size, int32_t* labels) const;

  std::array<SeedAxis, 3> axes;
  // Seed coordinates of each axis.
  std::array<std::vector<int64_t>, 3> coordinates;
  // For each voxel of each axis the nearest seed of that axis, the lower one of two.
  std::array<std::vector<int32_t>, 3> nearest;
  // 1 / step^2 for the largest step of the grid that was asked for.
  double spatial_weight;
  // Half the length of a cluster's search window: two steps of the grid for the actual number of
  // seeds, which is not the number that was asked for.
  std::array<int64_t, 3> reach;
};

}  // namespace vtcd
