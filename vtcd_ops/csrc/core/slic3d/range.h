// SPDX-License-Identifier: MIT
// The extremes of interpolated features, exactly and without interpolating them all.
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/slic3d/unused_tokens.h"

namespace vtcd {

struct FeatureRange {
  bool finite;       // no NaN, no infinity among the tokens in use
  double low, high;  // over all channels of the interpolated volume
  // Of each channel's tokens in use.
  std::vector<double> channel_low, channel_high;
};

//   features    [C, t, h, w]
template <typename Scalar>
FeatureRange interpolated_range(const Scalar* features, int64_t num_channels, const CellGrid& cells,
                                const TokensInUse& in_use);

}  // namespace vtcd
