// SPDX-License-Identifier: MIT
// Rows of the scaled, interpolated features, made when they are asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/formulas/interpolation.h"
#include "core/formulas/slic3d.h"
#include "core/interpolation.h"
#include "core/large_array.h"
#include "core/parallel.h"

namespace vtcd {

// Channels of one row of voxels: channel c of voxel x is at data[c * stride + x].
struct FeatureRow {
  const double* data;
  int64_t stride;
};

class FeatureRows {
 public:
  // Rows may be read this far beyond their last voxel.
  static constexpr int64_t kReadAhead = 16;

  // features [C, t, h, w]. Where the volume has no more voxels than the grid has tokens it is made
  // at once: it is the smaller of the two.
  template <typename Scalar>
  FeatureRows(const Scalar* features, int64_t num_channels, const CellGrid& cells,
              const FeatureScale& scale, const ParallelFor& parallel_for);

  int64_t num_channels() const { return num_channels_; }
  Shape3 size() const { return size_; }
  // Whether any feature is computed from several tokens, and so rounded.
  bool interpolated() const { return interpolated_; }

  // The channels [begin, end) of the row (z, y).
  //
  //   buffer    [buffer_size(end - begin)], where the row is put if it has to be made
  FeatureRow row(int64_t z, int64_t y, int64_t begin, int64_t end, double* buffer) const;
  int64_t buffer_size(int64_t channels) const {
    return channels * (voxel_stride_ + 2 * token_stride_) + 2 * kReadAhead;
  }

 private:
  template <typename Scalar>
  void make_volume(const Scalar* features, Shape3 grid, const FeatureScale& scale,
                   const ParallelFor& parallel_for);
  template <typename Scalar>
  void scale_tokens(const Scalar* features, Shape3 grid, const FeatureScale& scale,
                    const ParallelFor& parallel_for);
  const double* token_row(int64_t t, int64_t h) const {
    return &values_[(t * grid_h_ + h) * num_channels_ * token_stride_];
  }
  const double* plane_row(int64_t t, const AxisPoint& y, int64_t begin, int64_t end,
                          double* to) const;
  void expand(const double* tokens, double* voxels) const;

  int64_t num_channels_;
  Shape3 size_;
  std::vector<AxisPoint> z_, y_, x_;  // of each voxel
  std::vector<AxisCell> x_cells_;
  std::vector<double> x_weight_;  // of each voxel, padded
  bool interpolated_, x_is_token_;
  int64_t grid_h_;
  int64_t token_stride_, voxel_stride_;
  // [T or t, H or h, C, stride]: the volume where made_, else the tokens
  bool made_;
  LargeArray<double> values_;
};

}  // namespace vtcd
