// SPDX-License-Identifier: MIT
// What a distance in single precision says about the exact one.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/formulas/slic3d.h"
#include "core/interpolation.h"

namespace vtcd {

// The squared distance is that of two vectors: the C features, and the three coordinates times
// spacing. In single precision, with u for the unit roundoff, R for the longest such vector and D
// for the distance squared,
//  - both vectors are rounded, which moves sqrt(D) by 2 u R at most, and so do the differences of
//    rounded coordinates;
//  - C + 3 squares are rounded and added up: up to C + 8 roundings of the sum.
// So where D is no larger than `limit`, the computed distance is no larger than limit_of(limit).
struct DistanceFilter {
  DistanceFilter(int64_t num_channels, const FeatureScale& scale, const SpatialScale& space,
                 Shape3 size) {
    const double length[3] = {static_cast<double>(size.t), static_cast<double>(size.h),
                              static_cast<double>(size.w)};
    double longest = static_cast<double>(num_channels) * scale.ratio * scale.ratio;
    for (int axis = 0; axis < 3; ++axis)
      longest += squared_offset(space.spacing[axis], length[axis], 0.0) * space.weight;
    constexpr double kLeast = std::numeric_limits<double>::min();
    unit = std::ldexp(1.0, -(std::ilogb(std::fmax(longest, kLeast)) / 2 + 1));
    for (int axis = 0; axis < 3; ++axis)
      step[axis] = space.spacing[axis] * std::sqrt(space.weight) * unit;
    constexpr double kRoundoff = std::numeric_limits<float>::epsilon() / 2;
    offset = 8 * kRoundoff;  // R is below 1 in this unit
    growth = 1 + kRoundoff * static_cast<double>(num_channels + 32);
  }

  float limit_of(double limit) const {
    const double root = std::sqrt(limit) * unit + offset;
    // The last sum is for what a float cannot hold, and rounds the bound up.
    const double bound = growth * root * root * (1 + 1e-6) + 1e-30;
    return bound < 1e30 ? static_cast<float>(bound) : std::numeric_limits<float>::infinity();
  }

  double unit;     // a power of 2: distances times its square are below 1
  double step[3];  // coordinates times these are in that unit
  double offset, growth;
};

}  // namespace vtcd
