// SPDX-License-Identifier: MIT
// The rules of convex NMF: where its descent and its multiplicative updates begin, how far they
// step, and when they stop.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// --- the descent

// Points offered to a support per look at all data.
inline constexpr int64_t kCnmfCandidates = 8;
// Looks at all data per centre and sweep, after the first sweep.
inline constexpr int64_t kCnmfLooks = 2;
// Alignment of point and residual, relative to the target's length, that counts as zero.
inline constexpr double kAlignmentTolerance = 1e-10;
// A point whose part outside the span of the support is below this share of its length is taken as
// inside: it could not lower the residual, and would spoil the factor.
inline constexpr double kDependent = 1e-9;
// Entries of the residual are known to about this share of the points.
inline constexpr double kCnmfRounding = 0x1p-49;  // 8 epsilon
// The penalty of a descent that begins anew because the first was degenerate.
inline constexpr double kFirstPenalty = 0.03;

// The inverse of a point's length; 0 where it is no number of a double: beside the largest of the
// data, which is about 1, such a point is a zero vector, and adds nothing to any combination.
VTCD_HOST_DEVICE inline double inverse_length(double length) {
  return length >= 0x1p-1022 ? 1.0 / length : 0.0;
}

// Share of the last change of the centres that extrapolation adds: it grows while the error falls
// and shrinks when it rises (in the manner of Ang and Gillis 2019).
class Momentum {
 public:
  VTCD_HOST_DEVICE double value() const { return value_; }
  VTCD_HOST_DEVICE void grow() { value_ = std::fmin(2.0, 1.2 * value_); }
  VTCD_HOST_DEVICE void shrink() { value_ *= 0.5; }

 private:
  double value_ = 0.5;
};

// Each sweep lowers the penalty by a constant share, and drops it at last.
VTCD_HOST_DEVICE inline double next_penalty(double penalty) {
  return penalty > 1e-7 ? 0.9 * penalty : 0.0;
}

// A factorisation is degenerate where the squared lengths of its parts are many times that of the
// data. Concepts that oppose one another can represent any sign and so save one of their number, a
// dead end: then the descent begins anew with a penalty on those lengths.
VTCD_HOST_DEVICE inline bool is_degenerate_factorisation(double squared_error, double squared_parts,
                                                         double length) {
  const double rounding = kCnmfRounding * length;
  return squared_error > rounding * rounding && squared_parts > 4.0 * length * length;
}

// What is worth another sweep, and what rounding lets be seen.
VTCD_HOST_DEVICE inline double smallest_gain(double tol, double squared_error, double length) {
  const double rounding = kCnmfRounding * length;
  return std::fmax(tol * squared_error, rounding * (std::sqrt(squared_error) + rounding));
}

// A bound on the decrease of a squared distance: what the support gave, and twice the largest slope
// times the mass that could move (Frank-Wolfe gap), for what other points could still give.
VTCD_HOST_DEVICE inline double projection_gain(double before, double after, double slope,
                                               double mass) {
  return std::fabs(before - after) + 2 * slope * mass;
}

// The share of the way to a solution that is not positive at which a coefficient reaches zero.
VTCD_HOST_DEVICE inline double step_to_zero(double coefficient, double solution) {
  return coefficient > 0 ? coefficient / (coefficient - solution) : 0.0;
}

// Whether data lie so close together far from the origin that their offset, of this squared length,
// is to be taken apart. spread: their median distance from it. Products of points keep enough
// digits of their differences up to this ratio.
VTCD_HOST_DEVICE inline bool is_offset_large(double squared_offset, double spread) {
  return !(spread == 0 || squared_offset <= 1e4 * spread * spread);
}

// The constant above the rest of the data that makes coefficients sum to 1, as closely as it is
// large.
VTCD_HOST_DEVICE inline double cone_height(double spread, double largest_length) {
  return std::fmax(1e4 * spread, largest_length);
}

// --- the multiplicative updates

// Added to the indicator of the k-means labels, as Ding, Li, Jordan do: a factor that is 0 stays 0.
inline constexpr double kStartOffset = 0.2;
// Iterations between two looks at the stopping rule.
inline constexpr int64_t kCheckEvery = 10;

// Added above and below: 0 / 0 becomes 1, no change, and so does what is nothing beside the largest
// number of the data, which are scaled to 1.
inline constexpr double kNothing = 1e-200;
// Entries that decay towards 0 are set to 0 here, before they and their squares turn into subnormal
// numbers, which a processor multiplies an order of magnitude slower.
inline constexpr double kFlushBelow = 1e-140;

// What a single entry of the encoding could lower the squared error by.
VTCD_HOST_DEVICE inline double encoding_gain(double entry, double slope, double squared_center) {
  const double curvature = std::fmax(squared_center, 1e-300);
  const double step = std::fmax(-slope / curvature, -entry);
  return -(step * (2 * slope + curvature * step));
}

VTCD_HOST_DEVICE inline bool is_worth_no_update(double possible_gain, double tol,
                                                double squared_error, double squared_norm) {
  return possible_gain <= std::fmax(tol * squared_error, 1e-14 * squared_norm);
}

}  // namespace vtcd
