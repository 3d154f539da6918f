// SPDX-License-Identifier: MIT
#include "core/slic3d/feature_rows.h"

#include <algorithm>

#include "core/pack.h"

namespace vtcd {
namespace {

template <typename Scalar>
double interpolate_voxel(const Scalar* tokens, Shape3 grid, const AxisPoint& z, const AxisPoint& y,
                         const AxisPoint& x) {
  auto line = [&](int64_t t, int64_t h) {
    const Scalar* row = tokens + (t * grid.h + h) * grid.w;
    return interpolate(static_cast<double>(row[x.lower]), static_cast<double>(row[x.upper]),
                       x.weight);
  };
  auto plane = [&](int64_t t) {
    return y.weight == 0 ? line(t, y.lower)
                         : interpolate(line(t, y.lower), line(t, y.upper), y.weight);
  };
  return z.weight == 0 ? plane(z.lower) : interpolate(plane(z.lower), plane(z.upper), z.weight);
}

bool any_between(const std::vector<AxisPoint>& points) {
  return std::any_of(points.begin(), points.end(),
                     [](const AxisPoint& point) { return point.weight != 0 && point.weight != 1; });
}

}  // namespace

template <typename Scalar>
FeatureRows::FeatureRows(const Scalar* features, int64_t num_channels, const CellGrid& cells,
                         const FeatureScale& scale, const ParallelFor& parallel_for)
    : num_channels_(num_channels),
      size_(cells.size),
      z_(axis_points(cells.grid.t, cells.size.t, cells.interpolation)),
      y_(axis_points(cells.grid.h, cells.size.h, cells.interpolation)),
      x_(axis_points(cells.grid.w, cells.size.w, cells.interpolation)),
      x_cells_(cells.x),
      x_weight_(cells.size.w + kPackSize),
      interpolated_(any_between(z_) || any_between(y_) || any_between(x_)),
      x_is_token_(cells.grid.w == cells.size.w),
      grid_h_(cells.grid.h),
      token_stride_(padded(cells.grid.w)),
      voxel_stride_(padded(cells.size.w)),
      made_(cells.size.count() <= cells.grid.count()),
      values_((made_ ? size_.t * size_.h * voxel_stride_
                     : cells.grid.t * cells.grid.h * token_stride_) *
                  num_channels +
              kReadAhead) {
  for (int64_t x = 0; x < size_.w; ++x) x_weight_[x] = x_[x].weight;
  made_ ? make_volume(features, cells.grid, scale, parallel_for)
        : scale_tokens(features, cells.grid, scale, parallel_for);
}

template <typename Scalar>
void FeatureRows::make_volume(const Scalar* features, Shape3 grid, const FeatureScale& scale,
                              const ParallelFor& parallel_for) {
  parallel_for(0, size_.t * size_.h, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const AxisPoint &z = z_[row / size_.h], &y = y_[row % size_.h];
      const bool copied = x_is_token_ && z.weight == 0 && y.weight == 0;
      for (int64_t c = 0; c < num_channels_; ++c) {
        const Scalar* tokens = features + c * grid.count();
        const Scalar* line = tokens + (z.lower * grid.h + y.lower) * grid.w;
        double* to = &values_[(row * num_channels_ + c) * voxel_stride_];
        for (int64_t x = 0; x < size_.w; ++x)
          to[x] = scale.scaled(copied ? static_cast<double>(line[x])
                                      : interpolate_voxel(tokens, grid, z, y, x_[x]));
        std::fill(to + size_.w, to + voxel_stride_, 0.0);
      }
    }
  });
  std::fill_n(&values_[size_.t * size_.h * num_channels_ * voxel_stride_], kReadAhead, 0.0);
}

template <typename Scalar>
void FeatureRows::scale_tokens(const Scalar* features, Shape3 grid, const FeatureScale& scale,
                               const ParallelFor& parallel_for) {
  parallel_for(0, grid.t * grid.h, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t c = 0; c < num_channels_; ++c) {
        const Scalar* from = features + c * grid.count() + row * grid.w;
        double* to = &values_[(row * num_channels_ + c) * token_stride_];
        for (int64_t w = 0; w < grid.w; ++w) to[w] = scale.scaled(static_cast<double>(from[w]));
        std::fill(to + grid.w, to + token_stride_, 0.0);
      }
  });
  std::fill_n(&values_[grid.t * grid.h * num_channels_ * token_stride_], kReadAhead, 0.0);
}

template FeatureRows::FeatureRows(const float*, int64_t, const CellGrid&, const FeatureScale&,
                                  const ParallelFor&);
template FeatureRows::FeatureRows(const double*, int64_t, const CellGrid&, const FeatureScale&,
                                  const ParallelFor&);

// Tokens of the row (t, y): a row of the grid itself, or put at `to`.
const double* FeatureRows::plane_row(int64_t t, const AxisPoint& y, int64_t begin, int64_t end,
                                     double* to) const {
  const int64_t first = begin * token_stride_, count = (end - begin) * token_stride_;
  if (y.weight == 0) return token_row(t, y.lower) + first;
  if (y.weight == 1) return token_row(t, y.upper) + first;
  const double *a = token_row(t, y.lower) + first, *b = token_row(t, y.upper) + first;
  for (int64_t i = 0; i < count; ++i) to[i] = interpolate(a[i], b[i], y.weight);
  return to;
}

// Interpolates a line of tokens to a line of voxels. Writes whole packs: what goes beyond a cell is
// written again by the next.
void FeatureRows::expand(const double* tokens, double* voxels) const {
  for (const AxisCell& cell : x_cells_) {
    const double a = tokens[cell.lower], b = tokens[cell.upper];
    const double low = std::min(a, b), high = std::max(a, b);
    for (int64_t x = cell.first; x < cell.first + cell.count; x += kPackSize) {
      const Pack weight = load(&x_weight_[x]);
      const Pack value = (1 - weight) * a + weight * b, raised = value < low ? low - Pack{} : value;
      store(voxels + x, raised > high ? high - Pack{} : raised);
    }
  }
}

FeatureRow FeatureRows::row(int64_t z, int64_t y, int64_t begin, int64_t end,
                            double* buffer) const {
  if (made_)
    return {&values_[((z * size_.h + y) * num_channels_ + begin) * voxel_stride_], voxel_stride_};
  const AxisPoint& at_z = z_[z];
  const int64_t channels = end - begin;
  double *row = buffer, *tokens = row + channels * voxel_stride_ + kReadAhead;
  const double* line;
  if (at_z.weight == 0 || at_z.weight == 1) {
    line = plane_row(at_z.weight == 0 ? at_z.lower : at_z.upper, y_[y], begin, end, tokens);
  } else {
    double* upper = tokens + channels * token_stride_;
    const double* low = plane_row(at_z.lower, y_[y], begin, end, tokens);
    const double* high = plane_row(at_z.upper, y_[y], begin, end, upper);
    for (int64_t i = 0; i < channels * token_stride_; ++i)
      tokens[i] = interpolate(low[i], high[i], at_z.weight);
    line = tokens;
  }
  if (x_is_token_) return {line, token_stride_};
  for (int64_t c = 0; c < channels; ++c) expand(line + c * token_stride_, row + c * voxel_stride_);
  return {row, voxel_stride_};
}

}  // namespace vtcd
