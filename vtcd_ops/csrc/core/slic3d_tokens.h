// SPDX-License-Identifier: MIT
// The two products of a round of SLIC that touch the channels: tokens by centres (how well each
// token fits each cluster) and token weights by tokens (the clusters' new centres).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/interpolation.h"
#include "core/pack.h"
#include "core/parallel.h"
#include "core/slic3d_range.h"

namespace vtcd {

// Which tokens rows (t, h) each cluster can reach: nonzero is yes.
using RowMask = std::vector<uint8_t>;  // [t * h, K]

// Tokens scaled as SLIC scales them, up to a constant of each channel, which cancels in every
// distance and keeps the numbers small.
class Tokens {
 public:
  // features [C, t, h, w]; scale is 1 / (compactness * (high - low)).
  template <typename Scalar>
  Tokens(const Scalar* features, int64_t num_channels, Shape3 grid, const FeatureRange& range,
         double scale);

  int64_t num_channels() const { return num_channels_; }
  int64_t num_rows() const { return grid_.t * grid_.h; }
  // w, padded.
  int64_t row_length() const { return row_length_; }
  // The largest |f|^2 that a token can have.
  double squared_radius() const { return squared_radius_; }

  // scores[row, k, w] = |c_k|^2 - 2 f . c_k, where wanted; that is |f - c_k|^2 - |f|^2, whose
  // argmin over k is the same.
  //
  //   centers   [K, C]
  //   scores    [t * h, K, row_length], out
  void score(const std::vector<double>& centers, int64_t num_clusters, const RowMask& wanted,
             const ParallelFor& parallel_for, double* scores) const;

  // sums[k] = sum over tokens of weights[token, k] * f(token).
  //
  //   weights   [t * h, K, row_length]
  //   sums      [K, C], out
  void weighted_sums(const double* weights, int64_t num_clusters, const RowMask& nonzero,
                     const ParallelFor& parallel_for, std::vector<double>& sums) const;

 private:
  const double* row(int64_t row) const { return values_.get() + row * num_channels_ * row_length_; }

  int64_t num_channels_;
  Shape3 grid_;
  int64_t row_length_;
  double squared_radius_ = 0;
  std::unique_ptr<double[]> values_;  // [t * h, C, row_length]
};

}  // namespace vtcd
