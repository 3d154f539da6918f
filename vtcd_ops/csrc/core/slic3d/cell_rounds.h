// SPDX-License-Identifier: MIT
// The rounds of SLIC over cells (interpolation.h): most cells are labelled whole, without a look at
// their voxels.
//
// A voxel x goes to the cluster k with the least
//     |f(x) - c_k|^2 + spatial_weight * |spacing * (x - p_k)|^2,
// where f are the interpolated, scaled features. |f(x)|^2 is the same for all k, and interpolation
// is linear with weights that add up to 1, so instead of C channels it is enough to interpolate the
// K scores |c_k|^2 - 2 f . c_k of the tokens. The clusters' new centres are sums over voxels of
// interpolated features: the sum over tokens of f times the voxels' summed interpolation weights.
#pragma once

#include <cstdint>
#include <vector>

#include "core/formulas/slic3d.h"
#include "core/large_array.h"
#include "core/parallel.h"
#include "core/slic3d/assign.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/corners.h"
#include "core/slic3d/exact.h"
#include "core/slic3d/range.h"
#include "core/slic3d/seeds.h"
#include "core/slic3d/tokens.h"

namespace vtcd {

// The largest distances that there can be, and the power of 2 that brings them below 1.
struct DistanceBounds {
  DistanceBounds(const FeatureRange& range, const FeatureScale& scale, const SpatialScale& space,
                 Shape3 size);

  // Whether the first round, in which all centres are 0, is decided by space alone.
  bool space_decides_first_round() const;

  double squared_features;  // |f|^2, less the least feature
  double least_difference;  // of two distances in space to a voxel, if they differ
  SpatialWeights spatial;
  double largest_spatial;
  double unit;
};

class CellRounds {
 public:
  template <typename Scalar>
  CellRounds(const Scalar* features, int64_t num_channels, const CellGrid& cells,
             const Seeds& seeds, const FeatureRange& range, const FeatureScale& scale,
             const DistanceBounds& bounds, const ParallelFor& parallel_for, int32_t* labels);

  // Returns false, with the labels undefined, where rounding may decide a label: then only the
  // reference's own order of operations (voxel_rounds.h) gives the reference's label.
  bool run(int64_t max_num_iter);

 private:
  struct Outcome {
    bool changed;  // anything that the next round depends on
    bool outside;  // some voxels may be outside all windows
    bool certain;
  };
  Outcome assign(const Round& round, bool write);
  void move_clusters(Round& round);

  const CellGrid& cells_;
  const Seeds& seeds_;
  const ParallelFor& parallel_for_;
  Tokens tokens_;
  double unit_;
  ExactDistances exact_;
  double largest_spatial_;
  Assignment assignment_;
  Corners corners_;
  LargeArray<float> scores_;
};

}  // namespace vtcd
