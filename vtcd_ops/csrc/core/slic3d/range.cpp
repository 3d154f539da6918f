// SPDX-License-Identifier: MIT
// On a cell (interpolation.h) the interpolated feature is affine in each coordinate, so its maximum
// over the cell's voxels is at one of the 8 corner voxels, and no larger than the largest of the 8
// tokens around the cell. Cells are visited only where that bound is above the maximum so far.
#include "core/slic3d/range.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vtcd {
namespace {

// Maximum of sign * interpolated feature; sign is 1 or -1.
template <typename Scalar>
class Maximum {
 public:
  Maximum(const Scalar* features, const CellGrid& cells, double sign)
      : features_(features),
        cells_(cells),
        sign_(static_cast<Scalar>(sign)),
        bound_(cells.grid.w) {}

  double value() const { return static_cast<double>(sign_) * best_; }

  // `channel_bound` is sign * the channel's largest token in that sense.
  void visit_channel(int64_t channel, double channel_bound) {
    if (channel_bound <= best_) return;
    const Scalar* tokens = features_ + channel * cells_.grid.count();
    for (const AxisCell& z : cells_.z)
      for (const AxisCell& y : cells_.y) visit_row(tokens, z, y);
  }

 private:
  void visit_row(const Scalar* tokens, const AxisCell& z, const AxisCell& y) {
    const Scalar* rows[4] = {row(tokens, z.lower, y.lower), row(tokens, z.lower, y.upper),
                             row(tokens, z.upper, y.lower), row(tokens, z.upper, y.upper)};
    Scalar row_bound = -std::numeric_limits<Scalar>::infinity();
#pragma omp simd reduction(max : row_bound)
    for (int64_t w = 0; w < cells_.grid.w; ++w) {
      const Scalar a = std::max(sign_ * rows[0][w], sign_ * rows[1][w]);
      const Scalar b = std::max(sign_ * rows[2][w], sign_ * rows[3][w]);
      bound_[w] = std::max(a, b);
      row_bound = std::max(row_bound, bound_[w]);
    }
    if (static_cast<double>(row_bound) <= best_) return;
    for (const AxisCell& x : cells_.x)
      if (std::max(bound_[x.lower], bound_[x.upper]) > best_) visit_cell(rows, z, y, x);
  }

  void visit_cell(const Scalar* const* rows, const AxisCell& z, const AxisCell& y,
                  const AxisCell& x) {
    for (const double wx : {x.weight, x.weight_at(x.count - 1)}) {
      double value[4];
      for (int i = 0; i < 4; ++i)
        value[i] = interpolate(static_cast<double>(rows[i][x.lower]),
                               static_cast<double>(rows[i][x.upper]), wx);
      for (const double wy : {y.weight, y.weight_at(y.count - 1)}) {
        const double low = interpolate(value[0], value[1], wy);
        const double high = interpolate(value[2], value[3], wy);
        for (const double wz : {z.weight, z.weight_at(z.count - 1)})
          best_ = std::max(best_, static_cast<double>(sign_) * interpolate(low, high, wz));
      }
    }
  }

  const Scalar* row(const Scalar* tokens, int64_t t, int64_t h) const {
    return tokens + (t * cells_.grid.h + h) * cells_.grid.w;
  }

  const Scalar* features_;
  const CellGrid& cells_;
  Scalar sign_;
  double best_ = -std::numeric_limits<double>::infinity();
  std::vector<Scalar> bound_;
};

// The extremes of numbers, and whether all are finite, lane by lane: there are mostly few.
template <typename Scalar>
class Extremes {
 public:
  explicit Extremes(Scalar first) {
    std::fill_n(low_, kLanes, first);
    std::fill_n(high_, kLanes, first);
  }

  void add(const Scalar* values, int64_t count) {
    const int64_t whole = count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) add_to_lanes(values + i, kLanes);
    add_to_lanes(values + whole, count - whole);
  }

