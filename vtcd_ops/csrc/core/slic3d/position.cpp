// SPDX-License-Identifier: MIT
#include "core/slic3d/position.h"

#include <limits>
#include <vector>

#include "core/slic3d/clusters.h"

namespace vtcd {
namespace {

// Starts the clusters at the seeds.
std::vector<Cluster> clusters_at(const Seeds& seeds, Shape3 size) {
  std::vector<Cluster> clusters;
  for (const int64_t z : seeds.coordinates[0])
    for (const int64_t y : seeds.coordinates[1])
      for (const int64_t x : seeds.coordinates[2]) {
        clusters.emplace_back();
        move_to_mean(clusters.back(), {1, {z, y, x}}, size, seeds.reach);
      }
  return clusters;
}

void label_row(const std::vector<Cluster>& clusters, const Slic3dOptions& options, double weight,
               int64_t z, int64_t y, std::vector<double>& nearest, int32_t* labels) {
  std::fill(nearest.begin(), nearest.end(), std::numeric_limits<double>::max());
  for (size_t k = 0; k < clusters.size(); ++k) {
    const Cluster& cluster = clusters[k];
    if (!cluster.alive || z < cluster.begin[0] || z >= cluster.end[0] || y < cluster.begin[1] ||
        y >= cluster.end[1])
      continue;
    const double dz = options.spacing[0] * (cluster.position[0] - static_cast<double>(z));
    const double dy = options.spacing[1] * (cluster.position[1] - static_cast<double>(y));
    const double across = dz * dz + dy * dy;
    for (int64_t x = cluster.begin[2]; x < cluster.end[2]; ++x) {
      const double dx = options.spacing[2] * (cluster.position[2] - static_cast<double>(x));
      const double distance = (across + dx * dx) * weight;
      if (!(nearest[x] > distance)) continue;
      nearest[x] = distance;
      labels[x] = static_cast<int32_t>(k);
    }
  }
}

}  // namespace

void label_by_position(Shape3 size, const Seeds& seeds, const Slic3dOptions& options,
                       const ParallelFor& parallel_for, int32_t* labels) {
  std::vector<Cluster> clusters = clusters_at(seeds, size);
  std::vector<Extent> extents(clusters.size());
  for (int64_t round = 0; round < options.max_num_iter; ++round) {
    parallel_for(0, size.t * size.h, 16, [&](int64_t begin, int64_t end) {
      std::vector<double> nearest(size.w);
      for (int64_t row = begin; row < end; ++row)
        label_row(clusters, options, seeds.spatial_weight, row / size.h, row % size.h, nearest,
                  labels + row * size.w);
    });
    std::fill(extents.begin(), extents.end(), Extent{});
    const int32_t* label = labels;
    for (int64_t z = 0; z < size.t; ++z)
      for (int64_t y = 0; y < size.h; ++y)
        for (int64_t x = 0; x < size.w; ++x) extents[*label++].add({1, {z, y, x}});
    for (size_t k = 0; k < clusters.size(); ++k)
      move_to_mean(clusters[k], extents[k], size, seeds.reach);
  }
}

}  // namespace vtcd
