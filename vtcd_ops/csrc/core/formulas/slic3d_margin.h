// SPDX-License-Identifier: MIT
// What rounding can do to the distances of SLIC: where two clusters are farther apart than that,
// the nearer one is the reference's too.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/formulas/host_device.h"

namespace vtcd {

inline constexpr double kDoubleRoundoff = std::numeric_limits<double>::epsilon() / 2;

// Bounds the square of a scaled feature less the least one, in a channel with tokens from low to
// high.
VTCD_HOST_DEVICE inline double squared_feature_bound(double channel_low, double channel_high,
                                                     double low, double high, double ratio) {
  const double above = channel_high - low, below = high - channel_low;
  const double feature = (above > below ? above : below) / (high - low) * ratio;
  return feature * feature;
}

// Whether the first round, in which all centres are 0, is decided by space alone: whether the
// square of the features, which is added to all distances, leaves their differences in space. Seeds
// and voxels have whole coordinates, so squared distances differ by a spacing at least,
// least_difference. 8 roundings: of the offsets, their squares and sums, and of the sum with the
// features.
VTCD_HOST_DEVICE inline bool space_decides_first_round(double squared_features,
                                                       double largest_spatial,
                                                       double least_difference) {
  return 16 * kDoubleRoundoff * (squared_features + largest_spatial) < least_difference;
}

// What rounding can do to a distance, here and in the reference, whose centres are sums of up to
// most_voxels voxels one after another; no feature is longer than `longest`.
//
// A sum of n numbers of one sign is off by n roundings of itself at most, so a centre by n + 1
// roundings of its length, which is no longer than the longest feature; features are interpolated
// with weights that are off by up to some tens of roundings. Then |f - c|^2 is off by twice the
// distance times that, and by roundings of itself and of the distance in space.
VTCD_HOST_DEVICE inline double distance_rounding(double distance, int64_t most_voxels,
                                                 double longest) {
  const double of_features = static_cast<double>(most_voxels + 256) * longest;
  return kDoubleRoundoff * (2 * std::sqrt(distance) * of_features + 64 * distance);
}

// How far a distance at a corner of a box can be from the exact one, for scores up to `magnitude`
// that are off by `error`, distances in space up to `spatial`, and numbers of the given roundoff.
//
// With V for the largest score, B for the largest distance in space and u for the unit roundoff: it
// is off by the error of its scores, by 8 V + 3 B roundings u along x, by 7 (V + B) along each of z
// and y, and by V + 3 B for the distance in space.
VTCD_HOST_DEVICE inline double corner_error(double magnitude, double error, double spatial,
                                            double roundoff) {
  return error + roundoff * (23 * magnitude + 20 * spatial);
}

// How far a difference of two candidates' interpolated distances can be from the exact one: a
// difference of two candidates is at most 2 (V + B); finding it and interpolating it within a box
// (two products and a sum along z and along x, as many and up to kMaxCellLength additions along y)
// takes at most 41 roundings of numbers of that size; two candidates are compared by two such
// differences.
VTCD_HOST_DEVICE inline double interpolation_margin(double magnitude, double error, double spatial,
                                                    double roundoff) {
  const double corner = corner_error(magnitude, error, spatial, roundoff);
  const double within = roundoff * 41 * 2 * (magnitude + spatial);
  return 2 * (2 * corner + within);
}

// How far a difference of two distances at a corner can be from the exact one: both are off, and
// the difference is rounded.
VTCD_HOST_DEVICE inline double corner_margin(double magnitude, double error, double spatial,
                                             double roundoff) {
  const double corner = corner_error(magnitude, error, spatial, roundoff);
  return 2 * corner + roundoff * 4 * (magnitude + spatial);
}

// By how much more a difference of two distances is off on the rows of a box, for each unit of the
// largest difference M of a candidate from the first one at the box's corners.
//
// The errors of the first one's corners cancel in it. A difference at a corner is rounded once. Its
// value at an end of a row is a sum of four products whose weights are rounded and add up to 1: 6
// roundings of M at most. Between the ends it is the first end plus x times a step, which is a
// difference of up to 2 M times a rounded inverse: 9 more. Two of those are subtracted: 2.
VTCD_HOST_DEVICE inline double row_rounding(double roundoff) {
  return roundoff * 1.1 * (2 * (1 + 6 + 9) + 2);
}

}  // namespace vtcd
