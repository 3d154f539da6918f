// SPDX-License-Identifier: MIT
// The nearest cluster of every voxel of a row.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/pack.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/distance_filter.h"
#include "core/slic3d/feature_rows.h"

namespace vtcd {

// Where a cluster is, in few bytes: rows look at all clusters that reach them.
struct RowReach {
  double position_z, position_y;
  int32_t first_begin, second_begin;  // of two spans of voxels along x that cover its window
};

// What a round has found so far, shared by all rows.
struct VoxelRound {
  bool first;  // the centers are all 0
  const std::vector<Cluster>& clusters;
  const std::vector<Extent>& extents;
  const double* centers;       // [K, C]
  const float* float_centers;  // [K, C], in the unit of the filter
  SpatialScale space;
  const DistanceFilter& filter;
  const std::vector<RowReach>& reach;
  int64_t span;  // of voxels, a power of 2
  // tie_bound(), or 0 where features are not interpolated: then rounding is the reference's own.
  double tie;
};

// The working memory of a thread.
class RowLabeller {
 public:
  RowLabeller(const FeatureRows& features, const VoxelRound& round);

  // Labels the row (z, y). Voxels outside all windows keep their labels. Returns whether any label
  // changed.
  //
  //   reaching  the clusters whose windows have voxels of the row, ascending
  //   labels    [W], in and out
  bool label(int64_t z, int64_t y, std::span<const int32_t> reaching, int32_t* labels);

 private:
  static constexpr int64_t kChannelBlock = 16;  // between two looks whether to go on
  static constexpr int64_t kFewChannels = 8;    // are all looked at, where nothing is interpolated
  static constexpr int64_t kShortRun = 3;       // of voxels of a label, measured one by one
  static constexpr int64_t kPadding = 2 * kFloatRowAlignment;

  void start_row(int64_t z, int64_t y, const int32_t* labels);
  void measure_squares();
  void fill_filter();
  void measure_own(const int32_t* labels);
  double squared_offsets(const Cluster& cluster) const;
  void find_largest_limits();
  bool in_reach(int32_t k) const;
  void measure_all(int32_t k);
  double own_distance(int32_t k, double across, int64_t x) const;
  void measure(int32_t k);
  template <int Packs>
  void filter(int32_t k, double across, int64_t begin);
  void measure_pack(int32_t k, double across, int64_t x);
  Pack distances(int32_t k, double across, int64_t x) const;
  void take(int32_t k, int64_t x, const Pack& distance);
  void set_nearest(int64_t x, double distance);
  bool is_tie(int64_t x) const;
  int32_t first_of_nearest(int64_t x, std::span<const int32_t> reaching) const;

  const FeatureRows& features_;
  const VoxelRound& round_;
  int64_t z_ = 0, y_ = 0;
  FeatureRow row_{};
  std::vector<double> buffer_;
  // Of each voxel, padded: its coordinate; |f|^2; the least distance; the least of the others; what
  // a distance must not exceed to matter.
  std::vector<double> voxel_, square_, least_, second_, limit_;
  std::vector<int64_t> nearest_;  // padded
  std::vector<int32_t> before_;   // the labels of the round before
  // The same in single precision, and the features [C, W, padded]
  std::vector<float> float_voxel_, float_limit_, float_row_;
  bool filtered_ = false;
  // Of each voxel, padded: the largest limit of `span_` voxels from it on, a power of 2 of which
  // two cover a window.
  std::vector<double> largest_limit_;
  int64_t span_ = 1;
};

}  // namespace vtcd
