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
#include "core/slic3d/slic3d.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "core/slic3d/assign.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/connectivity.h"
#include "core/slic3d/corners.h"
#include "core/slic3d/exact.h"
#include "core/slic3d/position.h"
#include "core/slic3d/range.h"
#include "core/slic3d/seeds.h"
#include "core/slic3d/tokens.h"

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

// Adds the time since the last stage to one of the times, where they are asked for.
class StageClock {
 public:
  explicit StageClock(Slic3dTimes* times) : times_(times) {
    if (times_ != nullptr) last_ = std::chrono::steady_clock::now();
  }

  void end_of(double Slic3dTimes::*stage) {
    if (times_ == nullptr) return;
    const auto now = std::chrono::steady_clock::now();
    times_->*stage += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

 private:
  Slic3dTimes* times_;
  std::chrono::steady_clock::time_point last_;
};

// The rounds after the first.
class Rounds {
 public:
  Rounds(const Tokens& tokens, const CellGrid& cells, const Seeds& seeds,
         const SpatialWeights& spatial, double unit, const ParallelFor& parallel_for,
         StageClock& clock, int32_t* labels);

  void run(int64_t max_num_iter);

 private:
  struct Outcome {
    bool changed;  // anything that the next round depends on
    bool outside;  // some voxels may be outside all windows
  };
  Outcome assign(const Round& round, bool write);
  void move_clusters(Round& round);

  const Tokens& tokens_;
  const CellGrid& cells_;
  const Seeds& seeds_;
  const ParallelFor& parallel_for_;
  StageClock& clock_;
  double unit_;
  ExactDistances exact_;
  double largest_spatial_;
  Assignment assignment_;
  Corners corners_;
  LargeArray<float> scores_;
};

// A power of 2 whose square brings a squared distance below 1.
double unit_for(double squared_distance) {
  const double least = std::numeric_limits<double>::min();
  return std::ldexp(1.0, -(std::ilogb(std::max(squared_distance, least)) / 2 + 1));
}

SpatialWeights scaled(SpatialWeights spatial, double factor) {
  for (double& weight : spatial.weight) weight *= factor;
  return spatial;
}

Rounds::Rounds(const Tokens& tokens, const CellGrid& cells, const Seeds& seeds,
               const SpatialWeights& spatial, double unit, const ParallelFor& parallel_for,
               StageClock& clock, int32_t* labels)
    : tokens_(tokens),
      cells_(cells),
      seeds_(seeds),
      parallel_for_(parallel_for),
      clock_(clock),
      unit_(unit),
      exact_(tokens, spatial, cells),
      largest_spatial_(unit * unit * spatial.largest(cells.size)),
      assignment_(cells, seeds.count(), labels),
      corners_(cells, seeds.count(), scaled(spatial, unit * unit)),
      scores_(seeds.count() * tokens.num_scores()) {}

void Rounds::run(int64_t max_num_iter) {
  assignment_.assign_seeds(seeds_);
  bool written = max_num_iter == 1;
  if (written) assignment_.write_seed_labels(seeds_);
  clock_.end_of(&Slic3dTimes::seeds);
  const int64_t num_values = seeds_.count() * tokens_.channel_stride();
  Round round{std::vector<Cluster>(seeds_.count()), std::vector<double>(num_values)};
  Round before = round;
  for (int64_t i = 1; i < max_num_iter; ++i) {
    std::swap(round, before);
    round.clusters = before.clusters;
    move_clusters(round);
    const bool last = i + 1 == max_num_iter;
    Outcome outcome = assign(round, written || last);
    if (outcome.outside && !written) {
      // The labels before this round are needed after all.
      i > 1 ? static_cast<void>(assign(before, true)) : assignment_.write_seed_labels(seeds_);
      written = true;
      outcome = assign(round, true);
    }
    // The same sums give the same centres and so the same labels again.
    if (outcome.changed) continue;
    if (!written && !last) assign(round, true);
    break;
  }
}

// Moves the clusters to the means of their voxels.
void Rounds::move_clusters(Round& round) {
  const int64_t stride = tokens_.channel_stride();
  tokens_.weighted_sums(assignment_.weights(), seeds_.count(), parallel_for_, round.centers);
  for (int64_t k = 0; k < seeds_.count(); ++k) {
    const Extent& extent = assignment_.extents()[k];
    move_to_mean(round.clusters[k], extent, cells_.size, seeds_.reach);
    for (int64_t c = 0; c < stride && round.clusters[k].alive; ++c)
      round.centers[k * stride + c] /= static_cast<double>(extent.count);
  }
  clock_.end_of(&Slic3dTimes::update);
}

Rounds::Outcome Rounds::assign(const Round& round, bool write) {
  const RowMask wanted = rows_in_reach(round.clusters, cells_);
  const ScoreBound bound =
      tokens_.score(round.centers, seeds_.count(), wanted, parallel_for_, scores_.get());
  const double margin =
      interpolation_margin(bound, largest_spatial_) + 2 * unit_ * unit_ * exact_.margin();
  corners_.start_round(round, scores_.get(), tokens_.num_scores(), static_cast<float>(margin));
  const bool outside = assignment_.assign(corners_, exact_, write, parallel_for_);
  clock_.end_of(&Slic3dTimes::assignment);
  const bool changed = assignment_.collect(parallel_for_);
  clock_.end_of(&Slic3dTimes::update);
  return {changed, outside};
}

}  // namespace

