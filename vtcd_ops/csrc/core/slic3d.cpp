// SPDX-License-Identifier: MIT
// SLIC with the labels of scikit-image's float64 implementation, from the token grid.
//
// A voxel x goes to the cluster k with the least
//     |f(x) - c_k|^2 + spatial_weight * |spacing * (x - p_k)|^2,
// where f are the interpolated, rescaled features. |f(x)|^2 is the same for all k, and
// interpolation is linear with weights that add up to 1, so instead of C channels it is enough to
// interpolate the K scores |c_k|^2 - 2 f . c_k of the tokens. The clusters' new centres are sums
// over voxels of interpolated features: the sum over tokens of f times the voxels' summed
// interpolation weights.
#include "core/slic3d.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "core/connectivity.h"
#include "core/slic3d_assign.h"
#include "core/slic3d_clusters.h"
#include "core/slic3d_corners.h"
#include "core/slic3d_position.h"
#include "core/slic3d_range.h"
#include "core/slic3d_seeds.h"
#include "core/slic3d_tokens.h"

namespace vtcd {
namespace {

// Which token rows (t, h) lie around a voxel of each cluster's window.
RowMask rows_in_reach(const std::vector<Cluster>& clusters, const CellGrid& cells) {
  auto reached = [&](const Cluster& cluster, int axis, const std::vector<AxisCell>& axis_cells,
                     int64_t num_tokens) {
    std::vector<uint8_t> tokens(num_tokens);
    for (const AxisCell& cell : axis_cells) {
      if (cell.first >= cluster.end[axis] || cell.first + cell.count <= cluster.begin[axis])
        continue;
      tokens[cell.lower] = tokens[cell.upper] = 1;
    }
    return tokens;
  };
  const int64_t num_clusters = static_cast<int64_t>(clusters.size());
  RowMask mask(cells.grid.t * cells.grid.h * num_clusters);
  for (int64_t k = 0; k < num_clusters; ++k) {
    if (!clusters[k].alive) continue;
    const auto along_z = reached(clusters[k], 0, cells.z, cells.grid.t);
    const auto along_y = reached(clusters[k], 1, cells.y, cells.grid.h);
    for (int64_t row = 0; row < cells.grid.t * cells.grid.h; ++row)
      mask[row * num_clusters + k] = along_z[row / cells.grid.h] & along_y[row % cells.grid.h];
  }
  return mask;
}

// Differences of distances below this are rounding: they are sums of C products of numbers up to
// the tokens' radius, and of products of voxel coordinates.
double rounding_margin(double squared_radius, const SpatialWeights& spatial, Shape3 size) {
  const double length[3] = {static_cast<double>(size.t), static_cast<double>(size.h),
                            static_cast<double>(size.w)};
  double scale = squared_radius;
  for (int axis = 0; axis < 3; ++axis) scale += spatial.weight[axis] * length[axis] * length[axis];
  return 64 * std::numeric_limits<double>::epsilon() * scale;
}

// The rounds after the first.
void iterate(const Tokens& tokens, const CellGrid& cells, const Seeds& seeds,
             const Slic3dOptions& options, const ParallelFor& parallel_for, int32_t* labels) {
  const int64_t num_clusters = seeds.count(), num_channels = tokens.num_channels();
  SpatialWeights spatial;
  for (int axis = 0; axis < 3; ++axis)
    spatial.weight[axis] = options.spacing[axis] * options.spacing[axis] * seeds.spatial_weight;
  const double margin = rounding_margin(tokens.squared_radius(), spatial, cells.size);
  Assignment assignment(cells, num_clusters, labels);
  assignment.assign_seeds(seeds);
  if (options.max_num_iter == 1) return;
  Corners corners(cells, num_clusters, spatial);
  std::vector<Cluster> clusters(num_clusters);
  std::vector<double> centers(num_clusters * num_channels);
  const int64_t num_scores = tokens.num_rows() * num_clusters * tokens.row_length();
  const std::unique_ptr<double[]> scores(new double[num_scores]);
  for (int64_t round = 1; round < options.max_num_iter; ++round) {
    tokens.weighted_sums(assignment.weights(), num_clusters, assignment.nonzero(), parallel_for,
                         centers);
    for (int64_t k = 0; k < num_clusters; ++k) {
      const Extent& extent = assignment.extents()[k];
      move_to_mean(clusters[k], extent, cells.size, seeds.reach);
      for (int64_t c = 0; c < num_channels && clusters[k].alive; ++c)
        centers[k * num_channels + c] /= static_cast<double>(extent.count);
    }
    const RowMask wanted = rows_in_reach(clusters, cells);
    tokens.score(centers, num_clusters, wanted, parallel_for, scores.get());
    corners.start_round(clusters, wanted, scores.get(), tokens.row_length(), margin, parallel_for);
    // The same labels give the same centres and so the same labels again.
    if (!assignment.assign(corners, parallel_for)) break;
  }
  assignment.finish(parallel_for);
}

}  // namespace

template <typename Scalar>
Slic3dStatus slic3d(const Scalar* features, int64_t num_channels, Shape3 grid, Shape3 size,
                    const Slic3dOptions& options, const ParallelFor& parallel_for,
                    int32_t* labels) {
  const CellGrid cells(grid, size, options.interpolation);
  const FeatureRange range = interpolated_range(features, num_channels, cells);
  const double scale = 1 / (options.compactness * (range.high - range.low));
  const bool constant = range.high == range.low;
  if (!range.finite || !(constant || std::isfinite(scale))) return Slic3dStatus::kNotFinite;
  const Seeds seeds(size, options.num_segments);
  if (constant) {
    label_by_position(size, seeds, options, parallel_for, labels);
  } else {
    const Tokens tokens(features, num_channels, grid, range, scale);
    iterate(tokens, cells, seeds, options, parallel_for, labels);
  }
  if (options.enforce_connectivity) {
    const double voxels = static_cast<double>(size.count());
    auto voxels_of = [&](double factor) {  // a whole number; no fragment is larger than the volume
      return static_cast<int64_t>(
          std::min(factor * (voxels / static_cast<double>(seeds.count())), voxels + 1));
    };
    enforce_connectivity(size, voxels_of(options.min_size_factor),
                         voxels_of(options.max_size_factor), labels);
  }
  return Slic3dStatus::kOk;
}

template Slic3dStatus slic3d(const float*, int64_t, Shape3, Shape3, const Slic3dOptions&,
                             const ParallelFor&, int32_t*);
template Slic3dStatus slic3d(const double*, int64_t, Shape3, Shape3, const Slic3dOptions&,
                             const ParallelFor&, int32_t*);

}  // namespace vtcd
