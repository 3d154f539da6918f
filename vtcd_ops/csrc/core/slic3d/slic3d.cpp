// SPDX-License-Identifier: MIT
#include "core/slic3d/slic3d.h"

#include <algorithm>
#include <cmath>

#include "core/slic3d/cell_rounds.h"
#include "core/slic3d/connectivity.h"
#include "core/slic3d/feature_rows.h"
#include "core/slic3d/range.h"
#include "core/slic3d/seeds.h"
#include "core/slic3d/unused_tokens.h"
#include "core/slic3d/voxel_rounds.h"

namespace vtcd {
namespace {

double largest_token(const FeatureRange& range) {
  double largest = 0;
  for (size_t c = 0; c < range.channel_low.size(); ++c)
    largest = std::max({largest, std::abs(range.channel_low[c]), std::abs(range.channel_high[c])});
  return largest;
}

// Whether rounds over cells are sooner, by measurements with 1 to 64 channels and 1 to 128 voxels a
// token: they look at all clusters in each cell, but only once for all its voxels and channels.
bool cells_pay(const CellGrid& cells, int64_t num_channels, int64_t num_clusters) {
  const double voxels_a_token =
      static_cast<double>(cells.size.count()) / static_cast<double>(cells.grid.count());
  return static_cast<double>(num_clusters) <=
         0.75 * voxels_a_token * static_cast<double>(num_channels + 1);
}

}  // namespace

template <typename Scalar>
Slic3dStatus slic3d(const Scalar* features, int64_t num_channels, Shape3 grid, Shape3 size,
                    const Slic3dOptions& options, const ParallelFor& parallel_for,
                    int32_t* labels) {
  const CellGrid cells(grid, size, options.interpolation);
  const TokensInUse in_use(cells);
  const FeatureRange range = interpolated_range(features, num_channels, cells, in_use);
  if (!range.finite) return Slic3dStatus::kNotFinite;
  const bool constant = range.high == range.low;
  const Seeds seeds(size, options.num_segments);
  const FeatureScale scale =
      feature_scale(range.low, range.high, largest_token(range), options.compactness);
  const SpatialScale space{{options.spacing[0], options.spacing[1], options.spacing[2]},
                           seeds.spatial_weight};
  const DistanceBounds bounds(range, scale, space, size);
  const bool space_decides = !constant && scale.exponent == 0 && bounds.space_decides_first_round();
  const bool by_cells = space_decides && cells_pay(cells, num_channels, seeds.count());
  std::vector<Scalar> filled;  // where products are taken of all tokens
  if (!in_use.all() && (by_cells || size.count() > grid.count())) {
    filled = fill_unused_tokens(features, num_channels, grid, in_use);
    features = filled.data();
  }
  bool labelled = false;
  if (by_cells)
    labelled =
        CellRounds(features, num_channels, cells, seeds, range, scale, bounds, parallel_for, labels)
            .run(options.max_num_iter);
  if (!labelled) {
    const FeatureRows rows(features, constant ? 0 : num_channels, cells, scale, parallel_for);
    VoxelRounds(rows, seeds, scale, space, parallel_for, labels)
        .run(options.max_num_iter, space_decides);
  }
  if (options.enforce_connectivity) {
    auto voxels_of = [&](double factor) {
      return voxels_of_segments(factor, size.count(), seeds.count());
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
