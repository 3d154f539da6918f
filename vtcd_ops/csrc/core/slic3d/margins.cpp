// SPDX-License-Identifier: MIT
#include "core/slic3d/margins.h"

#include <cmath>
#include <limits>

#include "core/formulas/slic3d_margin.h"

namespace vtcd {
float rounded_up(double bound) {
  const float nearest = static_cast<float>(bound);
  return static_cast<double>(nearest) >= bound
             ? nearest
             : std::nextafter(nearest, std::numeric_limits<float>::infinity());
}

Margins margins_of(const ScoreBound& score, double spatial, double rounding) {
  constexpr double kRoundoff = std::numeric_limits<float>::epsilon() / 2;
  const auto [magnitude, error] = score;
  return {rounded_up(corner_margin(magnitude, error, spatial, kRoundoff) + rounding),
          rounded_up(interpolation_margin(magnitude, error, spatial, kRoundoff) + rounding),
          rounded_up(row_rounding(kRoundoff))};
}

}  // namespace vtcd
