// SPDX-License-Identifier: MIT
// How the drop of a mask is added to the sums of a unit: mask after mask, in their order.
#pragma once

#include "core/formulas/host_device.h"

namespace vtcd {

// What a mask does not add to is left alone, not multiplied by 0: the square of a huge drop is
// infinite.
VTCD_HOST_DEVICE inline double add_where(bool counts, double value, double sum) {
  return sum + (counts ? value : 0.0);
}

}  // namespace vtcd
