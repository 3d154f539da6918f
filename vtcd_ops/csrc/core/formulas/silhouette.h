// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "core/formulas/host_device.h"

namespace vtcd {

// A squared distance from lengths and a product, |a|^2 + |b|^2 - 2 a.b, that lies below this share
// of |a|^2 + |b|^2 is computed by differences: of the others no more than three digits are lost.
VTCD_HOST_DEVICE inline bool loses_digits(double squared_distance, double squared_lengths) {
  constexpr double kCloseToTheLengths = 1e-3;
  return squared_distance <= kCloseToTheLengths * squared_lengths;
}

// within: the mean distance to the others of the cluster; between: the smallest mean distance to
// another cluster.
VTCD_HOST_DEVICE inline double silhouette_coefficient(double within, double between) {
  const double larger = within > between ? within : between;
  return larger > 0 ? (between - within) / larger : 0.0;
}

}  // namespace vtcd
