// SPDX-License-Identifier: MIT
// The clusters of SLIC between two rounds, and what the voxels of a label add up to.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/formulas/slic3d.h"
#include "core/interpolation.h"

namespace vtcd {

struct Cluster {
  // A cluster that lost all its voxels never takes one again.
  bool alive = true;
  std::array<double, 3> position;     // z, y, x: mean voxel coordinates
  std::array<int64_t, 3> begin, end;  // the voxels that it may take
};

// Number and summed coordinates of the voxels of a label: integers, so the order of the sum is
// free.
struct Extent {
  int64_t count = 0;
  std::array<int64_t, 3> coordinates = {0, 0, 0};

  bool operator==(const Extent&) const = default;

  void add(const Extent& other) {
    count += other.count;
    for (int axis = 0; axis < 3; ++axis) coordinates[axis] += other.coordinates[axis];
  }
};

// Moves a cluster to the mean of its voxels, and its search window with it.
inline void move_to_mean(Cluster& cluster, const Extent& extent, Shape3 size,
                         const std::array<int64_t, 3>& reach) {
  cluster.alive = extent.count > 0;
  if (!cluster.alive) return;
  const std::array<int64_t, 3> length = {size.t, size.h, size.w};
  for (int axis = 0; axis < 3; ++axis) {
    cluster.position[axis] =
        static_cast<double>(extent.coordinates[axis]) / static_cast<double>(extent.count);
    search_window(cluster.position[axis], reach[axis], length[axis], cluster.begin[axis],
                  cluster.end[axis]);
  }
}

// The squared distance in space of an axis, (spacing * (p - v))^2 * spatial_weight.
struct SpatialWeights {
  std::array<double, 3> weight;  // spacing^2 * spatial_weight of each axis

  double distance(const Cluster& cluster, int axis, int64_t voxel) const {
    const double difference = cluster.position[axis] - static_cast<double>(voxel);
    return weight[axis] * difference * difference;
  }
  // Without its part that is the same for all clusters: affine in the voxel v, as the features are
  // on a cell.
  double affine_distance(const Cluster& cluster, int axis, int64_t voxel) const {
    const double p = cluster.position[axis];
    return weight[axis] * (p * (p - 2 * static_cast<double>(voxel)));
  }
  // No distance in a volume is larger.
  double largest(Shape3 size) const {
    const double length[3] = {static_cast<double>(size.t), static_cast<double>(size.h),
                              static_cast<double>(size.w)};
    double sum = 0;
    for (int axis = 0; axis < 3; ++axis) sum += weight[axis] * length[axis] * length[axis];
    return sum;
  }
};

// A product of three cells.
struct Box {
  AxisCell z, y, x;
};

// A cluster that may win voxels of a cell.
struct Candidate {
  int32_t cluster;
  bool clipped;           // its window has only some of the cell's voxels
  float corner[2][2][2];  // distances at the first and last voxels of z, y, x
};

// What a round starts from.
struct Round {
  std::vector<Cluster> clusters;
  std::vector<double> centers;  // [K, channel_stride]
  int64_t most_voxels = 0;      // of any cluster in the round before
};

}  // namespace vtcd
