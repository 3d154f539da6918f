// SPDX-License-Identifier: MIT
// The clusters of SLIC between two rounds, and what the voxels of a label add up to.
#pragma once

#include <array>
#include <cstdint>

#include "core/formulas/host_device.h"
#include "core/formulas/interpolation.h"
#include "core/formulas/slic3d.h"

namespace vtcd {

struct Cluster {
  // A cluster that lost all its voxels never takes one again.
  bool alive = true;
  std::array<double, 3> position;     // z, y, x: mean voxel coordinates
  std::array<int64_t, 3> begin, end;  // the voxels that it may take

  VTCD_HOST_DEVICE bool has(int axis, int64_t voxel) const {
    return voxel >= begin[axis] && voxel < end[axis];
  }
};

// Number and summed coordinates of the voxels of a label: integers, so the order of the sum is
// free.
struct Extent {
  int64_t count = 0;
  std::array<int64_t, 3> coordinates = {0, 0, 0};

  bool operator==(const Extent& other) const {
    return count == other.count && coordinates == other.coordinates;
  }
  bool operator!=(const Extent& other) const { return !(*this == other); }

  void add(const Extent& other) {
    count += other.count;
    for (int axis = 0; axis < 3; ++axis) coordinates[axis] += other.coordinates[axis];
  }
};

// Moves a cluster to the mean of its voxels, and its search window with it.
VTCD_HOST_DEVICE inline void move_to_mean(Cluster& cluster, const Extent& extent, Shape3 size,
                                          const std::array<int64_t, 3>& reach) {
  cluster.alive = extent.count > 0;
  if (!cluster.alive) return;
  const int64_t length[3] = {size.t, size.h, size.w};
  for (int axis = 0; axis < 3; ++axis) {
    cluster.position[axis] =
        static_cast<double>(extent.coordinates[axis]) / static_cast<double>(extent.count);
    search_window(cluster.position[axis], reach[axis], length[axis], cluster.begin[axis],
                  cluster.end[axis]);
  }
}

// The squared distance of a voxel (z, y, x) in space, as scikit-image adds it up.
VTCD_HOST_DEVICE inline double spatial_distance(const SpatialScale& space, const Cluster& cluster,
                                                const double (&voxel)[3]) {
  double offsets = squared_offset(space.spacing[0], cluster.position[0], voxel[0]);
  for (int axis = 1; axis < 3; ++axis)
    offsets += squared_offset(space.spacing[axis], cluster.position[axis], voxel[axis]);
  return offsets * space.weight;
}

}  // namespace vtcd
