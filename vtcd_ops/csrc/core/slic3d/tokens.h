// SPDX-License-Identifier: MIT
// The two products of a round of SLIC that touch the channels: tokens by centres (how well each
// token fits each cluster) and token weights by tokens (the clusters' new centres).
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/large_array.h"
#include "core/pack.h"
#include "core/parallel.h"
#include "core/slic3d/range.h"

namespace vtcd {

// Which tokens rows (t, h) each cluster can reach: nonzero is yes.
using RowMask = std::vector<uint8_t>;  // [t * h, K]

// Scores are single precision; what they are worth.
struct ScoreBound {
  double magnitude;  // no exact score is larger
  double error;      // no score is farther from the exact one
};

// Tokens scaled as SLIC scales them, up to a constant of each channel, which cancels in every
// distance and keeps the numbers small.
class Tokens {
 public:
  // features [C, t, h, w]; scale is 1 / (compactness * (high - low)). Scores are of tokens times
  // `unit`, a power of 2 that keeps them in the range of a float.
  template <typename Scalar>
  Tokens(const Scalar* features, int64_t num_channels, Shape3 grid, const FeatureRange& range,
         double scale, double unit);

  // Bounds |f|^2 by the channels' ranges.
  static double squared_radius(const FeatureRange& range, double scale);

  int64_t num_channels() const { return num_channels_; }
  // C, padded.
  int64_t channel_stride() const { return channel_stride_; }
  int64_t num_rows() const { return grid_.t * grid_.h; }
  // t * h * w, padded.
  int64_t num_scores() const { return num_groups_ * kLanes; }
  // The largest |f|.
  double radius() const { return radius_; }
  // [channel_stride], 0 beyond C.
  const double* token(int64_t index) const { return values_.get() + index * channel_stride_; }

  // scores[k, token] = unit^2 * (|f - c_k|^2 - |f - m|^2) where wanted, m being the mean of the
  // centres: up to what all clusters share the squared distance, and small.
  //
  //   centers   [K, channel_stride]
  //   scores    [K, num_scores], out
  ScoreBound score(const std::vector<double>& centers, int64_t num_clusters, const RowMask& wanted,
                   const ParallelFor& parallel_for, float* scores) const;

  // sums[k] = sum over tokens of weights[token, k] * f(token).
  //
  //   weights   [t * h, K, w, padded]
  //   touched   [t * h, K], whether a row of them is to be read
  //   sums      [K, channel_stride], out
  void weighted_sums(const double* weights, const uint8_t* touched, int64_t num_clusters,
                     const ParallelFor& parallel_for, std::vector<double>& sums) const;

 private:
  static constexpr int64_t kLanes = kFloatRowAlignment;

  template <typename Scalar>
  void fill(const Scalar* features, const FeatureRange& range, double scale);
  void add_weighted(const double* weights, const uint8_t* touched, int64_t num_clusters,
                    int64_t row, double* sums) const;

  int64_t num_channels_, channel_stride_;
  Shape3 grid_;
  int64_t num_groups_;  // of kLanes tokens
  double unit_;
  double radius_;
  LargeArray<double> values_;  // [t * h * w, channel_stride]
  LargeArray<float> lanes_;    // [t * h * w / kLanes, C, kLanes], times unit
};

}  // namespace vtcd