  double low() const { return static_cast<double>(*std::min_element(low_, low_ + kLanes)); }
  double high() const { return static_cast<double>(*std::max_element(high_, high_ + kLanes)); }
  bool finite() const {
    return std::all_of(not_finite_, not_finite_ + kLanes, [](Scalar sum) { return sum == 0; });
  }

 private:
  static constexpr int64_t kLanes = 16;

  void add_to_lanes(const Scalar* values, int64_t count) {
#pragma omp simd
    for (int64_t lane = 0; lane < count; ++lane) {
      low_[lane] = std::min(low_[lane], values[lane]);
      high_[lane] = std::max(high_[lane], values[lane]);
      not_finite_[lane] += values[lane] - values[lane];
    }
  }

  Scalar low_[kLanes], high_[kLanes];
  Scalar not_finite_[kLanes] = {};  // sums of x - x, which is 0 for a finite x, else NaN
};

// The extremes of the tokens of a channel that are in use.
template <typename Scalar>
Extremes<Scalar> extremes_of(const Scalar* tokens, Shape3 grid, const TokensInUse& in_use,
                             std::vector<Scalar>& row) {
  Extremes<Scalar> extremes((tokens + (in_use.t[0] * grid.h + in_use.h[0]) * grid.w)[in_use.w[0]]);
  if (in_use.all()) {
    extremes.add(tokens, grid.count());
    return extremes;
  }
  for (const int64_t t : in_use.t)
    for (const int64_t h : in_use.h) {
      const Scalar* line = tokens + (t * grid.h + h) * grid.w;
      for (size_t i = 0; i < row.size(); ++i) row[i] = line[in_use.w[i]];
      extremes.add(row.data(), static_cast<int64_t>(row.size()));
    }
  return extremes;
}

// Extremes of the tokens in use, channel by channel, and whether all are finite.
template <typename Scalar>
FeatureRange token_range(const Scalar* features, int64_t num_channels, Shape3 grid,
                         const TokensInUse& in_use) {
  FeatureRange range{true, 0, 0, std::vector<double>(num_channels),
                     std::vector<double>(num_channels)};
  std::vector<Scalar> row(in_use.w.size());
  for (int64_t channel = 0; channel < num_channels; ++channel) {
    const Extremes<Scalar> extremes =
        extremes_of(features + channel * grid.count(), grid, in_use, row);
    range.finite &= extremes.finite();
    range.channel_low[channel] = extremes.low();
    range.channel_high[channel] = extremes.high();
  }
  return range;
}

template <typename Scalar>
double interpolated_maximum(const Scalar* features, const CellGrid& cells, double sign,
                            const std::vector<double>& channel_bound) {
  Maximum<Scalar> maximum(features, cells, sign);
  // The most promising channel first: it makes the bound sharp for all others.
  auto less = [&](double a, double b) { return sign * a < sign * b; };
  const auto best = std::max_element(channel_bound.begin(), channel_bound.end(), less);
  maximum.visit_channel(best - channel_bound.begin(), sign * *best);
  for (size_t channel = 0; channel < channel_bound.size(); ++channel)
    maximum.visit_channel(static_cast<int64_t>(channel), sign * channel_bound[channel]);
  return maximum.value();
}

}  // namespace

template <typename Scalar>
FeatureRange interpolated_range(const Scalar* features, int64_t num_channels, const CellGrid& cells,
                                const TokensInUse& in_use) {
  FeatureRange range = token_range(features, num_channels, cells.grid, in_use);
  if (!range.finite) return range;
  range.low = interpolated_maximum(features, cells, -1.0, range.channel_low);
  range.high = interpolated_maximum(features, cells, 1.0, range.channel_high);
  return range;
}

template FeatureRange interpolated_range(const float*, int64_t, const CellGrid&,
                                         const TokensInUse&);
template FeatureRange interpolated_range(const double*, int64_t, const CellGrid&,
                                         const TokensInUse&);

}  // namespace vtcd
