// SPDX-License-Identifier: MIT
// What the rounds over cells know of the clusters besides formulas/slic3d_clusters.h.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/formulas/slic3d.h"
#include "core/formulas/slic3d_clusters.h"
#include "core/interpolation.h"

namespace vtcd {

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
