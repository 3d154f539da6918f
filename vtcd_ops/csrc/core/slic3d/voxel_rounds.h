// SPDX-License-Identifier: MIT
// The rounds of SLIC voxel by voxel, in scikit-image's own order of operations. For features that
// are not interpolated every label is scikit-image's, where rounding decides too; the rounds over
// cells (cell_rounds.h) are used where they are sooner and certain to give the same.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/distance_filter.h"
#include "core/slic3d/feature_rows.h"
#include "core/slic3d/row_labeller.h"
#include "core/slic3d/search_windows.h"
#include "core/slic3d/seeds.h"

namespace vtcd {

class VoxelRounds {
 public:
  // labels [T, H, W], out
  VoxelRounds(const FeatureRows& features, const Seeds& seeds, const FeatureScale& scale,
              const SpatialScale& space, const ParallelFor& parallel_for, int32_t* labels);

  // space_decides_first_round: as DistanceBounds (cell_rounds.h) says; then each voxel's nearest
  // seed is known.
  void run(int64_t max_num_iter, bool space_decides_first_round);

 private:
  bool assign(bool first);
  void find_reach();
  void update();
  void sum_extents();
  void sum_channels(int64_t begin, int64_t end);

  const FeatureRows& features_;
  const Seeds& seeds_;
  SpatialScale space_;
  DistanceFilter filter_;
  const ParallelFor& parallel_for_;
  int32_t* labels_;
  std::vector<Cluster> clusters_;
  std::vector<Extent> extents_;
  std::vector<double> centers_;       // [K, C]
  std::vector<float> float_centers_;  // [K, C], in the unit of the filter
  SearchWindows windows_;
  std::vector<RowReach> reach_;  // [K]
  int64_t span_ = 1;
};

}  // namespace vtcd
