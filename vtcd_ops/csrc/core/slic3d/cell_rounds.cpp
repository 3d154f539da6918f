// SPDX-License-Identifier: MIT
#include "core/slic3d/cell_rounds.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/formulas/slic3d_margin.h"

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

// A power of 2 whose square brings a squared distance below 1.
double unit_for(double squared_distance) {
  const double least = std::numeric_limits<double>::min();
  return std::ldexp(1.0, -(std::ilogb(std::max(squared_distance, least)) / 2 + 1));
}

SpatialWeights scaled(SpatialWeights spatial, double factor) {
  for (double& weight : spatial.weight) weight *= factor;
  return spatial;
}

}  // namespace

DistanceBounds::DistanceBounds(const FeatureRange& range, const FeatureScale& scale,
                               const SpatialScale& space, Shape3 size)
    : squared_features(0), least_difference(std::numeric_limits<double>::infinity()) {
  for (size_t c = 0; c < range.channel_high.size(); ++c)
    squared_features += squared_feature_bound(range.channel_low[c], range.channel_high[c],
                                              range.low, range.high, scale.ratio);
  for (int axis = 0; axis < 3; ++axis) {
    spatial.weight[axis] = space.spacing[axis] * space.spacing[axis] * space.weight;
    least_difference = std::min(least_difference, spatial.weight[axis]);
  }
  largest_spatial = spatial.largest(size);
  unit = unit_for(squared_features + largest_spatial);
}

bool DistanceBounds::space_decides_first_round() const {
  return vtcd::space_decides_first_round(squared_features, largest_spatial, least_difference);
}

template <typename Scalar>
CellRounds::CellRounds(const Scalar* features, int64_t num_channels, const CellGrid& cells,
                       const Seeds& seeds, const FeatureRange& range, const FeatureScale& scale,
                       const DistanceBounds& bounds, const ParallelFor& parallel_for,
                       int32_t* labels)
    : cells_(cells),
      seeds_(seeds),
      parallel_for_(parallel_for),
      tokens_(features, num_channels, cells.grid, range, scale.ratio / scale.length, bounds.unit),
      unit_(bounds.unit),
      exact_(tokens_, bounds.spatial, cells, std::sqrt(bounds.squared_features)),
      largest_spatial_(bounds.unit * bounds.unit * bounds.largest_spatial),
      assignment_(cells, seeds.count(), labels),
      corners_(cells, seeds.count(), scaled(bounds.spatial, bounds.unit * bounds.unit)),
      scores_(seeds.count() * tokens_.num_scores()) {}

template CellRounds::CellRounds(const float*, int64_t, const CellGrid&, const Seeds&,
                                const FeatureRange&, const FeatureScale&, const DistanceBounds&,
                                const ParallelFor&, int32_t*);
template CellRounds::CellRounds(const double*, int64_t, const CellGrid&, const Seeds&,
                                const FeatureRange&, const FeatureScale&, const DistanceBounds&,
                                const ParallelFor&, int32_t*);

bool CellRounds::run(int64_t max_num_iter) {
  assignment_.assign_seeds(seeds_);
  bool written = max_num_iter == 1;
  if (written) assignment_.write_seed_labels(seeds_);
  const int64_t num_values = seeds_.count() * tokens_.channel_stride();
  Round round{std::vector<Cluster>(seeds_.count()), std::vector<double>(num_values)};
  Round before = round;
  for (int64_t i = 1; i < max_num_iter; ++i) {
    std::swap(round, before);
    round.clusters = before.clusters;
    move_clusters(round);
    const bool last = i + 1 == max_num_iter;
    Outcome outcome = assign(round, written || last);
    if (outcome.certain && outcome.outside && !written) {
      // The labels before this round are needed after all.
      i > 1 ? static_cast<void>(assign(before, true)) : assignment_.write_seed_labels(seeds_);
      written = true;
      outcome = assign(round, true);
    }
    if (!outcome.certain) return false;
    // The same sums give the same centres and so the same labels again.
    if (outcome.changed) continue;
    if (!written && !last) assign(round, true);
    break;
  }
  return true;
}

// Moves the clusters to the means of their voxels.
void CellRounds::move_clusters(Round& round) {
  const int64_t stride = tokens_.channel_stride();
  const double scale = assignment_.weight_scale();
  tokens_.weighted_sums(assignment_.weights(), assignment_.touched(), seeds_.count(), parallel_for_,
                        round.centers);
  round.most_voxels = 0;
  for (int64_t k = 0; k < seeds_.count(); ++k) {
    const Extent& extent = assignment_.extents()[k];
    round.most_voxels = std::max(round.most_voxels, extent.count);
    move_to_mean(round.clusters[k], extent, cells_.size, seeds_.reach);
    for (int64_t c = 0; c < stride && round.clusters[k].alive; ++c)
      round.centers[k * stride + c] /= static_cast<double>(extent.count) * scale;
  }
}

CellRounds::Outcome CellRounds::assign(const Round& round, bool write) {
  const RowMask wanted = rows_in_reach(round.clusters, cells_);
  const ScoreBound bound =
      tokens_.score(round.centers, seeds_.count(), wanted, parallel_for_, scores_.get());
  const double rounding =
      2 * unit_ * unit_ * exact_.rounding(1 / (unit_ * unit_), round.most_voxels);
  corners_.start_round(round, scores_.get(), tokens_.num_scores(),
                       margins_of(bound, largest_spatial_, rounding));
  const Assignment::Outcome found = assignment_.assign(corners_, exact_, write, parallel_for_);
  const bool changed = found.certain && assignment_.collect(parallel_for_);
  return {changed, found.outside, found.certain};
}

}  // namespace vtcd