template <typename Scalar>
Slic3dStatus slic3d(const Scalar* features, int64_t num_channels, Shape3 grid, Shape3 size,
                    const Slic3dOptions& options, const ParallelFor& parallel_for, int32_t* labels,
                    Slic3dTimes* times) {
  StageClock clock(times);
  const CellGrid cells(grid, size, options.interpolation);
  const FeatureRange range = interpolated_range(features, num_channels, cells);
  const bool constant = range.high == range.low;
  const double scale = 1 / (options.compactness * (range.high - range.low));
  const double squared_radius = Tokens::squared_radius(range, scale);
  if (!range.finite || !(constant || std::isfinite(squared_radius)))
    return Slic3dStatus::kNotFinite;
  clock.end_of(&Slic3dTimes::range);
  const Seeds seeds(size, options.num_segments);
  clock.end_of(&Slic3dTimes::seeds);
  if (constant) {
    label_by_position(size, seeds, options, parallel_for, labels);
    clock.end_of(&Slic3dTimes::assignment);
  } else {
    SpatialWeights spatial;
    for (int axis = 0; axis < 3; ++axis)
      spatial.weight[axis] = options.spacing[axis] * options.spacing[axis] * seeds.spatial_weight;
    const double squared_distance = squared_radius + spatial.largest(size);
    // Where distances overflow none is nearer than another, and the first round stands.
    const int64_t num_rounds = std::isfinite(squared_distance) ? options.max_num_iter : 1;
    const double unit = unit_for(squared_distance);
    const Tokens tokens(features, num_channels, grid, range, scale, unit);
    clock.end_of(&Slic3dTimes::rescaling);
    Rounds(tokens, cells, seeds, spatial, unit, parallel_for, clock, labels).run(num_rounds);
  }
  if (options.enforce_connectivity) {
    const double voxels = static_cast<double>(size.count());
    auto voxels_of = [&](double factor) {  // a whole number; no fragment is larger than the volume
      return static_cast<int64_t>(
          std::min(factor * (voxels / static_cast<double>(seeds.count())), voxels + 1));
    };
    enforce_connectivity(size, voxels_of(options.min_size_factor),
                         voxels_of(options.max_size_factor), labels);
    clock.end_of(&Slic3dTimes::connectivity);
  }
  return Slic3dStatus::kOk;
}

template Slic3dStatus slic3d(const float*, int64_t, Shape3, Shape3, const Slic3dOptions&,
                             const ParallelFor&, int32_t*, Slic3dTimes*);
template Slic3dStatus slic3d(const double*, int64_t, Shape3, Shape3, const Slic3dOptions&,
                             const ParallelFor&, int32_t*, Slic3dTimes*);

}  // namespace vtcd
