// SPDX-License-Identifier: MIT
// Which clusters may take voxels of a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/interpolation.h"
#include "core/parallel.h"
#include "core/slic3d/clusters.h"

namespace vtcd {

class SearchWindows {
 public:
  explicit SearchWindows(Shape3 size) : size_(size), planes_(size.t) {}

  void find(const std::vector<Cluster>& clusters, const ParallelFor& parallel_for);

  // The clusters whose window has voxels of the row (z, y), in ascending order.
  std::span<const int32_t> clusters(int64_t z, int64_t y) const {
    const Plane& plane = planes_[z];
    return {plane.clusters.data() + plane.begin[y], plane.clusters.data() + plane.begin[y + 1]};
  }

 private:
  struct Plane {
    std::vector<int64_t> begin;  // [H + 1]
    std::vector<int32_t> clusters;
  };
  void find_plane(const std::vector<Cluster>& clusters, int64_t z);

  Shape3 size_;
  std::vector<Plane> planes_;  // [T]
};

}  // namespace vtcd
