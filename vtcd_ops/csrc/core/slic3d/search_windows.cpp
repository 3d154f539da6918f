// SPDX-License-Identifier: MIT
#include "core/slic3d/search_windows.h"

namespace vtcd {

void SearchWindows::find(const std::vector<Cluster>& clusters, const ParallelFor& parallel_for) {
  parallel_for(0, size_.t, 1, [&](int64_t begin, int64_t end) {
    for (int64_t z = begin; z < end; ++z) find_plane(clusters, z);
  });
}

void SearchWindows::find_plane(const std::vector<Cluster>& clusters, int64_t z) {
  Plane& plane = planes_[z];
  plane.begin.assign(size_.h + 2, 0);
  auto in_reach = [&](const Cluster& cluster) {
    return cluster.alive && z >= cluster.begin[0] && z < cluster.end[0];
  };
  // Counted, then placed: begin[y + 1] is where the next cluster of row y goes.
  for (const Cluster& cluster : clusters) {
    if (!in_reach(cluster)) continue;
    for (int64_t y = cluster.begin[1]; y < cluster.end[1]; ++y) ++plane.begin[y + 2];
  }
  for (int64_t y = 0; y < size_.h; ++y) plane.begin[y + 2] += plane.begin[y + 1];
  plane.clusters.resize(plane.begin[size_.h + 1]);
  for (size_t k = 0; k < clusters.size(); ++k) {
    if (!in_reach(clusters[k])) continue;
    for (int64_t y = clusters[k].begin[1]; y < clusters[k].end[1]; ++y)
      plane.clusters[plane.begin[y + 1]++] = static_cast<int32_t>(k);
  }
}

}  // namespace vtcd
